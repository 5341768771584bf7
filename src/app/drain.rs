//! The orderly stop: GOAWAY to everyone, evenly; finish what is in flight; CLOSING; close.

use super::control::DrainWish;
use super::{Server, Signals};
use crate::admin::DrainView;
use crate::conn::{Order, Registry};
use crate::lifecycle::{DrainCause, DrainPlan, Stage};
use crate::telemetry::random_unit;
use mcpd_proto::GoAwayReason;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often connections that came late are looked for.
const TICK: Duration = Duration::from_millis(50);
/// What a connection may take to notice that its linger time is over, and the least that the last
/// frames, and after them the last spans, get.
const MARGIN: Duration = Duration::from_millis(500);
/// The longest that spans are waited for, whatever the configuration says.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Clients are told to wait up to this long before they dial again, each for a time of its own.
const REDIAL_SPREAD: Duration = Duration::from_secs(1);

/// A drain under way.
struct Drain {
    plan: DrainPlan,
    cause: DrainCause,
    began: Instant,
    /// Connections at the beginning, in the order in which they are told.
    first: Vec<u64>,
    told: HashSet<u64>,
    finishing: HashSet<u64>,
}

/// Runs the whole drain; the caller has made it visible already.
pub(super) async fn run(server: &mut Server, cause: DrainCause) {
    let mut drain = Drain::new(server, cause);
    if let Some(wish) = server.wish.take() {
        drain.grant(wish, server);
    }
    let mirrors = server.routes.mirrors();
    loop {
        let stage = drain.plan.stage(Instant::now());
        drain.show(server, stage);
        match stage {
            Stage::Delay => {}
            Stage::Spread => drain.spread(&server.registry),
            Stage::Finish => {
                server.status.refusing.store(true, Ordering::Relaxed);
                drain.finish(&server.registry);
            }
            Stage::Flush | Stage::Done => break,
        }
        if server.registry.is_empty() && stage != Stage::Delay {
            // Whoever was accepted in the last moment is still served in order.
            stop_accepting(server).await;
        }
        let alone = server.registry.is_empty() && server.accepting.is_none();
        if alone && mirrors.under_way() == 0 {
            break;
        }
        if alone {
            // Copies get the time that what is in flight would have, and no more.
            drain.finish_now();
        }
        tokio::select! {
            () = tokio::time::sleep_until(drain.next_look()) => {}
            () = server.registry.empty(), if stage != Stage::Delay && !alone => {}
            () = mirrors.done(), if alone => {}
            hasten = server.signals.hasten() => if hasten { drain.hasten() },
            Some(wish) = server.wishes.recv() => drain.grant(wish, server),
        }
    }
    drain.close(server).await;
}

/// Closes the port. From here on nobody comes whom no order would reach.
async fn stop_accepting(server: &mut Server) {
    if let Some(accepting) = server.accepting.take() {
        accepting.abort();
        // It ends with the abortion, which is what was wanted.
        let _ = accepting.await;
    }
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
            _ = self.hangup.recv() => {
                tracing::info!("SIGHUP during the drain is ignored");
                false
            }
        }
    }
}

impl Drain {
    fn new(server: &Server, cause: DrainCause) -> Drain {
        let (began, windows) = (Instant::now(), server.config.drain.windows());
        let plan = match cause {
            // Somebody waits, at a terminal or in this process: no need for an endpoint to be removed
            // meanwhile.
            DrainCause::Interrupt | DrainCause::Host => DrainPlan::interactive(windows, began),
            _ => DrainPlan::new(windows, began),
        };
        let first = server.registry.ids();
        tracing::info!(connections = first.len(), ?windows, "draining");
        let (told, finishing) = (HashSet::new(), HashSet::new());
        Drain {
            plan,
            cause,
            began,
            first,
            told,
            finishing,
        }
    }

    /// When to look again: soon, and at the very moment when a stage ends.
    fn next_look(&self) -> tokio::time::Instant {
        let soon = Instant::now() + TICK;
        let change = self.plan.next_change(Instant::now());
        change.map_or(soon, |change| change.min(soon)).into()
    }

    /// Does what the admin API was asked for, and lets it tell.
    fn grant(&mut self, wish: DrainWish, server: &Server) {
        if wish.hasten {
            self.hasten();
        }
        self.show(server, self.plan.stage(Instant::now()));
        // Whoever asked may have lost their patience.
        let _ = wish.seen.send(());
    }

    /// Lets the admin API show how far it is.
    fn show(&self, server: &Server, stage: Stage) {
        server.shared.set_drain(DrainView {
            stage: stage.name(),
            cause: self.cause.to_string(),
            began: self.began,
            ends: self.plan.deadline(Stage::Flush),
            connections_at_start: self.first.len(),
            told: self.told.len(),
        });
    }

    /// Nobody is left who would have to be told anything.
    fn finish_now(&mut self) {
        if self.plan.stage(Instant::now()) < Stage::Finish {
            self.plan.hasten(Instant::now());
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
                registry.order(id, self.goaway(self.plan.deadline(Stage::Spread)));
            }
        }
    }

    fn goaway(&self, refuse_at: Instant) -> Order {
        Order::GoAway {
            reason: GoAwayReason::Draining,
            retry_after: REDIAL_SPREAD.mul_f64(random_unit()),
            refuse_at,
        }
    }

    /// Lets every connection end when its last answer is out.
    fn finish(&mut self, registry: &Registry) {
        for id in registry.ids() {
            if self.finishing.insert(id) {
                // Who was told before is not told again.
                if self.told.insert(id) {
                    registry.order(id, self.goaway(Instant::now()));
                }
                registry.order(id, Order::Finish);
            }
        }
    }

    /// Closes the port, ends what is left and sums up.
    async fn close(&mut self, server: &mut Server) {
        server.status.refusing.store(true, Ordering::Relaxed);
        // It may come early. Nobody listens for wishes from here on.
        self.show(server, Stage::Flush);
        stop_accepting(server).await;
        self.finish(&server.registry);
        let (mirrors, cut) = (server.routes.mirrors(), server.registry.len());
        let mirrors_cut = mirrors.under_way();
        if cut + mirrors_cut > 0 {
            // Or the places of those that are cut off would go to others, to be cut off in turn.
            server.scheduler.stop();
            server.registry.order_all(&Order::Cut);
            mirrors.cut();
            let gone = async { tokio::join!(server.registry.empty(), mirrors.done()) };
            let _ = tokio::time::timeout(self.last_wait(server), gone).await;
        }
        let (first, abandoned) = (self.first.len(), server.registry.len());
        let told = self.told.len();
        let seconds = self.began.elapsed().as_secs_f64();
        tracing::info!(
            connections = first,
            told,
            cut,
            mirrors_cut,
            abandoned,
            seconds,
            "drained"
        );
        // What connections had to tell is told; whatever is left of the drain is for exporting it.
        server.spans.flush(self.flush_time(server)).await;
    }

    /// How long spans have to get away.
    fn flush_time(&self, server: &Server) -> Duration {
        let ends = self.plan.deadline(Stage::Flush);
        let left = ends.saturating_duration_since(Instant::now());
        let window = server.config.drain.flush.min(FLUSH_MAX);
        window.min(left.max(MARGIN))
    }

    /// How long connections have for their last frames: as long as they may linger, but never beyond
    /// what the whole drain was given, after which there is a SIGKILL.
    fn last_wait(&self, server: &Server) -> Duration {
        let linger = server.config.limits.close_linger + MARGIN;
        linger.min(server.config.drain.flush.max(MARGIN))
    }
}
