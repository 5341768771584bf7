//! What is counted of other servers: those that serve the same routes, and Services that are followed.

use super::catalog;
use super::histogram::Histogram;
use metrics::{counter, gauge};
use std::time::Duration;

/// What peers and their balance come to.
#[derive(Debug, Default)]
pub struct PeerMetrics {
    convergence: Histogram,
}

/// How the peers were when they were last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PeerCounts {
    /// They serve.
    pub(crate) serving: usize,
    /// They are draining.
    pub(crate) draining: usize,
    /// They have not answered, or not as a server does.
    pub(crate) unreachable: usize,
}

/// States of a peer, in the order of [`PeerCounts`].
pub(super) const PEER_STATES: [&str; 3] = ["serving", "draining", "unreachable"];

/// Shows everything that is counted here, with nothing counted yet.
pub(super) fn register() {
    for result in ["ok", "failed"] {
        counter!("mcpd_peer_polls_total", "result" => result).absolute(0);
    }
    for state in PEER_STATES {
        gauge!("mcpd_peers", "state" => state).set(0.0);
    }
    counter!("mcpd_routes_unconverged_total").absolute(0);
    gauge!("mcpd_rebalance_share").set(0.0);
    gauge!("mcpd_rebalance_paused").set(0.0);
    gauge!("mcpd_services_followed").set(0.0);
    counter!("mcpd_service_watch_failures_total").absolute(0);
    counter!("mcpd_service_endpoints_dropped_total").absolute(0);
}

impl PeerMetrics {
    /// All peers were asked.
    pub(crate) fn asked(&self, counts: PeerCounts) {
        let PeerCounts {
            serving,
            draining,
            unreachable,
        } = counts;
        for (state, count) in PEER_STATES
            .into_iter()
            .zip([serving, draining, unreachable])
        {
            gauge!("mcpd_peers", "state" => state).set(count as f64);
        }
        counter!("mcpd_peer_polls_total", "result" => "ok").increment((serving + draining) as u64);
        counter!("mcpd_peer_polls_total", "result" => "failed").increment(unreachable as u64);
    }

    /// All servers have what was written so long ago.
    pub(crate) fn converged(&self, took: Duration) {
        self.convergence.record(took, 1);
    }

    /// Not all servers have what was written, and it is not waited for any longer.
    pub(crate) fn unconverged(&self) {
        counter!("mcpd_routes_unconverged_total").increment(1);
    }

    /// How many connections would be this server's if all had as many, and whether nothing is done about it
    /// although it should be looked at.
    pub(crate) fn share(&self, share: Option<f64>, paused: bool) {
        if let Some(share) = share {
            gauge!("mcpd_rebalance_share").set(share);
        }
        gauge!("mcpd_rebalance_paused").set(f64::from(u8::from(paused)));
    }

    pub(super) fn render(&self, out: &mut String) {
        let name = "mcpd_routes_convergence_seconds";
        catalog::head(name, out);
        self.convergence.render(name, "", out);
    }
}

/// What following Services comes to.
#[cfg(feature = "kubernetes")]
pub(crate) struct ServiceMetrics;

#[cfg(feature = "kubernetes")]
impl ServiceMetrics {
    /// One more is followed.
    pub(crate) fn followed() {
        gauge!("mcpd_services_followed").increment(1.0);
    }

    /// One is not any more.
    pub(crate) fn left() {
        gauge!("mcpd_services_followed").decrement(1.0);
    }

    /// Its endpoints could not be listed or watched.
    pub(crate) fn failed() {
        counter!("mcpd_service_watch_failures_total").increment(1);
    }

    /// There was no room for so many of its endpoints.
    pub(crate) fn dropped(count: usize) {
        counter!("mcpd_service_endpoints_dropped_total").increment(count as u64);
    }
}
