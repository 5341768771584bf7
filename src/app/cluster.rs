//! The way to Kubernetes, which all parts of a server share.

use crate::config::Config;

#[cfg(feature = "kubernetes")]
pub(super) use crate::kube::Cluster;

/// There is none in this build.
#[cfg(not(feature = "kubernetes"))]
pub(super) type Cluster = std::convert::Infallible;

/// Whether there is a cluster to ask: the documents are kept in one, or this process runs in one.
pub(super) fn is_there(config: &Config) -> bool {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    cfg!(feature = "kubernetes") && (config.kubernetes.name.is_some() || in_pod)
}

/// The way there, which nobody has taken yet. Must be called on the runtime of the control loop.
#[cfg(feature = "kubernetes")]
pub(super) fn of(config: &Config) -> Option<Cluster> {
    let keys = &config.kubernetes;
    is_there(config).then(|| {
        Cluster::new(crate::kube::Settings {
            namespace: keys.namespace.clone(),
            timeout: keys.timeout,
        })
    })
}

#[cfg(not(feature = "kubernetes"))]
pub(super) fn of(_: &Config) -> Option<Cluster> {
    None
}
