//! Who else there is: the servers of the same routes, and Services of the cluster.

use super::cluster::Cluster;
use crate::config::Config;
use crate::peers::{Asker, Listed, Peers, Source};
use crate::telemetry::PeerMetrics;
use crate::upstream::{Names, Services, SystemResolver};
use std::sync::Arc;

/// What this server knows others by.
pub(super) struct Others {
    /// The servers of the same routes.
    pub(super) peers: Arc<Peers>,
    /// Who knows Services; `None` outside of Kubernetes.
    pub(super) services: Option<Arc<dyn Services>>,
}

/// Must be called on the runtime of the control loop.
///
/// # Errors
/// There is no HTTP client to be had.
pub(super) fn open(
    config: &Config,
    cluster: Option<Cluster>,
    metrics: Arc<PeerMetrics>,
) -> Result<Others, String> {
    let (mut source, services) = cluster.map_or((None, None), |cluster| known(config, cluster));
    if config.peers.addresses.is_some() {
        let names = Names::new(config.peers.hosts(), Arc::new(SystemResolver));
        source = Some(Box::new(Listed(Arc::new(names))));
    }
    let peers = Peers::new(source, Asker::new()?, metrics);
    Ok(Others {
        peers: Arc::new(peers),
        services,
    })
}

type Known = (Option<Box<dyn Source>>, Option<Arc<dyn Services>>);

#[cfg(not(feature = "kubernetes"))]
fn known(_: &Config, cluster: Cluster) -> Known {
    match cluster {}
}

#[cfg(feature = "kubernetes")]
fn known(config: &Config, cluster: Cluster) -> Known {
    use crate::kube::{self, Family, Headless};
    let keys = &config.kubernetes;
    let own = std::env::var("POD_IP").ok();
    let own = own.and_then(|ip| ip.parse().ok());
    let family = own.map_or(Family::V4, Family::of);
    let services = kube::Services::new(cluster, family);
    let headless = keys.name.as_ref().map(|name| {
        let headless = Headless::new(&services, keys.peers_of(name));
        Box::new(headless) as Box<dyn Source>
    });
    (headless, Some(Arc::new(services)))
}
