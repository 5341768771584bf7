//! From a route document to a table whose routes can be called.

use super::rate::Bucket;
use super::shape::{Binding, MirrorLimits, Mirrors};
use super::{BoundRoute, Shape};
use crate::handler::Handlers;
use crate::router::document::{Document, Problem, Problems, RouteSpec};
use crate::router::table::Table;
use crate::scheduler::Scheduler;
use crate::telemetry::{RouteCatalog, RouteLabel, RouteStats};
use mcpd_proto::Qos;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// What routes are bound by, whatever their document says.
#[derive(Debug, Clone)]
pub struct BindOptions {
    /// Whether answers carry ROUTE_REVISION.
    pub revision_on_answers: bool,
    /// Whether routes may inject faults.
    pub allow_faults: bool,
    /// Where the copies of mirrors go.
    pub mirrors: Arc<Mirrors>,
}

impl BindOptions {
    /// Nothing beyond the document; copies go to `background` within the default limits.
    pub fn new(background: Handle) -> BindOptions {
        BindOptions {
            revision_on_answers: false,
            allow_faults: false,
            mirrors: Arc::new(Mirrors::new(background, MirrorLimits::default())),
        }
    }
}

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
    options: &BindOptions,
) -> Result<Table<Arc<BoundRoute>>, Problems> {
    let mut problems = check(document, handlers, options.allow_faults);
    if !problems.is_empty() {
        return Err(problems);
    }
    let before: HashMap<&str, &Arc<BoundRoute>> = before
        .iter()
        .map(|(_, route)| (route.name.as_str(), route))
        .collect();
    let revision = options.revision_on_answers.then_some(document.revision);
    let stats = catalog.enter(document.routes.iter().map(|route| RouteLabel {
        name: &route.name,
        pattern: route.pattern.as_str(),
        // Of several, spans name the one that ran.
        handler: route.handlers().first().map_or("", |(_, name)| name),
    }));
    let mut binding = Binding {
        handlers,
        scheduler,
        mirrors: &options.mirrors,
        counts: catalog.new_counts(),
    };
    let mut bound = Vec::with_capacity(document.routes.len());
    for (spec, stats) in document.routes.iter().zip(stats) {
        let old = before.get(spec.name.as_str()).copied();
        if let Some(route) = bind_one(spec, &mut binding, stats, old, revision) {
            bound.push((spec.pattern.clone(), Arc::new(route)));
        }
    }
    let table = Table::build(bound).map_err(|error| {
        // The document was checked for this already.
        problems.push(Problem::new(0, "routes", error.to_string()));
        problems
    })?;
    binding.counts.keep();
    Ok(table)
}

/// Lists what the document asks for and this server cannot give: handlers that are not there, QoS
/// without a journal, faults that are not allowed. Empty for a document that [`bind`] takes.
pub fn check(document: &Document, handlers: &Handlers, allow_faults: bool) -> Problems {
    let mut problems = Problems::default();
    for (at, route) in document.routes.iter().enumerate() {
        let mut problem = |key: &str, message: String| {
            problems.push(Problem::new(
                route.line,
                format!("routes[{at}].{key}"),
                message,
            ));
        };
        for (key, name) in route.handlers() {
            if handlers.get(name).is_none() {
                let names = handlers.names().collect::<Vec<&str>>().join(", ");
                problem(
                    &key,
                    format!("there is no handler {name:?}; there are: {names}"),
                );
            }
        }
        if route.fault.is_some() && !allow_faults {
            let text = "this server injects no faults; remove it, or set routes.allow_faults on a \
                        server that is there to be tested";
            problem("fault", text.to_owned());
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
    binding: &mut Binding<'_>,
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
    let shape: Option<&Shape> = old.and_then(|old| old.shape.as_deref());
    let (leg, shape) = binding.route(spec, shape)?;
    let paced = rate.as_ref().is_some_and(|(_, bucket)| bucket.is_leaky());
    Some(BoundRoute {
        name: spec.name.clone(),
        forwards: binding.forwards(spec),
        leg,
        qos: Qos::from_wire(spec.qos)?,
        timeout: spec.timeout,
        ordered: spec.ordered,
        priority: spec.priority,
        rate,
        detours: paced || shape.is_some(),
        shape,
        stats,
        revision,
    })
}
