//! Liveness, readiness, status, metrics.

use super::{DocumentStatus, RoutesStatus, Status};
use crate::lifecycle::{Machine, Phase};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// "The event loops turn", and nothing else: what restarts a process must not depend on its load, its
/// routes or its upstreams.
pub(super) async fn livez(State(status): State<Status>) -> Response {
    let now = Instant::now();
    match status.pulses.iter().find(|pulse| pulse.is_stuck(now)) {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(pulse) => {
            let text = format!("thread {} is stuck\n", pulse.thread());
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// "Send me traffic." `?verbose` tells what it is made of.
pub(super) async fn readyz(State(status): State<Status>, RawQuery(query): RawQuery) -> Response {
    let checks = checks(&status);
    let ready = checks.iter().all(|check| check.ok);
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = String::new();
    if is_verbose(query) {
        for Check { name, ok, detail } in checks {
            // A check is a line; what a problem says further is indented below it.
            let detail = detail.replace('\n', "\n    ");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "[{}] {name}: {detail}", if ok { '+' } else { '-' });
        }
    }
    text.push_str(if ready { "ok\n" } else { "not ready\n" });
    (code, text).into_response()
}

pub(super) fn is_ready(status: &Status) -> bool {
    checks(status).iter().all(|check| check.ok)
}

fn is_verbose(query: Option<String>) -> bool {
    query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| matches!(pair.split('=').next(), Some("verbose")))
    })
}

struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

fn checks(status: &Status) -> Vec<Check> {
    let (phase, cause) = (status.lifecycle.current(), last_cause(status));
    let refusing = status.refusing.load(Ordering::Relaxed);
    let draining_but_serving =
        phase == Phase::ShuttingDown && status.keep_ready.load(Ordering::Relaxed) && !refusing;
    let routes = status.routes.borrow();
    let detail = if cause.is_empty() {
        phase.to_string()
    } else {
        format!("{phase} ({cause})")
    };
    let mut checks = vec![
        Check {
            name: "lifecycle",
            ok: phase == Phase::Running || draining_but_serving,
            detail,
        },
        Check {
            name: "routes",
            ok: routes.source.is_some(),
            detail: describe(&routes),
        },
        Check {
            name: "accepting",
            ok: !refusing,
            detail: if refusing {
                "new requests are refused"
            } else {
                "yes"
            }
            .to_owned(),
        },
    ];
    let trust = status.trust.borrow();
    let documents = [("principals", &trust.principals), ("jwt keys", &trust.keys)];
    let documents = documents.into_iter();
    checks.extend(documents.filter_map(|(name, known)| Some(document(name, known.as_ref()?))));
    checks
}

/// Whether there was one before clients came is for the start to see: one that is given up later keeps
/// nobody out who has another credential.
fn document(name: &'static str, known: &DocumentStatus) -> Check {
    let live = known.live.as_deref().unwrap_or("none");
    let detail = match &known.problem {
        Some(problem) => format!("{live}; the newest is refused: {problem}"),
        None => live.to_owned(),
    };
    Check {
        name,
        ok: true,
        detail,
    }
}

fn last_cause(status: &Status) -> String {
    let machine = status.lifecycle.snapshot();
    machine
        .last()
        .map(|transition| transition.cause.to_string())
        .unwrap_or_default()
}

/// Routes with faults that are named; beyond it their number says enough.
const FAULTS_SHOWN: usize = 10;

fn describe(routes: &RoutesStatus) -> String {
    let mut live = match &routes.source {
        Some(source) => format!(
            "{} routes, revision {}, from {source}",
            routes.routes, routes.revision
        ),
        None => "none yet".to_owned(),
    };
    if !routes.faults.is_empty() {
        let names = routes.faults.iter().take(FAULTS_SHOWN);
        let names: Vec<&str> = names.map(String::as_str).collect();
        let (count, names) = (routes.faults.len(), names.join(", "));
        // Writing to a string cannot fail.
        let _ = write!(live, "; FAULTS ARE INJECTED on purpose by {count}: {names}");
    }
    if let Some(problem) = &routes.problem {
        let _ = write!(live, "; the newest document is refused: {problem}");
    }
    if let Some(problem) = &routes.unreachable {
        let _ = write!(live, "; their store cannot be asked: {problem}");
    }
    live
}

#[derive(Serialize)]
struct StatusPage<'a> {
    server_id: &'a str,
    revision: u64,
    hash: &'a str,
    lifecycle: Phase,
    connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Machine>,
}

/// What other servers and people may know without asking for permission: nothing secret.
/// `?verbose` adds the history of the lifecycle.
pub(super) async fn statusz(State(status): State<Status>, RawQuery(query): RawQuery) -> Response {
    let routes = status.routes.borrow().clone();
    Json(StatusPage {
        server_id: &status.server_id,
        revision: routes.revision,
        hash: &routes.hash,
        lifecycle: status.lifecycle.current(),
        connections: status.connections.len(),
        state: is_verbose(query).then(|| status.lifecycle.snapshot()),
    })
    .into_response()
}

/// Prometheus' text format.
pub(super) async fn metrics(State(status): State<Status>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, status.exporter.render()).into_response()
}

/// For people who open the port in a browser.
pub(super) async fn index() -> &'static str {
    "mcpd sidecar port\n\n/livez\n/readyz?verbose\n/statusz?verbose\n/metrics\n"
}
