//! The admin API: `/admin/v1` and `/openapi.json`.
//!
//! It knows the server by the trait [`Control`] alone. Every request passes [`guard`] first; work on
//! large documents is done beside the thread that serves the port, which answers probes, too.

mod body;
mod connections;
mod control;
mod guard;
mod handlers;
mod monitor;
mod principals;
mod problem;
mod routes;
mod sampling;
mod state;
mod tokens;
mod tuning;
mod version;
mod wait;

pub use control::{
    Answer, Arrived, Change, Control, DrainView, Edit, EndpointAction, HandlerLoad, HandlerView,
    NoEndpoint, Precondition, RebalanceView, Refused, Setting, Straggler, UpstreamView, Version,
    WriteError, Written,
};
pub use guard::{Loopback, Rules};
pub use sampling::Rates;
pub use tokens::{MAX_TOKENS_BYTES, Scope, Scopes, Tokens};

use super::Status;
use crate::background;
use crate::telemetry::{AUDIT, Sampling};
use arc_swap::ArcSwap;
use axum::Router;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use problem::Problem;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the description of the API is.
const OPENAPI: &str = "/openapi.json";
/// At most one line in so long says that requests were refused.
const REFUSALS_EVERY: Duration = Duration::from_secs(1);

/// The admin API of one server.
pub struct Api {
    control: Arc<dyn Control>,
    sampling: Sampling,
    status: Status,
    rules: ArcSwap<Rules>,
    max_document: usize,
    running: AtomicUsize,
    refusals: Mutex<Refusals>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Refusals {
    told: Option<Instant>,
    untold: u64,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    /// An API that shows `status` and acts on `control`; routes of more than `max_document` bytes
    /// are refused.
    pub fn new(
        control: Arc<dyn Control>,
        sampling: Sampling,
        status: Status,
        rules: Rules,
        max_document: usize,
    ) -> Api {
        Api {
            control,
            sampling,
            status,
            rules: ArcSwap::from_pointee(rules),
            max_document,
            running: AtomicUsize::new(0),
            refusals: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Goes by other rules from the next request on.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The rules.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Says that somebody was not let in, without drowning the log in it. What they showed is not
    /// said: it may be a good token with a slip in it.
    fn note_refusal(&self, peer: Option<SocketAddr>) {
        let untold = {
            let now = Instant::now();
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let recent = |told: Instant| now.duration_since(told) < REFUSALS_EVERY;
            if refusals.told.is_some_and(recent) {
                refusals.untold += 1;
                return;
            }
            refusals.told = Some(now);
            std::mem::take(&mut refusals.untold)
        };
        let peer = peer.map(|peer| peer.ip().to_string());
        tracing::warn!(target: AUDIT, peer, untold, "admin requests without a fitting token");
    }
}

/// The paths of the API.
pub(super) fn router(api: Arc<Api>) -> Router {
    let guard = from_fn_with_state(Arc::clone(&api), guard::guard);
    let one_route = get(routes::get_one)
        .put(routes::put_one)
        .delete(routes::delete_one);
    let one_connection = get(connections::get).delete(connections::close);
    Router::new()
        .route(
            "/admin/v1/routes",
            get(routes::get_all).put(routes::put_all),
        )
        .route("/admin/v1/routes/{name}", one_route)
        .route("/admin/v1/handlers", get(handlers::list))
        .route("/admin/v1/handlers/{name}", get(handlers::get))
        .route("/admin/v1/principals", get(principals::list))
        .route(
            "/admin/v1/handlers/{name}/endpoints/{endpoint}/eject",
            post(handlers::eject),
        )
        .route(
            "/admin/v1/handlers/{name}/endpoints/{endpoint}/restore",
            post(handlers::restore),
        )
        .route("/admin/v1/state", get(state::get))
        .route("/admin/v1/drain", post(state::drain))
        .route("/admin/v1/connections", get(connections::list))
        .route("/admin/v1/connections/{id}", one_connection)
        .route("/admin/v1/monitor", get(monitor::get))
        .route(
            "/admin/v1/log-filter",
            get(tuning::log_filter).put(tuning::set_log_filter),
        )
        .route(
            "/admin/v1/sampling",
            get(tuning::sampling).put(tuning::set_sampling),
        )
        .route("/admin/v1/config", get(tuning::config))
        .route(OPENAPI, get(openapi))
        .route("/admin", any(nowhere))
        .route("/admin/{*rest}", any(nowhere))
        .layer(guard)
        .with_state(api)
}

async fn openapi() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, include_str!("openapi.json")).into_response()
}

async fn nowhere() -> Problem {
    Problem::not_found("there is nothing here; /openapi.json lists what there is")
}

/// Does what takes a while beside the thread that serves the port.
async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    background::run(work).await.map_err(|error| {
        tracing::error!(%error, "work of the admin API broke");
        let text = "the server broke over this; its log says more";
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, text)
    })
}
