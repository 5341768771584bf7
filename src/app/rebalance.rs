//! Asks connections to move while this server has more than its share of them.

use super::Server;
use super::control::Shared;
use crate::admin::RebalanceView;
use crate::config::RebalanceConfig;
use crate::conn::{Order, Registry};
use crate::lifecycle::{Lifecycle, Phase};
use crate::peers::{Census, Paused, Peers, Planner, ShareSettings, Step};
use crate::telemetry::{PeerMetrics, random_unit};
use mcpd_proto::GoAwayReason;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked whether connections are to go.
const TICK: Duration = Duration::from_secs(1);
/// Clients are told to wait up to this long before they dial, each for a time of its own.
const REDIAL_SPREAD: Duration = Duration::from_secs(1);
/// What is known of the others is good for so many times the interval in which they are asked.
const GOOD_FOR: u32 = 3;

/// Looks after it until the process drains.
pub(super) fn watch(server: &Server) {
    let rebalance = Rebalance {
        shared: Arc::clone(&server.shared),
        peers: Arc::clone(&server.peers),
        registry: Arc::clone(&server.registry),
        lifecycle: server.lifecycle.clone(),
        metrics: Arc::clone(server.status.exporter.peers()),
        server_id: server.config.server_id.clone(),
        told: HashSet::new(),
        moved: 0,
    };
    tokio::spawn(rebalance.run());
}

struct Rebalance {
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    registry: Arc<Registry>,
    lifecycle: Lifecycle,
    metrics: Arc<PeerMetrics>,
    server_id: String,
    /// Open connections that were asked to move.
    told: HashSet<u64>,
    /// Those that ever were.
    moved: u64,
}

impl Rebalance {
    async fn run(mut self) {
        let mut planner = Planner::new(Instant::now());
        let mut ask_at = Instant::now();
        // A drain asks all of them to move; there is nothing left to share out.
        while self.lifecycle.current() != Phase::ShuttingDown {
            let keys = self.shared.config().rebalance.clone();
            if !keys.enabled {
                self.off();
                planner = Planner::new(Instant::now());
                ask_at = Instant::now();
            } else if Instant::now() >= ask_at {
                let own = self.kept().len();
                planner.learn(self.census().await, own, Instant::now());
                // Not all servers at the same time.
                ask_at = Instant::now() + keys.interval.mul_f64(0.9 + random_unit() / 5.0);
            }
            if keys.enabled {
                self.step(&mut planner, &keys);
            }
            tokio::time::sleep(TICK).await;
        }
        self.off();
    }

    async fn census(&self) -> Result<Census, Paused> {
        match self.peers.ask().await {
            Ok(asked) => Census::of(&asked, &self.server_id),
            Err(problem) => {
                tracing::warn!(%problem, "connections are not shared out: the other servers are not known");
                Err(Paused::Unknown)
            }
        }
    }

    fn step(&mut self, planner: &mut Planner, keys: &RebalanceConfig) {
        let settings = ShareSettings {
            threshold: keys.threshold,
            rate: keys.rate,
            max_age: keys.interval * GOOD_FOR,
        };
        let mut kept = self.kept();
        let step = planner.plan(kept.len(), settings, Instant::now());
        if let Step::Shed(count) = step {
            // The oldest first: one that has just come was perhaps sent here by another server.
            for id in kept.drain(..count.min(kept.len())) {
                self.ask_to_move(id);
            }
        }
        self.show(step, planner.census(), kept.len());
    }

    /// Connections that were not asked to move, the oldest first.
    fn kept(&mut self) -> Vec<u64> {
        let mut open = self.registry.ids();
        open.sort_unstable();
        self.told.retain(|id| open.binary_search(id).is_ok());
        open.retain(|id| !self.told.contains(id));
        open
    }

    fn ask_to_move(&mut self, id: u64) {
        let order = Order::GoAway {
            reason: GoAwayReason::Rebalance,
            retry_after: REDIAL_SPREAD.mul_f64(random_unit()),
            refuse_at: Instant::now() + self.shared.config().goaway.grace,
        };
        if self.registry.order(id, order) {
            self.told.insert(id);
            self.moved += 1;
        }
    }

    fn show(&self, step: Step, census: Option<Census>, kept: usize) {
        let share = census.map(|census| census.share());
        let (state, reason) = match step {
            Step::Level => ("level", None),
            Step::Shed(_) => ("shedding", None),
            Step::Paused(why) => ("paused", Some(why.name())),
        };
        self.metrics.share(share, reason.is_some());
        self.shared.set_rebalance(Some(RebalanceView {
            state,
            reason,
            servers: census.map(|census| census.servers),
            share,
            kept,
            asked_to_move: self.moved,
        }));
    }

    fn off(&self) {
        self.metrics.share(None, false);
        self.shared.set_rebalance(None);
    }
}
