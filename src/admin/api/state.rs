//! `state` and `drain`: what the process is doing, and stopping it in order.

use super::control::{DrainView, RebalanceView};
use super::guard::Deadline;
use super::problem::Problem;
use super::{Api, body};
use crate::admin::health;
use crate::lifecycle::{Phase, Transition};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Everything about the process as a whole.
#[derive(Serialize)]
pub(super) struct Shown {
    server_id: String,
    version: &'static str,
    phase: Phase,
    /// When it came to this phase; null before the first step.
    since: Option<String>,
    ready: bool,
    history: Vec<Transition>,
    drain: Option<Drain>,
    rebalance: Option<RebalanceView>,
    routes: Routes,
    connections: usize,
    uptime_seconds: f64,
}

#[derive(Serialize)]
struct Drain {
    stage: &'static str,
    cause: String,
    began_seconds_ago: f64,
    ends_in_seconds: f64,
    connections_at_start: usize,
    told: usize,
    open: usize,
    in_flight: u64,
}

#[derive(Serialize)]
struct Routes {
    revision: u64,
    hash: String,
    etag: Option<String>,
    source: Option<String>,
    count: usize,
    problem: Option<String>,
    /// `file`, `memory` or `kubernetes`.
    store: &'static str,
    /// The resourceVersion of the ConfigMap that was seen last.
    resource_version: Option<String>,
    /// When the store last said that it holds the live routes.
    last_confirmed: Option<String>,
    /// Why the store cannot be asked at present.
    unreachable: Option<String>,
}

/// GET `state`.
pub(super) async fn get(State(api): State<Arc<Api>>) -> Json<Shown> {
    Json(show(&api))
}

fn show(api: &Api) -> Shown {
    let status = &api.status;
    let machine = status.lifecycle.snapshot();
    let routes = status.routes.borrow().clone();
    let history: Vec<Transition> = machine.history().cloned().collect();
    let since = serde_json::to_value(history.last()).unwrap_or_default();
    Shown {
        server_id: status.server_id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        phase: machine.phase(),
        since: since["at"].as_str().map(str::to_owned),
        ready: health::is_ready(status),
        history,
        drain: api.control.draining().map(|drain| show_drain(api, drain)),
        rebalance: api.control.rebalance(),
        routes: Routes {
            etag: routes.etag.map(|etag| etag.to_string()),
            revision: routes.revision,
            hash: routes.hash,
            source: routes.source,
            count: routes.routes,
            problem: routes.problem,
            store: routes.store,
            resource_version: routes.version,
            last_confirmed: routes.confirmed.map(rfc3339),
            unreachable: routes.unreachable,
        },
        connections: status.connections.len(),
        uptime_seconds: api.started.elapsed().as_secs_f64(),
    }
}

fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn show_drain(api: &Api, drain: DrainView) -> Drain {
    let now = Instant::now();
    Drain {
        stage: drain.stage,
        cause: drain.cause,
        began_seconds_ago: now.saturating_duration_since(drain.began).as_secs_f64(),
        ends_in_seconds: drain.ends.saturating_duration_since(now).as_secs_f64(),
        connections_at_start: drain.connections_at_start,
        told: drain.told,
        open: api.status.connections.len(),
        in_flight: api.control.in_flight(),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    hasten: bool,
}

/// POST `drain`.
pub(super) async fn drain(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    let deadline = request.extensions().get::<Deadline>().copied();
    let deadline = deadline.unwrap_or(Deadline(Instant::now()));
    let wish: Wish = body::json_or_default(request).await?;
    if api.control.drain(wish.hasten, deadline.left()).await {
        return Ok((StatusCode::ACCEPTED, Json(show(&api))));
    }
    let text = "the server has not taken notice yet; the drain may begin later";
    Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, text))
}
