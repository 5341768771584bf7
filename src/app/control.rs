//! What the admin API may ask of the server, answered.

use super::routes::Routes;
use crate::admin::{
    self, Answer, Arrived, Change, Control, DrainView, EndpointAction, HandlerView, NoEndpoint,
    RebalanceView, Setting, Straggler, UpstreamView, Version, WriteError, Written,
};
use crate::auth::{Auth, PrincipalView};
use crate::background;
use crate::config::Config;
use crate::handler::TopicSeen;
use crate::lifecycle::DrainCause;
use crate::peers::{self, Converged, Convergence};
use crate::router::store::StoreError;
use crate::scheduler::{Load, Scheduler};
use crate::telemetry::{ConnMetrics, LogControl};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Wishes that may wait for the control loop: it takes them at once unless it is stuck.
pub(super) const MAX_WISHES: usize = 16;

/// Somebody wants the server to drain.
#[derive(Debug)]
pub(super) struct DrainWish {
    /// Whether to go on to the next stage at once.
    pub(super) hasten: bool,
    /// Whose wish it is.
    pub(super) cause: DrainCause,
    /// Told once that is visible.
    pub(super) seen: oneshot::Sender<()>,
}

/// What the control loop shares with the admin API.
pub(super) struct Shared {
    routes: Arc<Routes>,
    scheduler: Arc<Scheduler>,
    auth: Arc<Auth>,
    config: ArcSwap<Config>,
    conn_metrics: Arc<ConnMetrics>,
    convergence: Arc<Convergence>,
    logs: Option<LogControl>,
    filter: Mutex<String>,
    wishes: mpsc::Sender<DrainWish>,
    drain: Mutex<Option<DrainView>>,
    rebalance: Mutex<Option<RebalanceView>>,
    /// Where all of this runs, whichever thread asks.
    background: Handle,
}

impl Shared {
    /// Must be called on the runtime of the control loop.
    pub(super) fn new(
        (routes, convergence): (Arc<Routes>, Arc<Convergence>),
        scheduler: Arc<Scheduler>,
        auth: Arc<Auth>,
        config: &Config,
        conn_metrics: Arc<ConnMetrics>,
        logs: Option<LogControl>,
        wishes: mpsc::Sender<DrainWish>,
    ) -> Shared {
        Shared {
            routes,
            scheduler,
            auth,
            filter: Mutex::new(config.log.filter.clone()),
            config: ArcSwap::from_pointee(config.clone()),
            conn_metrics,
            convergence,
            logs,
            wishes,
            drain: Mutex::default(),
            rebalance: Mutex::default(),
            background: Handle::current(),
        }
    }

    /// Shows another configuration.
    pub(super) fn set_config(&self, config: &Config) {
        self.config.store(Arc::new(config.clone()));
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Shows how the drain is getting on.
    pub(super) fn set_drain(&self, view: DrainView) {
        *lock(&self.drain) = Some(view);
    }

    /// Shows how connections are shared out, or that nobody looks.
    pub(super) fn set_rebalance(&self, view: Option<RebalanceView>) {
        *lock(&self.rebalance) = view;
    }

    /// Uses another log filter.
    ///
    /// # Errors
    /// The filter is not one, or logs are not this process' own.
    pub(super) fn use_filter(&self, filter: &str) -> Result<(), String> {
        let logs = self.logs.as_ref();
        let logs = logs.ok_or("the log of this process is set up by somebody else")?;
        logs.set_filter(filter).map_err(|error| error.to_string())?;
        filter.clone_into(&mut lock(&self.filter));
        Ok(())
    }
}

fn arrived(converged: Converged) -> Arrived {
    let (stragglers, problem) = match converged {
        Converged::All => {
            return Arrived {
                converged: true,
                ..Arrived::default()
            };
        }
        Converged::Not {
            stragglers,
            problem,
        } => (stragglers, problem),
    };
    let straggler = |one: peers::Straggler| Straggler {
        server: one.server,
        address: one.address,
        node: one.node,
        revision: one.revision,
        problem: one.problem,
    };
    Arrived {
        converged: false,
        stragglers: stragglers.into_iter().map(straggler).collect(),
        problem,
    }
}

fn handler_load(load: Load) -> admin::HandlerLoad {
    admin::HandlerLoad {
        running: load.running,
        waiting: load.waiting,
        limit: Some(load.limits.running),
    }
}

/// What is behind these locks is replaced in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control for Shared {
    fn routes(&self) -> Answer<'_, Result<Arc<Version>, StoreError>> {
        let routes = Arc::clone(&self.routes);
        let reading = background::on(&self.background, async move { routes.version().await });
        Box::pin(async move {
            let broken = |_| StoreError::broken("reading the routes broke off");
            reading.await.map_err(broken)?
        })
    }

    fn live(&self) -> Option<Arc<Version>> {
        self.routes.live()
    }

    fn change(
        &self,
        change: Change,
        patience: Duration,
    ) -> Answer<'_, Result<Written, WriteError>> {
        let (routes, convergence) = (Arc::clone(&self.routes), Arc::clone(&self.convergence));
        let (began, dry_run) = (Instant::now(), change.dry_run);
        let changing = self.background.spawn(async move {
            let written = routes.change(change, patience).await?;
            if written.changed && !dry_run {
                convergence.wrote(&written.after.hash, began);
            }
            Ok(written)
        });
        Box::pin(async move { changing.await.unwrap_or(Err(WriteError::Unknown)) })
    }

    fn converged<'a>(&'a self, hash: &'a str, patience: Duration) -> Answer<'a, Arrived> {
        Box::pin(async move {
            let is_live = self.live().is_some_and(|live| live.hash == hash);
            match is_live {
                true => arrived(self.convergence.wait(hash, patience).await),
                false => Arrived {
                    problem: Some("something else was written meanwhile".to_owned()),
                    ..Arrived::default()
                },
            }
        })
    }

    fn may_change(&self) -> bool {
        self.routes.may_change()
    }

    fn principals(&self) -> Vec<PrincipalView> {
        self.auth.principals_in_force()
    }

    fn handlers(&self) -> Vec<HandlerView> {
        let mut views: BTreeMap<String, HandlerView> = BTreeMap::new();
        for setting in self.config().effective() {
            let Some(field) = setting.key.strip_prefix("handlers.") else {
                continue;
            };
            // Names may have dots in them, fields have none.
            let Some((name, field)) = field.rsplit_once('.') else {
                continue;
            };
            let view = views.entry(name.to_owned()).or_insert_with(|| HandlerView {
                name: name.to_owned(),
                kind: String::new(),
                settings: BTreeMap::new(),
                load: self.scheduler.load_of(name).map(handler_load),
                upstream: None,
            });
            match field {
                "type" => view.kind = setting.value,
                _ => drop(view.settings.insert(field.to_owned(), setting.value)),
            }
        }
        let handlers = self.routes.handlers();
        for entry in &self.routes.handlers_document().handlers {
            let name = &entry.name;
            let upstream = handlers.get(name).and_then(|handler| handler.upstream());
            let view = HandlerView {
                name: name.clone(),
                kind: entry.kind().to_owned(),
                settings: entry.settings(),
                load: self.scheduler.load_of(name).map(handler_load),
                upstream: upstream.map(|upstream| UpstreamView {
                    endpoints: upstream.endpoints(),
                    pending: upstream.pending(),
                    adaptive_limit: upstream.adaptive_limit(),
                }),
            };
            views.insert(name.clone(), view);
        }
        views.into_values().collect()
    }

    fn set_endpoint(
        &self,
        handler: &str,
        endpoint: SocketAddr,
        action: EndpointAction,
    ) -> Result<(), NoEndpoint> {
        let handlers = self.routes.handlers();
        let handler = handlers.get(handler).ok_or(NoEndpoint::Handler)?;
        let upstream = handler.upstream().ok_or(NoEndpoint::Upstream)?;
        let done = match action {
            EndpointAction::Eject => upstream.eject(endpoint),
            EndpointAction::Restore => upstream.restore(endpoint),
        };
        done.then_some(()).ok_or(NoEndpoint::Endpoint)
    }

    fn topics(&self, limit: usize) -> Vec<(String, Vec<TopicSeen>)> {
        let handlers = self.routes.handlers();
        let topics = handlers.names().filter_map(|name| {
            let topics = handlers.get(name)?.topics(limit);
            (!topics.is_empty()).then(|| (name.to_owned(), topics))
        });
        topics.collect()
    }

    fn drain(&self, hasten: bool, patience: Duration) -> Answer<'_, bool> {
        Box::pin(async move {
            // There is nothing left to be hastened, and nobody who listens.
            let last = crate::lifecycle::Stage::Flush.name();
            if self.draining().is_some_and(|drain| drain.stage == last) {
                return true;
            }
            let (seen, noticed) = oneshot::channel();
            let cause = DrainCause::Admin;
            let wish = DrainWish {
                hasten,
                cause,
                seen,
            };
            if self.wishes.try_send(wish).is_err() {
                return false;
            }
            let noticed = tokio::time::timeout(patience, noticed).await;
            noticed.is_ok_and(|noticed| noticed.is_ok())
        })
    }

    fn draining(&self) -> Option<DrainView> {
        lock(&self.drain).clone()
    }

    fn rebalance(&self) -> Option<RebalanceView> {
        lock(&self.rebalance).clone()
    }

    fn in_flight(&self) -> u64 {
        self.conn_metrics.in_flight()
    }

    fn settings(&self) -> Vec<Setting> {
        let settings = self.config().effective().into_iter();
        let shown = settings.map(|setting| admin::Setting {
            key: setting.key,
            value: setting.value,
            origin: setting.origin,
        });
        shown.collect()
    }

    fn log_filter(&self) -> String {
        lock(&self.filter).clone()
    }

    fn set_log_filter(&self, filter: &str) -> Result<(), String> {
        self.use_filter(filter)
    }
}
