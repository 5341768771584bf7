//! Looks at what a configuration would serve, without serving it.

use super::handlers::{self, Sources};
use super::{access, documents, tls, trust};
use crate::config::Config;
use crate::dispatch;
use crate::handler::Context;
use crate::router::document::{Document, Problem, Problems};
use crate::telemetry::UpstreamCatalog;
use crate::upstream::{Services, Unasked};
use std::io;
use std::sync::Arc;

/// What [`check`] found.
#[derive(Clone, Debug)]
pub struct Check {
    /// Where the routes come from: a path, or `the embedded defaults`.
    pub source: String,
    /// The route document, if it could be read.
    pub document: Option<Document>,
    /// What is wrong with the handlers, by key.
    pub handlers: Option<String>,
    /// What is wrong with the tokens of the admin API, the principals or a certificate, by key.
    pub tokens: Option<String>,
    /// What is wrong with the routes: the document itself or, if it is valid, its binding.
    pub routes: Problems,
    /// What is valid and probably not meant.
    pub warnings: Problems,
}

/// Does all that a start does before it binds a port: builds the handlers, reads the routes, and
/// sees whether this server can give what they ask for. Touches nothing but files: of documents in Kubernetes it
/// looks at those that a first start would put there.
///
/// # Errors
/// No runtime could be had to read with; what is wrong with the files is in [`Check`].
///
/// ```
/// use mcpd::{app, config::Config};
///
/// let found = app::check(&Config::default())?;
/// assert!(found.routes.is_empty());
/// assert_eq!(found.document.map(|document| document.routes.len()), Some(2));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn check(config: &Config) -> io::Result<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let (store, source, handlers) = {
        let _entered = runtime.enter();
        documents::at_hand(config)
    };
    let read = runtime.block_on(handlers::first(handlers.as_ref()));
    let handlers = read.and_then(|read| {
        let sources = Sources {
            configs: config.handlers.clone(),
            document: Arc::new(read.document),
            ..Sources::default()
        };
        let made = sources.make(
            None,
            &Context {
                upstreams: &UpstreamCatalog::default(),
                services: super::cluster::is_there(config).then_some(&Unasked as &dyn Services),
            },
        )?;
        Ok(made.handlers)
    });
    let mut found = Check {
        source,
        document: None,
        handlers: None,
        tokens: access::rules(config)
            .err()
            .or_else(|| trust::problem(config))
            .or_else(|| tls::problem(config)),
        routes: Problems::default(),
        warnings: Problems::default(),
    };
    match runtime.block_on(store.load()) {
        Ok(loaded) => {
            found.warnings = loaded.warnings;
            match handlers {
                Ok(handlers) => {
                    let allow_faults = config.routes.allow_faults;
                    found.routes = dispatch::check(&loaded.document, &handlers, allow_faults);
                }
                Err(problem) => found.handlers = Some(problem),
            }
            found.document = Some(loaded.document);
        }
        Err(error) => {
            found.handlers = handlers.err();
            found.routes = match error.document_error() {
                Some(document) => document.problems.clone(),
                None => Problem::new(0, "", error.to_string()).into(),
            };
        }
    }
    Ok(found)
}
