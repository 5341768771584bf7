//! The headless Service of all replicas: who the other servers are.

use super::services::{Service, Services};
use crate::peers::{Peer, Source};
use crate::upstream::{BoxFuture, Port, ServiceName};
use std::sync::Arc;

/// What the port of HTTP is called in a pod.
const HTTP: &str = "http";

/// All replicas that serve, those that are being stopped included: as long as they answer, they count.
pub(crate) struct Headless {
    service: Arc<Service>,
    port: Port,
}

impl Headless {
    /// Those of the Service of this name in this server's own namespace.
    pub(crate) fn new(services: &Services, name: String) -> Headless {
        let name = ServiceName {
            name,
            namespace: None,
        };
        Headless {
            service: services.follow(&name),
            port: Port::Name(HTTP.to_owned()),
        }
    }
}

impl Source for Headless {
    fn peers(&self) -> BoxFuture<'_, Result<Vec<Peer>, String>> {
        Box::pin(async move {
            let endpoints = self.service.endpoints(&self.port).await?;
            let serving = endpoints.into_iter().filter(|one| one.conditions.serving);
            let peers: Vec<Peer> = serving
                .map(|one| Peer {
                    addr: one.addr,
                    name: one.pod,
                    node: one.node,
                })
                .collect();
            match peers.is_empty() {
                true => Err("the headless Service has no endpoint that serves".to_owned()),
                false => Ok(peers),
            }
        })
    }
}
