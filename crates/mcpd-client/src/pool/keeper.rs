//! The task that opens and closes a client's connections.
//!
//! It looks at every connection whenever one of them says that something changed, tells the plan,
//! does what the plan says, and publishes the new view. So a flood of changes costs looking, never
//! memory.

use super::Pool;
use super::link::{Failure, Link, View};
use super::plan::{Action, Id, Plan, PlanSettings, Record};
use crate::connection::Connection;
use crate::connector::{Connector, Target};
use crate::driver::now;
use crate::error::{Error, Result};
use crate::options::ConnectOptions;
use crate::random::Random;
use crate::resolve::Names;
use crate::state::{GoingAway, State};
use crate::telemetry;
use crate::throttle::ConnectLimit;
use mcpd_proto::GoAwayReason;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;

/// What it takes to open connections.
pub(crate) struct Dialler {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) options: ConnectOptions,
    pub(crate) limit: ConnectLimit,
    /// Calls are told of a failure that may pass.
    pub(crate) fail_fast: bool,
}

pub(crate) struct Keeper {
    pool: Arc<Pool>,
    plan: Plan,
    dialler: Arc<Dialler>,
    names: Names,
    /// Every connection that has not ended, by its id.
    links: HashMap<Id, Kept>,
    dials: JoinSet<Result<Connection>>,
    /// Which connection each of them is to become.
    dialling: HashMap<tokio::task::Id, Id>,
    last_error: Option<Arc<Error>>,
    /// A connection is opened because calls found theirs busy.
    growing: bool,
    /// The view does not show how things are.
    stale: bool,
    shown: telemetry::Connections,
}

/// A connection and what of it the plan has been told.
struct Kept {
    link: Arc<Link>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Leaving,
    Ending,
}

enum Event {
    Woken,
    Dialled(tokio::task::Id, Result<Connection>),
    Resolved,
    Timer,
}

/// Whoever waits must hear of it when the runtime is shut down.
struct Guard(Arc<Pool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.view.send_modify(|view| {
            let text = "the client's runtime was shut down";
            view.failure.get_or_insert(Failure::Closed(text));
            view.open.clear();
            view.leaving.clear();
            view.finished = true;
        });
    }
}

impl Keeper {
    pub(crate) fn new(
        pool: Arc<Pool>,
        settings: PlanSettings,
        dialler: Dialler,
        names: Names,
        random: Random,
    ) -> Keeper {
        Keeper {
            pool,
            plan: Plan::new(settings, random, now()),
            dialler: Arc::new(dialler),
            names,
            links: HashMap::new(),
            dials: JoinSet::new(),
            dialling: HashMap::new(),
            last_error: None,
            growing: false,
            stale: false,
            shown: telemetry::Connections::default(),
        }
    }

    /// Runs until no handle is left, or the client is closed.
    pub(crate) async fn run(mut self) {
        let guard = Guard(self.pool.clone());
        while !self.is_over() {
            self.look();
            self.act();
            self.publish();
            match self.wait().await {
                Event::Dialled(task, result) => self.dialled(task, result),
                Event::Resolved => self.resolved(),
                Event::Woken | Event::Timer => {}
            }
            tokio::task::consume_budget().await;
        }
        self.dials.abort_all();
        self.finish().await;
        drop(guard);
    }

    fn is_over(&self) -> bool {
        self.pool.forsaken.load(Ordering::Acquire) || self.pool.closing.load(Ordering::Acquire)
    }

    async fn wait(&mut self) -> Event {
        let at = self.plan.deadline().min(self.names.deadline());
        tokio::select! {
            biased;
            () = self.pool.wake.notified() => Event::Woken,
            Some(dialled) = self.dials.join_next_with_id() => match dialled {
                Ok((task, result)) => Event::Dialled(task, result),
                // A connector of somebody else's may do this.
                Err(error) => {
                    let failed = Error::connect("the connector or what gives the token panicked");
                    Event::Dialled(error.id(), Err(failed))
                }
            },
            () = self.names.resolved() => Event::Resolved,
            () = tokio::time::sleep_until(at.into()) => Event::Timer,
        }
    }

    /// Sees what became of each connection since the last time.
    fn look(&mut self) {
        let now = now();
        let (plan, mut ended) = (&mut self.plan, Vec::new());
        for (id, kept) in &mut self.links {
            let record = |retry_after| Record {
                proved: kept.link.has_proved(),
                retry_after,
            };
            match kept.link.connection.state() {
                State::Closed(why) => {
                    telemetry::lost(&kept.link, &why);
                    plan.closed(*id, record(why.retry_after), now);
                    ended.push((*id, why));
                }
                State::GoingAway(why) if kept.stage == Stage::Open => {
                    telemetry::asked_to_move(&kept.link, &why);
                    plan.going_away(*id, is_draining(&why), record(why.retry_after), now);
                    kept.stage = Stage::Leaving;
                    self.stale = true;
                }
                _ => {}
            }
            if kept.link.is_refusing() && kept.stage != Stage::Ending {
                plan.refuses(*id, record(None), now);
                // What the plan wants done is in its actions.
                kept.stage = Stage::Leaving;
            }
        }
        self.stale |= !ended.is_empty();
        for (id, why) in ended {
            self.links.remove(&id);
            self.last_error = Some(Arc::new(why.connect_error()));
        }
        self.demand();
    }

    fn demand(&mut self) {
        if self.pool.waiting.load(Ordering::Relaxed) > 0 {
            self.plan.wait();
        }
        if !self.pool.grow.load(Ordering::Relaxed) || !self.plan.may_grow() {
            return;
        }
        // The flag stays up while a connection is opened, so that calls need not raise it all the
        // time. What it says then is from before.
        self.growing = !self.growing;
        if self.growing {
            self.plan.grow();
        } else {
            self.pool.grow.store(false, Ordering::Relaxed);
        }
    }

    fn act(&mut self) {
        let (now, links) = (now(), &self.links);
        let peak = |id| links.get(&id).map_or(0, |kept| kept.link.take_peak());
        for action in self.plan.poll(now, peak) {
            self.stale = true;
            match action {
                Action::Dial(id, addr) => self.dial(id, addr),
                Action::Resolve => self.names.ask_soon(now),
                Action::End(id) => {
                    if let Some(kept) = self.links.get_mut(&id) {
                        kept.stage = Stage::Ending;
                        kept.link.connection.shared().close();
                    }
                }
                Action::Cut(id) => {
                    if let Some(kept) = self.links.remove(&id) {
                        kept.link.connection.shared().cut();
                    }
                }
            }
        }
        self.names.start_if_due(now);
    }

    fn dial(&mut self, id: Id, addr: SocketAddr) {
        let dialler = self.dialler.clone();
        let target = Target::new(self.names.host_of(addr), addr);
        let task = self.dials.spawn(async move {
            let wait = dialler.limit.reserve(now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let (connector, options) = (&*dialler.connector, &dialler.options);
            Connection::reach(connector, &target, options).await
        });
        self.dialling.insert(task.id(), id);
    }

    fn dialled(&mut self, task: tokio::task::Id, result: Result<Connection>) {
        let Some(id) = self.dialling.remove(&task) else {
            return;
        };
        let now = now();
        telemetry::dialled(result.as_ref().err());
        match result {
            Ok(connection) => {
                let server_id = connection.server().server_id.as_deref();
                if !self.plan.opened(id, server_id, now) {
                    // Dropping the last handle closes it.
                    return;
                }
                telemetry::opened(&connection);
                connection.shared().observe(self.pool.wake.clone());
                let link = Arc::new(Link::new(connection));
                let stage = Stage::Open;
                self.links.insert(id, Kept { link, stage });
                self.last_error = None;
            }
            Err(error) => {
                let permanent = error.is_permanent();
                self.plan.failed(id, permanent, error.retry_after(), now);
                self.last_error = Some(Arc::new(error));
            }
        }
        self.stale = true;
    }

    fn resolved(&mut self) {
        match self.names.take() {
            Ok(addrs) => self.plan.resolved(&addrs, now()),
            Err(error) => {
                telemetry::unresolved(&error);
                self.last_error = Some(Arc::new(error));
                self.stale = true;
            }
        }
    }

    /// Shows calls the connections as they are.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let of = |stage| {
            let kept = self.links.values().filter(move |kept| kept.stage == stage);
            let usable = kept.filter(|kept| !kept.link.is_refusing());
            usable.map(|kept| kept.link.clone()).collect::<Vec<_>>()
        };
        let view = View {
            open: of(Stage::Open),
            leaving: of(Stage::Leaving),
            failure: self.failure(),
            last_error: self.last_error.clone(),
            finished: false,
        };
        self.shown.set(view.counts(), self.dials.len());
        self.pool.view.send_replace(view);
    }

    /// What calls are told rather than left to wait.
    fn failure(&self) -> Option<Failure> {
        let last = self.last_error.clone()?;
        if self.dialler.fail_fast && self.plan.is_failing() {
            Some(Failure::Failing(last))
        } else if self.plan.is_hopeless() {
            Some(Failure::Refused(last))
        } else {
            None
        }
    }

    /// Takes nothing new, and gives what is under way its time.
    async fn finish(&mut self) {
        let closing = "the client was closed";
        self.pool.view.send_modify(|view| {
            view.failure = Some(Failure::Closed(closing));
            view.open.clear();
            view.leaving.clear();
        });
        let mut parting = JoinSet::new();
        for (_, kept) in self.links.drain() {
            if self.pool.forsaken.load(Ordering::Acquire) {
                // Nobody is left who waits for an answer.
                kept.link.connection.shared().cut();
            } else {
                let connection = kept.link.connection.clone();
                parting.spawn(async move { connection.close().await });
            }
        }
        while parting.join_next().await.is_some() {}
        self.shown.set((0, 0), 0);
    }
}

fn is_draining(why: &GoingAway) -> bool {
    why.reason == GoAwayReason::Draining
}
