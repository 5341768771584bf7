//! The servers of the same routes: who they are, how they are, whether all of them have what was written, and
//! whether this one has more than its share of the connections.
//!
//! Who they are, a [`Source`] says anew each time. How they are, each says itself, at `/statusz` of its sidecar port
//! ([`ask`]): nothing of that is believed beyond its bounds, and nothing depends on it but what is told to whoever
//! waits, and whether connections are asked to move. What to do about connections is pure: [`share`].

mod ask;
mod convergence;
mod share;

pub(crate) use ask::{Asker, PeerStatus};
pub(crate) use convergence::{Converged, Convergence, Straggler};
pub(crate) use share::{Census, Paused, Planner, ShareSettings, Step};

use crate::telemetry::{PeerCounts, PeerMetrics};
use crate::upstream::{BoxFuture, Discover};
use std::net::SocketAddr;
use std::sync::Arc;

/// A server of the same routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its sidecar port.
    pub(crate) addr: SocketAddr,
    /// Its pod, where it is one.
    pub(crate) name: Option<Arc<str>>,
    /// The node that it is on, as far as that is known.
    pub(crate) node: Option<Arc<str>>,
}

impl Peer {
    /// One of which nothing is known but where it is.
    pub(crate) fn at(addr: SocketAddr) -> Peer {
        Peer {
            addr,
            name: None,
            node: None,
        }
    }
}

/// Knows all servers of the same routes that serve, this one included.
pub(crate) trait Source: Send + Sync {
    /// Those there are now.
    ///
    /// # Errors
    /// Why that is not known.
    fn peers(&self) -> BoxFuture<'_, Result<Vec<Peer>, String>>;
}

/// Servers that are written down, each name with all its addresses.
pub(crate) struct Listed(pub(crate) Arc<dyn Discover>);

impl Source for Listed {
    fn peers(&self) -> BoxFuture<'_, Result<Vec<Peer>, String>> {
        Box::pin(async move {
            let found = self.0.find().await?;
            Ok(found.into_iter().map(Peer::at).collect())
        })
    }
}

/// What a server says of itself, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) peer: Peer,
    pub(crate) status: Result<PeerStatus, String>,
}

/// All servers of the same routes.
pub(crate) struct Peers {
    /// `None` where there is no other.
    source: Option<Box<dyn Source>>,
    asker: Asker,
    metrics: Arc<PeerMetrics>,
}

impl Peers {
    pub(crate) fn new(
        source: Option<Box<dyn Source>>,
        asker: Asker,
        metrics: Arc<PeerMetrics>,
    ) -> Peers {
        Peers {
            source,
            asker,
            metrics,
        }
    }

    /// Whether this server has no others to ask.
    pub(crate) fn is_alone(&self) -> bool {
        self.source.is_none()
    }

    /// Asks everybody; nobody where this server is alone.
    ///
    /// # Errors
    /// It is not known who they are.
    pub(crate) async fn ask(&self) -> Result<Vec<Asked>, String> {
        let Some(source) = &self.source else {
            return Ok(Vec::new());
        };
        let asked = self.asker.ask(source.peers().await?).await;
        let mut counts = PeerCounts::default();
        for one in &asked {
            let count = match &one.status {
                Ok(status) if status.is_draining() => &mut counts.draining,
                Ok(_) => &mut counts.serving,
                Err(_) => &mut counts.unreachable,
            };
            *count += 1;
        }
        self.metrics.asked(counts);
        Ok(asked)
    }
}
