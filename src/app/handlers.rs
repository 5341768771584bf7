//! The handlers there are: those of the configuration, of the handlers document, and of the program that
//! has a server in it.

use super::routes::Routes;
use super::source::Source;
use super::{Server, settings};
use crate::background;
use crate::config::HandlerConfig;
use crate::handler::{Context, Document, Handlers};
use crate::scheduler::Limits;
use std::collections::BTreeMap;
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
    pub(super) fn make(self, before: Option<&Made>, context: &Context<'_>) -> Result<Made, String> {
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
                    .build(context)
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

/// A handlers document as it was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) document: Document,
    /// Its text, unless there is no document.
    bytes: Option<Vec<u8>>,
}

impl Read {
    /// Tells where it was read from that it is in force.
    pub(super) fn in_force(&self, source: &Source) {
        if let Some(bytes) = &self.bytes {
            source.in_force(bytes);
        }
    }
}

/// The document to start with; an empty one where there is none, or where nobody can be asked and there is no
/// copy of one: routes that need more are refused then.
///
/// # Errors
/// It cannot be read or is not valid, and there is no copy of an earlier one that is.
pub(super) async fn first(source: Option<&Source>) -> Result<Read, String> {
    let Some(source) = source else {
        return Ok(Read::default());
    };
    let (problem, unasked) = match source.first().await {
        Ok(None) => return Ok(Read::default()),
        Ok(Some(bytes)) => match parse(source, bytes) {
            Ok(read) => return Ok(read),
            Err(problem) => (problem, false),
        },
        Err(nothing) => (nothing.problem, nothing.unasked),
    };
    if !unasked {
        source.refused(&problem);
    }
    match source.copy().await {
        Some((copy, place)) => {
            let read = parse(source, copy).map_err(|_| problem.clone())?;
            tracing::warn!(place, problem, "handlers of an earlier start have to do");
            Ok(read)
        }
        None if unasked => {
            tracing::warn!(problem, "there may be handlers that are not known here");
            Ok(Read::default())
        }
        None => Err(problem),
    }
}

fn parse(source: &Source, bytes: Vec<u8>) -> Result<Read, String> {
    let parsed = Document::parse(&bytes).map_err(|problem| format!("{source}: {problem}"));
    let bytes = Some(bytes);
    parsed.map(|document| Read { document, bytes })
}

/// Takes what the document says whenever it says something else, for as long as the process runs. While it is
/// invalid or gone, or a live route would lose its handler, the last good one stays.
pub(super) fn watch(server: &Server) {
    let Some(source) = server.routes.handlers_source().cloned() else {
        return;
    };
    let routes = Arc::clone(&server.routes);
    tokio::spawn(async move {
        let mut live = routes.status();
        // One that was refused may do once there are other routes, as when both come at the same time.
        let mut refused: Option<Vec<u8>> = None;
        loop {
            let found = tokio::select! {
                found = source.changed() => found,
                Ok(()) = live.changed(), if refused.is_some() => {
                    if live.borrow_and_update().problem.is_some() {
                        continue;
                    }
                    Ok(refused.take().unwrap_or_default())
                }
            };
            let text = found.clone().ok();
            live.mark_unchanged();
            match take(&source, found, &routes).await {
                Ok(()) => refused = None,
                Err(problem) => {
                    tracing::error!(%problem, "handlers refused, the last good ones stay");
                    source.refused(&problem);
                    refused = text;
                }
            }
        }
    });
}

async fn take(
    source: &Source,
    found: Result<Vec<u8>, String>,
    routes: &Arc<Routes>,
) -> Result<(), String> {
    let (source, routes) = (source.clone(), Arc::clone(routes));
    let taking = background::run(move || {
        let read = parse(&source, found?)?;
        routes.take_handlers(&read.document)?;
        read.in_force(&source);
        Ok(())
    });
    taking
        .await
        .unwrap_or_else(|error| Err(format!("taking the handlers broke: {error}")))
}
