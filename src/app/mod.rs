//! The composition root: the only part that knows every other one.

mod access;
mod check;
mod cluster;
mod control;
mod descriptors;
mod documents;
mod drain;
mod embedding;
mod handlers;
mod keys;
mod peers;
mod rebalance;
mod reload;
mod routes;
mod settings;
mod signals;
mod source;
mod threads;
mod tls;
mod trust;
mod watched;

pub use check::{Check, check};
pub use embedding::{Addresses, Embedding, Host};

use crate::admin::{self, Api, Ports, Status};
use crate::config::Config;
use crate::conn::{Listener, Registry, Settings};
use crate::dispatch::Dispatcher;
use crate::lifecycle::{Backoff, DrainCause, Event, Lifecycle, Phase};
use crate::peers::{Convergence, Peers};
use crate::scheduler::{self, Scheduler};
use crate::telemetry::{
    self, ConnMetrics, Exporter, LogControl, LogError, ProcessMetrics, RouteCatalog, Sampling,
    Spans,
};
use control::{DrainWish, MAX_WISHES, Shared};
use embedding::Embedded;
use routes::Routes;
use signals::Signals;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use trust::Trust;

/// The least pause between two attempts to start: full jitter may give none at all, and a fault that
/// shows at once would then be tried in a loop.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Loads the configuration again, as the command line did at the start; a text says what is wrong.
pub type Reload = Box<dyn Fn() -> Result<Config, String>>;

/// Runs a server until it is told to stop. Returns once everything is drained.
///
/// # Errors
/// Something without which there is no point in trying again: no threads, no signals.
pub fn serve(config: Config, observed: Observed, reload: Reload) -> io::Result<()> {
    serve_with(config, observed, reload, Embedding::default())
}

/// Runs a server with what a program brings along.
///
/// # Errors
/// As [`serve`].
pub fn serve_with(
    config: Config,
    observed: Observed,
    reload: Reload,
    embedding: Embedding,
) -> io::Result<()> {
    // The control loop, timers, and the work of handlers that do not answer at once.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.data.worker_threads())
        .thread_name("work")
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let server = Server::start(config, observed, reload, embedding)?;
        server.run().await;
        Ok(())
    });
    // A file system that hangs must not keep the process from its exit.
    runtime.shutdown_background();
    served
}

/// Logs and spans of a process. The default has none.
#[derive(Debug, Default)]
pub struct Observed {
    /// Where logs are changed and flushed.
    pub logs: Option<LogControl>,
    /// Where spans go.
    pub spans: Spans,
}

/// Has the process log as it is configured. Spans go out once it [serves](serve).
///
/// # Errors
/// Logs go elsewhere already, or there is no thread to be had.
pub fn observe(config: &Config) -> Result<Observed, LogError> {
    let spans = Spans::new(settings::traces(config));
    let logs = telemetry::init_logs(&settings::logs(config), &spans)?;
    let logs = Some(logs);
    Ok(Observed { logs, spans })
}

impl Observed {
    /// Spans as they are configured, and the log of whoever set it up.
    pub fn unlogged(config: &Config) -> Observed {
        let spans = Spans::new(settings::traces(config));
        Observed { logs: None, spans }
    }
}

/// A running server.
struct Server {
    config: Config,
    reload: Reload,
    spans: Spans,
    sampling: Sampling,
    lifecycle: Lifecycle,
    metrics: ProcessMetrics,
    conn_metrics: Arc<ConnMetrics>,
    registry: Arc<Registry>,
    trust: Arc<Trust>,
    scheduler: Arc<Scheduler>,
    routes: Arc<Routes>,
    shared: Arc<Shared>,
    peers: Arc<Peers>,
    api: Arc<Api>,
    wishes: mpsc::Receiver<DrainWish>,
    /// The wish that the drain began with.
    wish: Option<DrainWish>,
    settings: watch::Sender<Settings>,
    status: Status,
    workers: Vec<Handle>,
    signals: Signals,
    accepting: Option<JoinHandle<()>>,
    ports: Ports,
    sidecar: Option<SocketAddr>,
    admin_bound: bool,
    embedded: Embedded,
    /// Threads end when it is gone.
    running: watch::Sender<()>,
}

/// What may happen while the server runs.
enum Wake {
    Drain(DrainCause),
    Wish(DrainWish),
    Reload,
    Routes,
}

impl Server {
    fn start(
        config: Config,
        observed: Observed,
        reload: Reload,
        embedding: Embedding,
    ) -> io::Result<Server> {
        let Observed { logs, mut spans } = observed;
        let Embedding {
            handlers,
            document,
            host,
        } = embedding;
        descriptors::raise_limit();
        let exporter = Arc::new(Exporter::install().with_logs(logs.clone()));
        let metrics = ProcessMetrics::new(Phase::ALL.map(Phase::name));
        let catalog = Arc::new(RouteCatalog::default());
        let (conn_metrics, sampling) = watch_connections(&mut spans, &config, &catalog);
        exporter.show(Arc::clone(&conn_metrics));
        let threads = config.data.worker_threads();
        let pulses = threads::pulses(threads);
        let (running, ended) = watch::channel(());
        let workers = threads::start_workers(&pulses, threads, &ended)?;
        exporter.watch("data", workers.iter().map(Handle::metrics));
        exporter.watch("work", [Handle::current().metrics()]);
        let (lifecycle, registry) = (Lifecycle::new(), Arc::new(Registry::default()));
        let queues = Arc::clone(exporter.queues());
        let scheduler = Arc::new(Scheduler::new(scheduler::DEFAULT_LIMITS, queues));
        let cluster = cluster::of(&config);
        let peer_metrics = exporter.peers();
        let others = peers::open(&config, cluster.clone(), Arc::clone(peer_metrics));
        let others = others.map_err(io::Error::other)?;
        let peers = others.peers;
        let convergence = Convergence::new(Arc::clone(&peers), Arc::clone(peer_metrics));
        let own = (handlers, document);
        let mut documents = documents::open(&config, cluster.as_ref());
        let principals = documents.principals.take();
        let routes = Routes::new(
            &config,
            documents,
            own,
            Arc::clone(&scheduler),
            catalog,
            (Arc::clone(exporter.upstreams()), others.services),
            metrics.clone(),
        );
        let routes = Arc::new(routes);
        let trust = Trust::new(&config, principals, Arc::clone(&registry), metrics.clone());
        let trust = Arc::new(trust.map_err(io::Error::other)?);
        let settings = watch::Sender::new(settings::connections(&config));
        let status = Status {
            server_id: config.server_id.as_str().into(),
            lifecycle: lifecycle.clone(),
            connections: Arc::clone(&registry),
            routes: routes.status(),
            trust: trust.status(),
            pulses,
            keep_ready: Arc::new(AtomicBool::new(settings::keeps_ready(&config))),
            refusing: Arc::new(AtomicBool::new(false)),
            exporter,
        };
        let (wish, wishes) = mpsc::channel(MAX_WISHES);
        let signals = Signals::listen(host.is_none())?;
        let embedded = Embedded::new(host, &wish);
        let shared = Arc::new(Shared::new(
            (Arc::clone(&routes), Arc::new(convergence)),
            Arc::clone(&scheduler),
            Arc::clone(&trust.auth),
            &config,
            Arc::clone(&conn_metrics),
            logs,
            wish,
        ));
        let api = admin_api(&config, &shared, sampling.clone(), &status)?;
        tokio::spawn(access::watch(Arc::clone(&api), Arc::clone(&shared)));
        Ok(Server {
            config,
            reload,
            spans,
            sampling,
            lifecycle,
            metrics,
            conn_metrics,
            registry,
            trust,
            scheduler,
            routes,
            shared,
            peers,
            api,
            wishes,
            wish: None,
            settings,
            status,
            workers,
            signals,
            accepting: None,
            ports: Ports::default(),
            sidecar: None,
            admin_bound: false,
            embedded,
            running,
        })
    }

    async fn run(mut self) {
        let cause = match self.become_ready().await {
            Some(cause) => cause,
            None => self.serve_until_drain().await,
        };
        self.transition(Event::Drain { cause });
        let following = self.follow_routes();
        drain::run(&mut self, cause).await;
        following.abort();
        self.transition(Event::Stopped);
        // Whoever asked for the drain is still being told that it began.
        self.ports.finish().await;
    }

    /// Most of a drain goes on serving, so it goes by the newest routes: whoever waits for all servers to have
    /// them waits for this one, too.
    fn follow_routes(&self) -> JoinHandle<()> {
        let routes = Arc::clone(&self.routes);
        tokio::spawn(async move {
            while routes.live().is_some() {
                routes.changed().await;
            }
        })
    }

    fn transition(&self, event: Event) {
        match self.lifecycle.transition(event) {
            Ok(step) => self.metrics.transition(step.to.name()),
            Err(error) => tracing::error!(%error, "a step of the lifecycle that may not be"),
        }
    }

    /// Binds the ports and loads the routes, again and again until it works: what is wrong here (a
    /// port in use, a file that is not there yet) can be put right while the process waits. Gives
    /// the cause if it was told to stop meanwhile.
    async fn become_ready(&mut self) -> Option<DrainCause> {
        self.metrics.phase(self.lifecycle.current().name());
        let mut backoff = Backoff::default();
        loop {
            let what = match self.try_start().await {
                Ok(()) => {
                    self.transition(Event::Started);
                    return None;
                }
                Err(what) => what,
            };
            self.transition(Event::Fault { what: what.clone() });
            if self.embedded.failed(&what) {
                return Some(DrainCause::Host);
            }
            let random = (crate::telemetry::random_unit() * u64::MAX as f64) as u64;
            let wait = backoff.next_delay(random).max(LEAST_PAUSE);
            tracing::error!(%what, ?wait, "cannot serve, trying again");
            match self.wait_to_retry(wait).await {
                Wake::Drain(cause) => return Some(cause),
                Wake::Wish(wish) => return Some(self.wished(wish)),
                Wake::Reload => reload::run(self),
                Wake::Routes => {}
            }
            self.transition(Event::Recover);
        }
    }

    /// Waits for `wait`, or for what may have put the fault right.
    async fn wait_to_retry(&mut self, wait: Duration) -> Wake {
        let Signals {
            terminate,
            interrupt,
            hangup,
        } = &mut self.signals;
        tokio::select! {
            () = tokio::time::sleep(wait) => Wake::Routes,
            () = self.routes.first_may_load() => Wake::Routes,
            () = self.trust.may_load() => Wake::Routes,
            _ = hangup.recv() => Wake::Reload,
            _ = terminate.recv() => Wake::Drain(DrainCause::Terminate),
            _ = interrupt.recv() => Wake::Drain(DrainCause::Interrupt),
            Some(wish) = self.wishes.recv() => Wake::Wish(wish),
        }
    }

    /// Keeps the wish until it shows.
    fn wished(&mut self, wish: DrainWish) -> DrainCause {
        let cause = wish.cause;
        self.wish = Some(wish);
        cause
    }

    async fn try_start(&mut self) -> Result<(), String> {
        if self.sidecar.is_none() {
            let addr = self.config.sidecar.listen;
            let error = |error: io::Error| format!("cannot listen on {addr} (sidecar): {error}");
            let listener = admin::bind(addr).map_err(error)?;
            let bound = listener.local_addr().map_err(error)?;
            let api = self.config.admin.listen.is_none();
            let api = api.then(|| Arc::clone(&self.api));
            let router = admin::router(self.status.clone(), api);
            let ended = self.running.subscribe();
            let gate = self.ports.gate();
            threads::start_http("sidecar", listener, None, router, gate, ended).map_err(error)?;
            self.sidecar = Some(bound);
            self.say("sidecar", bound);
        }
        if let Some(addr) = self.config.admin.listen.filter(|_| !self.admin_bound) {
            self.bind_admin(addr)?;
        }
        self.trust.load().await?;
        let tls = tls::data(&self.config)?;
        self.routes.load_first().await?;
        let listener = self.bind_data(tls.as_ref())?;
        let data = listener.local_addr();
        self.say("data", data);
        self.accepting = Some(tokio::spawn(listener.run()));
        self.trust.watch();
        if let Some(tls) = tls {
            tls.watch();
        }
        handlers::watch(self);
        rebalance::watch(self);
        if let Some(sidecar) = self.sidecar {
            self.embedded.started(Addresses { data, sidecar });
        }
        Ok(())
    }

    fn bind_admin(&mut self, addr: SocketAddr) -> Result<(), String> {
        let tls = tls::admin(&self.config)?;
        let error = |error: io::Error| format!("cannot listen on {addr} (admin): {error}");
        let listener = admin::bind(addr).map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        let config = tls.as_ref().map(tls::Loaded::config);
        let router = admin::admin_router(Arc::clone(&self.api));
        let (gate, ended) = (self.ports.gate(), self.running.subscribe());
        threads::start_http("admin", listener, config, router, gate, ended).map_err(error)?;
        if let Some(tls) = tls {
            tls.watch();
        }
        self.admin_bound = true;
        self.say("admin", bound);
        Ok(())
    }

    /// Tells on standard output where a port is, for people and for scripts that asked for port 0. Logs
    /// go to standard error. A server in somebody else's program tells that instead.
    fn say(&self, port: &str, addr: SocketAddr) {
        use io::Write;
        if !self.embedded.is_hosted() {
            // Nobody may be listening; that is no reason not to serve.
            let _ = writeln!(io::stdout(), "{port} listening on {addr}");
        }
    }

    fn bind_data(&self, tls: Option<&tls::Loaded>) -> Result<Listener<Dispatcher>, String> {
        let listener = Listener::bind(
            self.settings.subscribe(),
            Dispatcher::new(self.routes.table()).with_auth(Arc::clone(&self.trust.auth)),
            Arc::clone(&self.conn_metrics),
            Arc::clone(&self.registry),
            self.workers.clone(),
        );
        let listener = listener.map_err(|error| error.to_string())?;
        Ok(match tls {
            Some(tls) => listener.with_tls(tls.config()),
            None => listener,
        })
    }

    async fn serve_until_drain(&mut self) -> DrainCause {
        loop {
            let Signals {
                terminate,
                interrupt,
                hangup,
            } = &mut self.signals;
            let wake = tokio::select! {
                _ = terminate.recv() => Wake::Drain(DrainCause::Terminate),
                _ = interrupt.recv() => Wake::Drain(DrainCause::Interrupt),
                _ = hangup.recv() => Wake::Reload,
                Some(wish) = self.wishes.recv() => Wake::Wish(wish),
                () = self.routes.changed() => Wake::Routes,
            };
            match wake {
                Wake::Drain(cause) => return cause,
                Wake::Wish(wish) => return self.wished(wish),
                Wake::Reload => reload::run(self),
                Wake::Routes => {}
            }
        }
    }
}

/// Has connections counted and their spans exported. That spans cannot be is no reason not to serve.
fn watch_connections(
    spans: &mut Spans,
    config: &Config,
    catalog: &Arc<RouteCatalog>,
) -> (Arc<ConnMetrics>, Sampling) {
    let mut connections = ConnMetrics::new(Arc::clone(catalog));
    connections.set_counting(config.metrics.enabled);
    for why in &config.tracing.ignored {
        tracing::warn!(%why, "a variable of OpenTelemetry is ignored");
    }
    let (sampling, started) = spans.start(&mut connections, catalog);
    if let Err(error) = started {
        tracing::error!(%error, "no spans are exported");
    }
    (Arc::new(connections), sampling)
}

/// The admin API by these settings.
fn admin_api(
    config: &Config,
    shared: &Arc<Shared>,
    sampling: Sampling,
    status: &Status,
) -> io::Result<Arc<Api>> {
    let rules = access::rules(config);
    let rules = rules.map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
    let control = Arc::clone(shared) as Arc<dyn admin::Control>;
    let max_document = config.routes.max_bytes;
    Ok(Arc::new(Api::new(
        control,
        sampling,
        status.clone(),
        rules,
        max_document,
    )))
}
