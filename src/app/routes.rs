//! The live routes: from the store to the table, and what to say when a document is refused.

mod first;
mod write;

use super::documents::Documents;
use super::handlers::{self, Made, Sources};
use super::settings;
use super::source::Source;
use crate::admin::{RoutesStatus, Version};
use crate::background;
use crate::config::Config;
use crate::dispatch::{self, BindOptions, BoundRoute, Mirrors, bind};
use crate::handler::{Context, Handlers};
use crate::router::document::{Document, Loaded, Problems, RouteSpec};
use crate::router::handle::Handle;
use crate::router::store::{MemoryStore, RouteStore, Standing, StoreError};
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::{ProcessMetrics, RouteCatalog, UpstreamCatalog};
use crate::upstream::Services;
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How often it is noted that the live table is still the store's.
const CONFIRM: Duration = Duration::from_secs(1);

/// Keeps the live table in step with the store, whoever changes that: this server or somebody else.
pub(super) struct Routes {
    store: Arc<dyn RouteStore>,
    source: String,
    handlers_source: Option<Source>,
    table: Handle<Arc<BoundRoute>>,
    scheduler: Arc<Scheduler>,
    catalog: Arc<RouteCatalog>,
    upstreams: Arc<UpstreamCatalog>,
    services: Option<Arc<dyn Services>>,
    metrics: ProcessMetrics,
    /// Held while a table is made, which takes a moment for a large one.
    state: Mutex<State>,
    /// The document of the live table, for those who must not wait.
    live: ArcSwapOption<Version>,
    status: watch::Sender<RoutesStatus>,
    /// Held from reading what the store holds to making it live: one write, or one change that was
    /// noticed, after the other.
    turn: tokio::sync::Mutex<()>,
    /// Writes that were begun.
    writes: AtomicU64,
}

/// What a table is made of.
struct State {
    /// As they are, or will be once they are first made.
    sources: Sources,
    /// Why the handlers document is not in `sources`, if it is not.
    unread: Option<String>,
    /// `None` until they are first made.
    made: Option<Made>,
    server_limits: Limits,
    options: BindOptions,
}

impl State {
    /// Makes the handlers unless they are there.
    fn handlers(&mut self, context: &Context<'_>) -> Result<Handlers, String> {
        if let Some(made) = &self.made {
            return Ok(made.handlers.clone());
        }
        if let Some(why) = &self.unread {
            return Err(why.clone());
        }
        let made = self.sources.clone().make(None, context)?;
        Ok(self.made.insert(made).handlers.clone())
    }
}

impl Routes {
    pub(super) fn new(
        config: &Config,
        documents: Documents,
        (own, document): (Handlers, Option<Document>),
        scheduler: Arc<Scheduler>,
        catalog: Arc<RouteCatalog>,
        (upstreams, services): (Arc<UpstreamCatalog>, Option<Arc<dyn Services>>),
        metrics: ProcessMetrics,
    ) -> Routes {
        let (store, source) = match document {
            Some(document) if documents.store.kind() == "memory" => {
                let store: Arc<dyn RouteStore> = Arc::new(MemoryStore::new(document));
                (store, "the program".to_owned())
            }
            _ => (documents.store, documents.source),
        };
        let sources = Sources {
            configs: config.handlers.clone(),
            own,
            ..Sources::default()
        };
        let server_limits = settings::server_limits(config);
        scheduler.configure(server_limits, &sources.limits());
        let status = RoutesStatus {
            store: store.kind(),
            ..RoutesStatus::default()
        };
        Routes {
            store,
            source,
            handlers_source: documents.handlers,
            table: Handle::default(),
            scheduler,
            catalog,
            metrics,
            upstreams,
            services,
            state: Mutex::new(State {
                sources,
                unread: Some("the handlers have not been read yet".to_owned()),
                made: None,
                server_limits,
                options: BindOptions {
                    revision_on_answers: config.routes.revision_on_answers,
                    allow_faults: config.routes.allow_faults,
                    mirrors: Arc::new(Mirrors::new(
                        tokio::runtime::Handle::current(),
                        settings::mirrors(config),
                    )),
                },
            }),
            live: ArcSwapOption::empty(),
            status: watch::Sender::new(status),
            turn: tokio::sync::Mutex::new(()),
            writes: AtomicU64::new(0),
        }
    }

    /// Copies that routes have made of requests.
    pub(super) fn mirrors(&self) -> Arc<Mirrors> {
        Arc::clone(&self.state().options.mirrors)
    }

    pub(super) fn table(&self) -> Handle<Arc<BoundRoute>> {
        self.table.clone()
    }

    pub(super) fn status(&self) -> watch::Receiver<RoutesStatus> {
        self.status.subscribe()
    }

    /// The handlers by name; none before they are first built.
    pub(super) fn handlers(&self) -> Handlers {
        let state = self.state();
        let made = state.made.as_ref();
        made.map(|made| made.handlers.clone()).unwrap_or_default()
    }

    /// What handlers are made with.
    fn context(&self) -> Context<'_> {
        Context {
            upstreams: &self.upstreams,
            services: self.services.as_deref(),
        }
    }

    /// Whether the store takes changes from here.
    pub(super) fn may_change(&self) -> bool {
        self.store.is_writable()
    }

    /// Where the handlers document comes from.
    pub(super) fn handlers_source(&self) -> Option<&Source> {
        self.handlers_source.as_ref()
    }

    /// The handlers document that is in force.
    pub(super) fn handlers_document(&self) -> Arc<crate::handler::Document> {
        Arc::clone(&self.state().sources.document)
    }

    pub(super) fn live(&self) -> Option<Arc<Version>> {
        self.live.load_full()
    }

    /// A panic elsewhere cannot leave it half changed: it is changed in single steps.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the store to hold something else, and makes it live if it is good. What was
    /// noticed is taken even if the future is dropped.
    pub(super) async fn changed(self: &Arc<Self>) {
        let writes = self.writes.load(Ordering::Acquire);
        let mut changed = self.store.changed();
        let loaded = loop {
            tokio::select! {
                loaded = &mut changed => break loaded,
                () = tokio::time::sleep(CONFIRM) => self.confirm(),
            }
        };
        drop(changed);
        let taking = tokio::spawn(Arc::clone(self).noticed(loaded, writes));
        // It fails with the whole process only.
        let _ = taking.await;
    }

    /// Makes live what the store was seen to hold when there had been so many writes.
    async fn noticed(self: Arc<Self>, mut loaded: Result<Loaded, StoreError>, writes: u64) {
        let _turn = self.turn.lock().await;
        if self.writes.load(Ordering::Acquire) != writes {
            // It may be what a write of ours has replaced, or has made live, meanwhile.
            loaded = self.store.load().await;
        }
        let live = self.live();
        let is_live = |loaded: &Loaded| live.is_some_and(|live| live.document == loaded.document);
        if loaded.as_ref().is_ok_and(is_live) {
            return self.confirmed();
        }
        let this = Arc::clone(&self);
        let taking = background::run(move || {
            let loaded = loaded.map_err(|error| explain(&error));
            if let Err(problem) = this.take(loaded) {
                let source = &this.source;
                tracing::error!(source, %problem, "routes refused, the last good ones stay");
            }
        });
        let _ = taking.await;
    }

    fn take(&self, loaded: Result<Loaded, String>) -> Result<(), String> {
        let taken = loaded.and_then(|Loaded { document, warnings }| {
            for warning in warnings.iter() {
                tracing::warn!(source = self.source, %warning, "routes");
            }
            self.apply(Arc::new(Version::new(document)), &self.source)?;
            self.confirmed();
            Ok(())
        });
        taken.inspect_err(|problem| self.refused(problem))
    }

    /// The store holds what is live.
    fn confirmed(&self) {
        self.status.send_if_modified(|status| {
            let other = status.source.as_ref() != Some(&self.source);
            if other {
                status.source = Some(self.source.clone());
            }
            status.problem.take().is_some() || other
        });
        self.confirm();
    }

    /// The store is being watched and says nothing: unless what it said last was refused, it holds
    /// what is live, as of when it said anything.
    fn confirm(&self) {
        let standing = self.store.standing();
        let (asked, standing) = (standing.is_some(), standing.unwrap_or_default());
        let Standing {
            confirmed,
            version,
            problem,
        } = standing;
        let confirmed = if asked {
            confirmed
        } else {
            Some(SystemTime::now())
        };
        let is_live = self.live().is_some() && self.status.borrow().problem.is_none();
        if let Some(at) = confirmed.filter(|_| is_live) {
            self.metrics.routes_confirmed(at);
        }
        // Nobody waits for this: it changes all the time.
        self.status.send_if_modified(|status| {
            if is_live {
                status.confirmed = confirmed;
            }
            (status.version, status.unreachable) = (version, problem);
            false
        });
    }

    /// Has the store looked at again.
    pub(super) fn poke(&self) {
        self.store.poke();
    }

    /// Takes handlers, limits and options of a new configuration.
    ///
    /// # Errors
    /// The live routes cannot be served with them; the old ones stay.
    pub(super) fn reconfigure(&self, config: &Config) -> Result<(), String> {
        let mut state = self.state();
        let sources = Sources {
            configs: config.handlers.clone(),
            ..state.sources.clone()
        };
        let server_limits = settings::server_limits(config);
        let options = BindOptions {
            revision_on_answers: config.routes.revision_on_answers,
            allow_faults: config.routes.allow_faults,
            mirrors: Arc::clone(&state.options.mirrors),
        };
        self.remake(&mut state, sources, server_limits, options)?;
        state.options.mirrors.set_limits(settings::mirrors(config));
        Ok(())
    }

    /// Takes another handlers document. Takes a moment where there are many routes.
    ///
    /// # Errors
    /// What is wrong with it, or a live route would lose its handler; the old one stays.
    pub(super) fn take_handlers(&self, document: &crate::handler::Document) -> Result<(), String> {
        let mut state = self.state();
        if *state.sources.document == *document && state.made.is_some() {
            return Ok(());
        }
        let (revision, handlers) = (document.revision, document.handlers.len());
        let sources = Sources {
            document: Arc::new(document.clone()),
            ..state.sources.clone()
        };
        let (limits, options) = (state.server_limits, state.options.clone());
        self.remake(&mut state, sources, limits, options)?;
        tracing::info!(revision, handlers, "the handlers document is in force");
        drop(state);
        // Routes that were refused for want of a handler may do now.
        if self.status.borrow().problem.is_some() {
            self.store.poke();
        }
        Ok(())
    }

    /// Makes what has changed, and binds the live routes to it in one step.
    fn remake(
        &self,
        state: &mut State,
        sources: Sources,
        server_limits: Limits,
        options: BindOptions,
    ) -> Result<(), String> {
        let taken = self.take_sources(state, sources, server_limits, options);
        // Counts of handlers that were made and are not taken, or are not there any more.
        if let Some(made) = &state.made {
            self.upstreams
                .retain(|name| made.handlers.get(name).is_some());
        }
        taken
    }

    fn take_sources(
        &self,
        state: &mut State,
        sources: Sources,
        server_limits: Limits,
        options: BindOptions,
    ) -> Result<(), String> {
        let made = sources.make(state.made.as_ref(), &self.context())?;
        let live = self.live();
        if let Some(live) = &live {
            // Before the limits change: a handler whose queue is taken away does not get it back.
            let allow_faults = options.allow_faults;
            let problems = dispatch::check(&live.document, &made.handlers, allow_faults);
            if !problems.is_empty() {
                return Err(problems.to_string());
            }
        }
        self.scheduler
            .configure(server_limits, &made.sources.limits());
        if let Some(live) = &live {
            let bound = self.bind(&live.document, &made.handlers, &options);
            bound.map_err(|problems| problems.to_string())?;
        }
        handlers::start(&made.handlers);
        state.sources = made.sources.clone();
        state.made = Some(made);
        (state.server_limits, state.options) = (server_limits, options);
        Ok(())
    }

    /// Makes a document live that comes from `source`. Takes a moment for a large one.
    fn apply(&self, version: Arc<Version>, source: &str) -> Result<(), String> {
        let mut state = self.state();
        let handlers = state.handlers(&self.context())?;
        let document = &version.document;
        self.bind(document, &handlers, &state.options)
            .map_err(|problems| format!("{source}: {problems}"))?;
        let (routes, revision) = (document.routes.len(), document.revision);
        tracing::info!(source, routes, revision, "routes are live");
        let faults = faulty(document);
        if !faults.is_empty() {
            let routes = faults.join(" ");
            tracing::warn!(routes, "these routes fail on purpose: they inject faults");
        }
        self.catalog.set_hash(version.hash.clone());
        self.metrics.routes_live(revision);
        self.status.send_modify(|status| {
            status.source = Some(source.to_owned());
            (status.revision, status.routes) = (revision, routes);
            status.hash.clone_from(&version.hash);
            status.etag = Some(version.etag);
            status.faults = faults;
            status.problem = None;
        });
        self.store.in_force(document);
        self.live.store(Some(version));
        Ok(())
    }

    fn bind(
        &self,
        document: &Document,
        handlers: &Handlers,
        options: &BindOptions,
    ) -> Result<(), Problems> {
        let before = self.table.table();
        let (scheduler, catalog) = (&self.scheduler, &self.catalog);
        let table = bind(document, handlers, scheduler, catalog, &before, options)?;
        self.table.store(table);
        Ok(())
    }

    fn refused(&self, problem: &str) {
        self.metrics.routes_refused();
        self.store.refused(problem);
        self.status
            .send_modify(|status| status.problem = Some(problem.to_owned()));
    }
}

/// The names of the routes that inject faults.
fn faulty(document: &Document) -> Vec<String> {
    let strikes = |route: &&RouteSpec| route.fault.is_some_and(|fault| fault.percent > 0);
    let routes = document.routes.iter().filter(strikes);
    routes.map(|route| route.name.clone()).collect()
}

/// What is wrong, with every problem of the document by line and key.
fn explain(error: &StoreError) -> String {
    match error.document_error() {
        Some(problems) => format!("{error}: {problems}"),
        None => error.to_string(),
    }
}
