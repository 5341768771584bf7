//! The handlers there are: those of the configuration, of the handlers document, and of the program that
//! has a server in it.

use super::{Server, settings, watched};
use crate::background;
use crate::config::HandlerConfig;
use crate::files;
use crate::handler::{Document, Handlers, MAX_DOCUMENT_BYTES};
use crate::scheduler::Limits;
use crate::telemetry::UpstreamCatalog;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What handlers are made of.
#[derive(Clone, Default)]
pub(super) struct Sources {
    pub(super) configs: BTreeMap<String, HandlerConfig>,
    pub(super) document: Arc<Document>,
    /// What the program has brought along; it stands for a configured one of its name.
    pub(super) own: Handlers,
}

/// Handlers, and what they were made of.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) sources: Sources,
    pub(super) handlers: Handlers,
}

impl Sources {
    /// Makes the handlers. One that is as it was `before` stays the same, with what it remembers and its
    /// connections.
    ///
    /// # Errors
    /// The first that cannot be made, by its key.
    pub(super) fn make(
        self,
        before: Option<&Made>,
        upstreams: &UpstreamCatalog,
    ) -> Result<Made, String> {
        let configured = before.map(|made| (&made.sources.configs, &made.handlers));
        let mut handlers = settings::handlers(&self.configs, configured)?;
        for entry in &self.document.handlers {
            let name = &entry.name;
            if self.configs.contains_key(name) || self.own.get(name).is_some() {
                return Err(format!(
                    "handlers_file: handler {name:?} is in the configuration, too; rename one of them"
                ));
            }
            let same = before.filter(|made| made.sources.document.handlers.contains(entry));
            let kept = same
                .and_then(|made| made.handlers.get(name))
                .map(Arc::clone);
            let handler = match kept {
                Some(kept) => kept,
                None => entry
                    .build(upstreams)
                    .map_err(|error| format!("handlers_file: handler {name:?}: {error}"))?,
            };
            handlers.insert(name.clone(), handler);
        }
        handlers.extend(&self.own);
        let sources = self;
        Ok(Made { sources, handlers })
    }

    /// How much of their work may be done at a time, for those that have a limit.
    pub(super) fn limits(&self) -> BTreeMap<String, Limits> {
        let mut limits = settings::limits(&self.configs);
        for entry in &self.document.handlers {
            if let Some((running, waiting)) = entry.limits {
                limits.insert(entry.name.clone(), Limits { running, waiting });
            }
        }
        limits
    }
}

/// Has handlers look for whom they ask. Must be called on a runtime that lasts.
pub(super) fn start(handlers: &Handlers) {
    for name in handlers.names() {
        if let Some(upstream) = handlers.get(name).and_then(|handler| handler.upstream()) {
            upstream.start();
        }
    }
}

/// The document that the configuration names; an empty one where it names none.
///
/// # Errors
/// It cannot be read, or is not valid.
pub(super) fn read(path: Option<&Path>) -> Result<Document, String> {
    match path {
        Some(path) => bytes(path).and_then(|bytes| parse(path, &bytes)),
        None => Ok(Document::default()),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let read = files::read(path, MAX_DOCUMENT_BYTES);
    read.map_err(|error| format!("handlers_file: {}: {error}", path.display()))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Document, String> {
    let parsed = Document::parse(bytes);
    parsed.map_err(|problem| format!("handlers_file: {}: {problem}", path.display()))
}

/// Takes what the document says whenever it says something else, for as long as the process runs. While it is
/// invalid or gone, or a live route would lose its handler, the last good one stays.
pub(super) fn watch(server: &Server) {
    let Some(path) = server.config.handlers_file.clone() else {
        return;
    };
    let routes = Arc::clone(&server.routes);
    tokio::spawn(async move {
        let mut watch = watched::Watch::new();
        loop {
            watch.tick().await;
            let looked = path.clone();
            let Some(found) = watch.look(move || bytes(&looked)).await else {
                continue;
            };
            let document = found.as_ref().map_err(Clone::clone);
            let document = document.and_then(|bytes| parse(&path, bytes));
            let routes = Arc::clone(&routes);
            let taking = background::run(move || {
                document.and_then(|document| routes.take_handlers(document))
            });
            if let Ok(Err(problem)) = taking.await {
                tracing::error!(%problem, "handlers refused, the last good ones stay");
            }
        }
    });
}
