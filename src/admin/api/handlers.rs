//! `handlers`: what routes may lead to, how busy it is, and who leads there.

use super::control::{EndpointAction, HandlerView, NoEndpoint, UpstreamView, Version};
use super::problem::Problem;
use super::{Api, offload};
use crate::upstream::Place;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

#[derive(Serialize)]
struct Shown {
    name: String,
    r#type: String,
    settings: BTreeMap<String, String>,
    running: Option<usize>,
    waiting: Option<usize>,
    limit: Option<usize>,
    routes: Vec<String>,
    upstream: Option<Upstream>,
}

#[derive(Serialize)]
struct Upstream {
    endpoints: Vec<Endpoint>,
    pending: usize,
    adaptive_limit: Option<usize>,
}

#[derive(Serialize)]
struct Endpoint {
    address: String,
    in_flight: usize,
    attempts: u64,
    failures: u64,
    breaker: &'static str,
    /// By whom it is taken out, if it is.
    ejected: Option<&'static str>,
    back_in_seconds: Option<f64>,
    connections: Connections,
}

#[derive(Serialize)]
struct Connections {
    idle: usize,
    active: usize,
}

impl Upstream {
    fn new(view: UpstreamView) -> Upstream {
        let now = Instant::now();
        let endpoints = view.endpoints.into_iter().map(|one| Endpoint {
            address: one.addr.to_string(),
            in_flight: one.in_flight,
            attempts: one.attempts,
            failures: one.failures,
            breaker: one.breaker.name(),
            ejected: match one.place {
                Place::In => None,
                Place::Out { .. } => Some("outlier"),
                Place::Removed => Some("operator"),
            },
            back_in_seconds: match one.place {
                Place::Out { until } => Some(until.saturating_duration_since(now).as_secs_f64()),
                Place::In | Place::Removed => None,
            },
            connections: Connections {
                idle: one.connections.idle,
                active: one.connections.active,
            },
        });
        Upstream {
            endpoints: endpoints.collect(),
            pending: view.pending,
            adaptive_limit: view.adaptive_limit,
        }
    }
}

impl Shown {
    fn new(handler: HandlerView, routes: Vec<String>) -> Shown {
        let HandlerView {
            name,
            kind,
            settings,
            load,
            upstream,
        } = handler;
        Shown {
            name,
            r#type: kind,
            settings,
            running: load.map(|load| load.running),
            waiting: load.map(|load| load.waiting),
            limit: load.and_then(|load| load.limit),
            routes,
            upstream: upstream.map(Upstream::new),
        }
    }
}

/// GET `handlers`.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let list = move || {
        let version = api.control.live();
        let mut routes = by_handler(version.as_deref());
        let handlers = api.control.handlers().into_iter().map(|handler| {
            let routes = routes.remove(handler.name.as_str()).unwrap_or_default();
            Shown::new(handler, routes)
        });
        Json(handlers.collect::<Vec<_>>()).into_response()
    };
    // There may be many routes.
    offload(list).await
}

/// GET `handlers/{name}`.
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let name = name.map(|Path(name)| name);
    let name = name.map_err(|error| Problem::bad_request(error.body_text()))?;
    show(api, name).await
}

/// POST `handlers/{name}/endpoints/{endpoint}/eject`.
pub(super) async fn eject(
    State(api): State<Arc<Api>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    set(api, path, EndpointAction::Eject).await
}

/// POST `handlers/{name}/endpoints/{endpoint}/restore`.
pub(super) async fn restore(
    State(api): State<Arc<Api>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Problem> {
    set(api, path, EndpointAction::Restore).await
}

async fn set(
    api: Arc<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    action: EndpointAction,
) -> Result<Response, Problem> {
    let path = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Path((name, endpoint)) = path;
    let endpoint = endpoint.parse().map_err(|_| {
        Problem::bad_request("an endpoint is an address and a port, as handlers show it")
    })?;
    if let Err(none) = api.control.set_endpoint(&name, endpoint, action) {
        return Err(Problem::not_found(match none {
            NoEndpoint::Handler => "there is no handler of this name",
            NoEndpoint::Upstream => "this handler asks nobody",
            NoEndpoint::Endpoint => "this handler has no such endpoint",
        }));
    }
    show(api, name).await
}

async fn show(api: Arc<Api>, name: String) -> Result<Response, Problem> {
    let mut handlers = api.control.handlers().into_iter();
    let Some(handler) = handlers.find(|handler| handler.name == name) else {
        return Err(Problem::not_found("there is no handler of this name"));
    };
    let show = move || {
        let version = api.control.live();
        let routes = by_handler(version.as_deref()).remove(name.as_str());
        Json(Shown::new(handler, routes.unwrap_or_default())).into_response()
    };
    offload(show).await
}

/// The names of the routes that lead to each handler, in order: also by a split, a match or a mirror.
fn by_handler(version: Option<&Version>) -> HashMap<&str, Vec<String>> {
    let mut routes: HashMap<&str, Vec<String>> = HashMap::new();
    for route in version.map_or(&[][..], |version| &version.document.routes) {
        let mut named: Vec<&str> = route.handlers().into_iter().map(|(_, name)| name).collect();
        named.sort_unstable();
        named.dedup();
        for handler in named {
            routes.entry(handler).or_default().push(route.name.clone());
        }
    }
    routes.values_mut().for_each(|names| names.sort_unstable());
    routes
}
