//! `handlers`: what routes may lead to, how busy it is, and who leads there.

use super::control::{HandlerView, Version};
use super::problem::Problem;
use super::{Api, offload};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Serialize)]
struct Shown {
    name: String,
    r#type: String,
    settings: BTreeMap<String, String>,
    running: Option<usize>,
    waiting: Option<usize>,
    limit: Option<usize>,
    routes: Vec<String>,
}

impl Shown {
    fn new(handler: HandlerView, routes: Vec<String>) -> Shown {
        let HandlerView {
            name,
            kind,
            settings,
            load,
        } = handler;
        Shown {
            name,
            r#type: kind,
            settings,
            running: load.map(|load| load.running),
            waiting: load.map(|load| load.waiting),
            limit: load.and_then(|load| load.limit),
            routes,
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
