//! The live routes: from the store to the table, and what to say when a document is refused.

use super::settings;
use crate::admin::RoutesStatus;
use crate::config::{Config, HandlerConfig};
use crate::dispatch::{BoundRoute, bind};
use crate::handler::Handlers;
use crate::router::document::{Document, Loaded, ParseOptions};
use crate::router::handle::Handle;
use crate::router::store::{FileStore, FileStoreOptions, MemoryStore, RouteStore, StoreError};
use crate::scheduler::Scheduler;
use crate::telemetry::{ProcessMetrics, RouteCatalog};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is noted that the live table is still the store's.
const CONFIRM: Duration = Duration::from_secs(1);

/// Keeps the live table in step with the store.
pub(super) struct Routes {
    store: Arc<dyn RouteStore>,
    source: String,
    table: Handle<Arc<BoundRoute>>,
    scheduler: Arc<Scheduler>,
    catalog: Arc<RouteCatalog>,
    metrics: ProcessMetrics,
    handler_configs: BTreeMap<String, HandlerConfig>,
    handlers: Handlers,
    revision_on_answers: bool,
    /// The document of the live table.
    live: Option<Document>,
    status: watch::Sender<RoutesStatus>,
}

impl Routes {
    pub(super) fn new(
        config: &Config,
        scheduler: Arc<Scheduler>,
        catalog: Arc<RouteCatalog>,
        metrics: ProcessMetrics,
    ) -> Routes {
        let (store, source) = open_store(config);
        settings::schedule(&scheduler, config);
        Routes {
            store,
            source,
            table: Handle::default(),
            scheduler,
            catalog,
            metrics,
            handler_configs: config.handlers.clone(),
            handlers: Handlers::new(),
            revision_on_answers: config.routes.revision_on_answers,
            live: None,
            status: watch::Sender::new(RoutesStatus::default()),
        }
    }

    pub(super) fn table(&self) -> Handle<Arc<BoundRoute>> {
        self.table.clone()
    }

    pub(super) fn status(&self) -> watch::Receiver<RoutesStatus> {
        self.status.subscribe()
    }

    /// Loads the first document.
    ///
    /// # Errors
    /// Why there are no routes to serve by.
    pub(super) async fn load_first(&mut self) -> Result<(), String> {
        if self.live.is_some() {
            return Ok(());
        }
        self.handlers = settings::handlers(&self.handler_configs, None)?;
        let loaded = self.store.load().await.map_err(|error| explain(&error));
        let applied = loaded.and_then(|loaded| self.apply(loaded));
        applied.inspect_err(|problem| self.refused(problem))
    }

    /// Waits for a reason to try [`Routes::load_first`] again: the store holds something else. Never
    /// ends when the routes are not what is missing. Cancel safe.
    pub(super) async fn first_may_load(&self) {
        match &self.live {
            Some(_) => std::future::pending().await,
            // Whatever it is now, the next attempt loads it and says what is wrong with it.
            None => drop(self.store.changed().await),
        }
    }

    /// Waits for the store to hold something else, and makes it live if it is good.
    pub(super) async fn changed(&mut self) {
        let store = Arc::clone(&self.store);
        let mut changed = store.changed();
        let loaded = loop {
            tokio::select! {
                loaded = &mut changed => break loaded,
                () = tokio::time::sleep(CONFIRM) => self.confirm(),
            }
        };
        let applied = loaded
            .map_err(|error| explain(&error))
            .and_then(|loaded| self.apply(loaded));
        if let Err(problem) = applied {
            tracing::error!(source = self.source, %problem, "routes refused, the last good ones stay");
            self.refused(&problem);
        }
    }

    /// The store is being watched and says nothing: unless what it said last was refused, it holds
    /// what is live.
    fn confirm(&self) {
        if self.live.is_some() && self.status.borrow().problem.is_none() {
            self.metrics.routes_confirmed();
        }
    }

    /// Has the store looked at again.
    pub(super) fn poke(&self) {
        self.store.poke();
    }

    /// Takes handlers, limits and options of a new configuration in place of those of `old`.
    ///
    /// # Errors
    /// The live routes cannot be served with them; the old ones stay.
    pub(super) fn reconfigure(&mut self, config: &Config, old: &Config) -> Result<(), String> {
        let before = Some((&self.handler_configs, &self.handlers));
        let handlers = settings::handlers(&config.handlers, before)?;
        let old_handlers = std::mem::replace(&mut self.handlers, handlers);
        self.revision_on_answers = config.routes.revision_on_answers;
        settings::schedule(&self.scheduler, config);
        let result = match &self.live {
            Some(document) => self.bind(&document.clone()),
            None => Ok(()),
        };
        if result.is_ok() {
            self.handler_configs = config.handlers.clone();
        } else {
            self.handlers = old_handlers;
            self.revision_on_answers = old.routes.revision_on_answers;
            settings::schedule(&self.scheduler, old);
        }
        result
    }

    fn apply(&mut self, loaded: Loaded) -> Result<(), String> {
        let Loaded { document, warnings } = loaded;
        for warning in warnings.iter() {
            tracing::warn!(source = self.source, %warning, "routes");
        }
        self.bind(&document)
            .map_err(|problems| format!("{}: {problems}", self.source))?;
        let (routes, revision) = (document.routes.len(), document.revision);
        tracing::info!(source = self.source, routes, revision, "routes are live");
        self.catalog.set_hash(document.hash_hex());
        self.metrics.routes_live(revision);
        self.status.send_replace(RoutesStatus {
            source: Some(self.source.clone()),
            revision,
            hash: document.hash_hex(),
            routes,
            problem: None,
        });
        self.live = Some(document);
        Ok(())
    }

    fn bind(&self, document: &Document) -> Result<(), String> {
        let before = self.table.table();
        let on_answers = self.revision_on_answers;
        let (handlers, scheduler) = (&self.handlers, &self.scheduler);
        let table = bind(
            document,
            handlers,
            scheduler,
            &self.catalog,
            &before,
            on_answers,
        )
        .map_err(|problems| problems.to_string())?;
        self.table.store(table);
        Ok(())
    }

    fn refused(&self, problem: &str) {
        self.metrics.routes_refused();
        self.status
            .send_modify(|status| status.problem = Some(problem.to_owned()));
    }
}

/// What is wrong, with every problem of the document by line and key.
fn explain(error: &StoreError) -> String {
    match error.document_error() {
        Some(problems) => format!("{error}: {problems}"),
        None => error.to_string(),
    }
}

/// The store that the configuration names, and how to call it in logs.
pub(super) fn open_store(config: &Config) -> (Arc<dyn RouteStore>, String) {
    let Some(path) = &config.routes.file else {
        // The embedded document is a constant that the tests parse.
        let store =
            MemoryStore::embedded().unwrap_or_else(|_| MemoryStore::new(Document::default()));
        return (Arc::new(store), "the embedded defaults".to_owned());
    };
    let parse = ParseOptions {
        strict: false,
        max_bytes: config.routes.max_bytes,
    };
    let options = FileStoreOptions {
        poll_interval: config.routes.poll_interval,
        parse,
    };
    (
        Arc::new(FileStore::new(path, options)),
        path.display().to_string(),
    )
}
