//! The orderly stop: GOAWAY to everyone, evenly; finish what is in flight; CLOSING; close.

use super::{Server, Signals};
use crate::conn::{Order, Registry};
use crate::lifecycle::{DrainCause, DrainPlan, Stage};
use crate::telemetry::random_unit;
use mcpd_proto::GoAwayReason;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often connections that came late are looked for.
const TICK: Duration = Duration::from_millis(50);
/// Clients are told to wait up to this long before they dial again, each for a time of its own.
const REDIAL_SPREAD: Duration = Duration::from_secs(1);

/// A drain under way.
struct Drain {
    plan: DrainPlan,
    began: Instant,
    /// Connections at the beginning, in the order in which they are told.
    first: Vec<u64>,
    told: HashSet<u64>,
    finishing: HashSet<u64>,
    cut: usize,
}

/// Runs the whole drain; the caller has made it visible already.
pub(super) async fn run(server: &mut Server, cause: DrainCause) {
    let mut drain = Drain::new(server, cause);
    loop {
        let stage = drain.plan.stage(Instant::now());
        match stage {
            Stage::Delay => {}
            Stage::Spread => drain.spread(&server.registry),
            Stage::Finish => {
                server.status.refusing.store(true, Ordering::Relaxed);
                drain.finish(&server.registry);
            }
            Stage::Flush | Stage::Done => break,
        }
        let closed = server.registry.is_empty() && stage != Stage::Delay;
        if closed || server.accepting.is_none() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = server.registry.empty(), if stage != Stage::Delay => {}
            hasten = server.signals.hasten() => if hasten { drain.hasten() },
        }
    }
    drain.close(server).await;
}

impl Signals {
    /// Waits for a signal; gives whether it hastens the drain.
    async fn hasten(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => {
                // Runtimes may send it again; the drain is under way.
                tracing::info!("SIGTERM during the drain is ignored");
                false
            }
            _ = self.hangup.recv() => false,
        }
    }
}

impl Drain {
    fn new(server: &Server, cause: DrainCause) -> Drain {
        let (began, windows) = (Instant::now(), server.config.drain.windows());
        let plan = match cause {
            // Somebody waits at a terminal: no need for an endpoint to be removed meanwhile.
            DrainCause::Interrupt => DrainPlan::interactive(windows, began),
            _ => DrainPlan::new(windows, began),
        };
        let first = server.registry.ids();
        tracing::info!(connections = first.len(), ?windows, "draining");
        let (told, finishing) = (HashSet::new(), HashSet::new());
        Drain {
            plan,
            began,
            first,
            told,
            finishing,
            cut: 0,
        }
    }

    fn hasten(&mut self) {
        let stage = self.plan.hasten(Instant::now());
        tracing::info!(stage = stage.name(), "the drain is hastened");
    }

    /// Tells those whose time has come, and late ones at once.
    fn spread(&mut self, registry: &Registry) {
        let now = Instant::now();
        let count = self.first.len();
        let due = self.first.iter().enumerate();
        let waiting: HashSet<u64> = due
            .filter(|(at, _)| self.plan.goaway_at(*at, count) > now)
            .map(|(_, id)| *id)
            .collect();
        for id in registry.ids() {
            if !waiting.contains(&id) && self.told.insert(id) {
                registry.order(id, self.goaway());
            }
        }
    }

    fn goaway(&self) -> Order {
        Order::GoAway {
            reason: GoAwayReason::Draining,
            retry_after: REDIAL_SPREAD.mul_f64(random_unit()),
            refuse_at: self.plan.deadline(Stage::Spread),
        }
    }

    /// Lets every connection end when its last answer is out.
    fn finish(&mut self, registry: &Registry) {
        for id in registry.ids() {
            if self.finishing.insert(id) {
                registry.order(id, Order::Finish);
            }
        }
    }

    /// Ends what is left, closes the port and sums up.
    async fn close(&mut self, server: &mut Server) {
        server.status.refusing.store(true, Ordering::Relaxed);
        self.finish(&server.registry);
        self.cut = server.registry.len();
        if self.cut > 0 {
            server.registry.order_all(&Order::Cut);
            let linger = server.config.limits.close_linger + Duration::from_millis(500);
            let _ = tokio::time::timeout(linger, server.registry.empty()).await;
        }
        if let Some(accepting) = server.accepting.take() {
            accepting.abort();
        }
        let (first, abandoned) = (self.first.len(), server.registry.len());
        let (told, cut) = (self.told.len(), self.cut);
        let seconds = self.began.elapsed().as_secs_f64();
        tracing::info!(
            connections = first,
            told,
            cut,
            abandoned,
            seconds,
            "drained"
        );
    }
}
