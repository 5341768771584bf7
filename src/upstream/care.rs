//! What operators see of an upstream, and do to it.

use super::endpoint::{EndpointView, Transport};
use super::{Upstream, now};
use std::net::SocketAddr;
use std::sync::Arc;

/// An upstream, whatever leads there.
pub trait Care: Send + Sync {
    /// Begins to look for endpoints, on the runtime this is called from. The first request does so, too.
    fn start(&self);

    /// Every endpoint, in the order of their addresses.
    fn endpoints(&self) -> Vec<EndpointView>;

    /// Attempts that wait for a connection.
    fn pending(&self) -> usize;

    /// What the adaptive limit has come to, where there is one.
    fn adaptive_limit(&self) -> Option<usize>;

    /// An operator takes an endpoint out until it is [restored](Care::restore). What it has under way goes
    /// on. Gives whether there is one.
    fn eject(&self, addr: SocketAddr) -> bool;

    /// An operator puts an endpoint back, whoever took it out, and shuts its breaker. Gives whether there is
    /// one.
    fn restore(&self, addr: SocketAddr) -> bool;
}

impl<T: Transport> Care for Arc<Upstream<T>> {
    fn start(&self) {
        Upstream::start(self);
    }

    fn endpoints(&self) -> Vec<EndpointView> {
        self.endpoints.views(now())
    }

    fn pending(&self) -> usize {
        self.slots.pending()
    }

    fn adaptive_limit(&self) -> Option<usize> {
        self.slots.limit()
    }

    fn eject(&self, addr: SocketAddr) -> bool {
        let endpoint = self.endpoints.find(addr);
        endpoint.inspect(|endpoint| endpoint.remove()).is_some()
    }

    fn restore(&self, addr: SocketAddr) -> bool {
        let endpoint = self.endpoints.find(addr);
        endpoint
            .inspect(|endpoint| endpoint.restore(now()))
            .is_some()
    }
}
