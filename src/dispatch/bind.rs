//! From a route document to a table whose routes can be called.

use super::BoundRoute;
use super::rate::Bucket;
use crate::handler::Handlers;
use crate::router::document::{Document, Problem, Problems, RouteSpec};
use crate::router::table::Table;
use crate::scheduler::Scheduler;
use crate::telemetry::{RouteCatalog, RouteLabel, RouteStats};
use mcpd_proto::Qos;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Binds every route of a document. Routes that keep their name and rate limit also keep what their
/// bucket holds, so that a reload is no way around it.
///
/// # Errors
/// Every route that names a handler that is not there, or asks for what this server cannot give.
pub fn bind(
    document: &Document,
    handlers: &Handlers,
    scheduler: &Scheduler,
    catalog: &RouteCatalog,
    before: &Table<Arc<BoundRoute>>,
    revision_on_answers: bool,
) -> Result<Table<Arc<BoundRoute>>, Problems> {
    let mut problems = check(document, handlers);
    if !problems.is_empty() {
        return Err(problems);
    }
    let before: HashMap<&str, &Arc<BoundRoute>> = before
        .iter()
        .map(|(_, route)| (route.name.as_str(), route))
        .collect();
    let revision = revision_on_answers.then_some(document.revision);
    let stats = catalog.enter(document.routes.iter().map(|route| RouteLabel {
        name: &route.name,
        pattern: route.pattern.as_str(),
        handler: &route.handler,
    }));
    let bound = document
        .routes
        .iter()
        .zip(stats)
        .filter_map(|(spec, stats)| {
            let old = before.get(spec.name.as_str()).copied();
            let route = bind_one(spec, handlers, scheduler, stats, old, revision)?;
            Some((spec.pattern.clone(), Arc::new(route)))
        });
    Table::build(bound).map_err(|error| {
        // The document was checked for this already.
        problems.push(Problem::new(0, "routes", error.to_string()));
        problems
    })
}

/// Lists what the document asks for and this server cannot give: handlers that are not there, QoS
/// without a journal. Empty for a document that [`bind`] takes.
pub fn check(document: &Document, handlers: &Handlers) -> Problems {
    let mut problems = Problems::default();
    for (at, route) in document.routes.iter().enumerate() {
        let mut problem = |key: &str, message: String| {
            problems.push(Problem::new(
                route.line,
                format!("routes[{at}].{key}"),
                message,
            ));
        };
        if handlers.get(&route.handler).is_none() {
            let names: Vec<&str> = handlers.names().collect();
            let (name, names) = (&route.handler, names.join(", "));
            problem(
                "handler",
                format!("there is no handler {name:?}; there are: {names}"),
            );
        }
        if route.qos > 0 {
            let text = "needs a journal, which this server does not have; use qos: 0";
            problem("qos", format!("QoS {} {text}", route.qos));
        }
    }
    problems
}

fn bind_one(
    spec: &RouteSpec,
    handlers: &Handlers,
    scheduler: &Scheduler,
    stats: Arc<RouteStats>,
    old: Option<&Arc<BoundRoute>>,
    revision: Option<u64>,
) -> Option<BoundRoute> {
    let rate = spec.rate_limit.map(|limit| {
        let kept = old
            .and_then(|old| old.rate.as_ref())
            .filter(|(spec, _)| *spec == limit);
        let fresh = || Arc::new(Bucket::new(&limit, Instant::now()));
        (
            limit,
            kept.map_or_else(fresh, |(_, bucket)| Arc::clone(bucket)),
        )
    });
    let handler = Arc::clone(handlers.get(&spec.handler)?);
    Some(BoundRoute {
        name: spec.name.clone(),
        forwards: handler.forwards(),
        handler,
        admission: scheduler.admission(&spec.handler),
        qos: Qos::from_wire(spec.qos)?,
        timeout: spec.timeout,
        ordered: spec.ordered,
        priority: spec.priority,
        paced: rate.as_ref().is_some_and(|(_, bucket)| bucket.is_leaky()),
        rate,
        stats,
        revision,
    })
}
