//! Whether other replicas serve.

use super::{Cluster, Failure};
use crate::upstream::BoxFuture;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::{Api, ListParams};

/// Knows the other replicas.
pub(crate) trait Others: Send + Sync {
    /// Whether another replica serves, be it terminating or not: it has the documents, and creates again what
    /// has gone.
    ///
    /// # Errors
    /// That cannot be found out.
    fn serve(&self) -> BoxFuture<'_, Result<bool, Failure>>;
}

/// Looks at the EndpointSlices of the headless Service whenever it is asked.
pub(crate) struct OtherPods {
    cluster: Cluster,
    service: String,
    /// This pod, which is no other; `None` outside of one.
    pod: Option<String>,
}

impl OtherPods {
    pub(crate) fn new(cluster: Cluster, service: String, pod: Option<String>) -> OtherPods {
        OtherPods {
            cluster,
            service,
            pod,
        }
    }

    async fn look(&self) -> Result<bool, Failure> {
        let of_service = format!("kubernetes.io/service-name={}", self.service);
        let of_service = ListParams::default().labels(&of_service);
        let of_service = &of_service;
        let slices = self.cluster.read(|client, namespace| async move {
            let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
            slices.list(of_service).await
        });
        let slices = slices.await?;
        let mut endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
        Ok(endpoints.any(|endpoint| self.is_other(endpoint) && serves(endpoint)))
    }

    fn is_other(&self, endpoint: &Endpoint) -> bool {
        let pod = endpoint.target_ref.as_ref();
        let pod = pod.and_then(|target| target.name.as_ref());
        pod.is_none() || pod != self.pod.as_ref()
    }
}

impl Others for OtherPods {
    fn serve(&self) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(self.look())
    }
}

/// Whether it passes its readiness probe. What is not said counts as good news, as the API has it.
fn serves(endpoint: &Endpoint) -> bool {
    let said = endpoint.conditions.as_ref();
    let ready = said.and_then(|said| said.ready).unwrap_or(true);
    said.and_then(|said| said.serving).unwrap_or(ready)
}
