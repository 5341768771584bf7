//! Services whose endpoints are followed, each by one watch for all who ask.

use super::Cluster;
use super::slices::{Endpoint, Family, Slices, for_traffic};
use crate::telemetry::{ServiceMetrics, random_unit};
use crate::upstream::{self, BoxFuture, Discover, Port, ServiceName, ServicePort};
use futures_core::Stream;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// The label by which slices name their Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";
/// How long the first who asks waits for the first list.
const PATIENCE: Duration = Duration::from_secs(5);
/// Everything is listed anew so often, whatever a watch says: the last resort against one that hangs in a way that
/// nobody thought of.
const LIST_AGAIN: Duration = Duration::from_secs(600);
/// Seconds after which the API server ends a watch; one that has lost its connection is noticed soon after.
const WATCH_SECONDS: u32 = 60;
/// Bounds of the pause after a failure, which doubles.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A failure is logged when it begins, and once in so many afterwards.
const LOG_EVERY: u32 = 60;
/// Characters of a failure that are passed on.
const MAX_SAID: usize = 500;

/// The Services that somebody follows.
pub(crate) struct Services {
    cluster: Cluster,
    /// Which address is taken of a pod with two.
    family: Family,
    /// Where watches run, whoever asks.
    runtime: Handle,
    followed: Mutex<HashMap<ServiceName, Weak<Service>>>,
}

impl Services {
    /// Must be called on the runtime that watches are to run on. Of pods with addresses of both families the one
    /// of `family` is taken.
    pub(crate) fn new(cluster: Cluster, family: Family) -> Services {
        Services {
            cluster,
            family,
            runtime: Handle::current(),
            followed: Mutex::default(),
        }
    }

    /// The Service of this name, followed for as long as anybody holds it.
    pub(crate) fn follow(&self, name: &ServiceName) -> Arc<Service> {
        let followed = self.followed.lock();
        let mut followed = followed.unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = followed.get(name).and_then(Weak::upgrade) {
            return service;
        }
        followed.retain(|_, service| service.strong_count() > 0);
        ServiceMetrics::followed();
        let known = watch::Sender::new(Known::default());
        let changes = known.subscribe();
        let watching = Watching {
            cluster: self.cluster.clone(),
            name: name.clone(),
            known,
            failures: 0,
        };
        let service = Arc::new(Service {
            name: name.clone(),
            family: self.family,
            changes,
            watching: self.runtime.spawn(watching.run()).abort_handle(),
        });
        followed.insert(name.clone(), Arc::downgrade(&service));
        service
    }
}

impl upstream::Services for Services {
    fn discover(&self, of: &ServicePort) -> Arc<dyn Discover> {
        let service = self.follow(&of.service);
        Arc::new(ServiceEndpoints::new(service, of.port.clone()))
    }
}

/// What is known of a Service.
#[derive(Debug, Clone, Default)]
struct Known {
    /// `None` before there was a whole list.
    slices: Option<Slices>,
    /// Why there is no news, while there is none.
    problem: Option<String>,
}

/// A Service that is followed.
pub(crate) struct Service {
    name: ServiceName,
    family: Family,
    changes: watch::Receiver<Known>,
    watching: AbortHandle,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.watching.abort();
        ServiceMetrics::left();
    }
}

impl Service {
    /// Its endpoints with this port, as they were last known. Waits a moment for the first list.
    ///
    /// # Errors
    /// There was no list yet, or no endpoint has the port.
    pub(crate) async fn endpoints(&self, port: &Port) -> Result<Vec<Endpoint>, String> {
        let mut changes = self.changes.clone();
        let first = changes.wait_for(|known| known.slices.is_some());
        let _ = timeout(PATIENCE, first).await;
        self.known(&self.changes.borrow(), port)
    }

    fn known(&self, known: &Known, port: &Port) -> Result<Vec<Endpoint>, String> {
        let Some(slices) = &known.slices else {
            let problem = known.problem.as_deref();
            let problem = problem.unwrap_or("the API server has not answered yet");
            return Err(format!("Service {}: {problem}", self.name));
        };
        let endpoints = slices.endpoints(port, self.family);
        endpoints.map_err(|problem| format!("Service {} {problem}", self.name))
    }
}

/// A Service as the endpoints of an upstream.
struct ServiceEndpoints {
    service: Arc<Service>,
    port: Port,
    /// What was seen of it when it was last asked.
    seen: Mutex<watch::Receiver<Known>>,
}

impl ServiceEndpoints {
    fn new(service: Arc<Service>, port: Port) -> ServiceEndpoints {
        let seen = Mutex::new(service.changes.clone());
        ServiceEndpoints {
            service,
            port,
            seen,
        }
    }

    fn see(&self) {
        let seen = self.seen.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        seen.mark_unchanged();
    }
}

impl Discover for ServiceEndpoints {
    fn fixed(&self) -> Option<Vec<SocketAddr>> {
        None
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<SocketAddr>, String>> {
        Box::pin(async move {
            // Before it is looked at: what comes meanwhile is news.
            self.see();
            let endpoints = self.service.endpoints(&self.port).await?;
            Ok(for_traffic(&endpoints))
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let seen = self.seen.lock();
            let mut seen = seen.unwrap_or_else(PoisonError::into_inner).clone();
            if seen.changed().await.is_err() {
                // The watch ended with its runtime; there will be no news.
                std::future::pending::<()>().await;
            }
        })
    }
}

/// What keeps a Service known.
struct Watching {
    cluster: Cluster,
    name: ServiceName,
    known: watch::Sender<Known>,
    /// Failures since it last worked.
    failures: u32,
}

impl Watching {
    async fn run(mut self) {
        loop {
            match self.cluster.client().await {
                Ok((client, own)) => {
                    let namespace = self.name.namespace.as_deref().unwrap_or(own);
                    let api = Api::namespaced(client, namespace);
                    // What is known stays until the next list is whole.
                    let _ = timeout(LIST_AGAIN, self.watch(api)).await;
                }
                Err(failure) => self.failed(&failure).await,
            }
        }
    }

    async fn watch(&mut self, api: Api<EndpointSlice>) {
        let of_service = format!("{OF_SERVICE}={}", self.name.name);
        let config = watcher::Config::default()
            .labels(&of_service)
            .timeout(WATCH_SECONDS);
        let mut events = pin!(watcher(api, config));
        let mut next = Slices::default();
        while let Some(event) = poll_fn(|cx| events.as_mut().poll_next(cx)).await {
            match event {
                Ok(event) => self.take(event, &mut next),
                Err(error) => self.failed(&error).await,
            }
        }
    }

    fn take(&mut self, event: Event<EndpointSlice>, next: &mut Slices) {
        self.works();
        match event {
            Event::Init => *next = Slices::default(),
            Event::InitApply(slice) => ServiceMetrics::dropped(next.take(&slice)),
            Event::InitDone => {
                let whole = std::mem::take(next);
                self.known.send_if_modified(|known| {
                    let changed = known.slices.as_ref() != Some(&whole);
                    known.slices = Some(whole);
                    changed
                });
            }
            Event::Apply(slice) => {
                let take = |slices: &mut Slices| ServiceMetrics::dropped(slices.take(&slice));
                self.change(take);
            }
            Event::Delete(slice) => self.change(|slices| slices.remove(&slice)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Slices)) {
        let change = |known: &mut Known| change(known.slices.get_or_insert_default());
        self.known.send_modify(change);
    }

    /// The API server answers.
    fn works(&mut self) {
        if self.failures > 0 {
            let (service, failures) = (self.name.to_string(), self.failures);
            tracing::info!(
                service,
                failures,
                "the endpoints of a Service are known again"
            );
            self.failures = 0;
            // No news for whoever has the endpoints.
            self.known.send_if_modified(|known| {
                known.problem = None;
                false
            });
        }
    }

    /// What is known stays. Waits before the next attempt.
    async fn failed(&mut self, failure: &(dyn std::error::Error + Sync)) {
        ServiceMetrics::failed();
        let problem: String = failure.to_string().chars().take(MAX_SAID).collect();
        if self.failures % LOG_EVERY == 0 {
            let service = self.name.to_string();
            tracing::warn!(service, %problem, "the endpoints of a Service are not followed");
        }
        // Nobody has to be told: the endpoints are as they were.
        self.known.send_if_modified(|known| {
            known.problem = Some(problem);
            false
        });
        let (least, most) = PAUSES;
        let pause = least.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures = self.failures.saturating_add(1);
        sleep(pause.mul_f64(0.5 + random_unit() / 2.0)).await;
    }
}
