//! `connections`: who is connected, and showing one the door.

use super::problem::Problem;
use super::routes::query;
use super::{Api, offload};
use crate::conn::{self, Connected, Described, Order, Page};
use crate::message::Peer;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use mcpd_proto::GoAwayReason;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections on a page, unless told otherwise, and at most: each is asked by mail.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Which connections to show.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    limit: Option<usize>,
    #[serde(default)]
    after: u64,
    client_id: Option<String>,
    addr: Option<IpAddr>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    id: u64,
    addr: String,
    client_id: Option<String>,
    principal: Option<String>,
    age_seconds: f64,
    /// What follows is null where the connection did not answer in time.
    phase: Option<&'static str>,
    in_flight: Option<usize>,
    outbound_bytes: Option<usize>,
    heartbeat_seconds: Option<f64>,
    last_seen_seconds: Option<f64>,
    requests: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Listing {
    connections: Vec<Shown>,
    next: Option<u64>,
    total: usize,
}

impl Which {
    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(LIMIT);
        match (1..=MAX_LIMIT).contains(&limit) {
            true => Ok(limit),
            false => Err(Problem::bad_request(format!("limit is 1 to {MAX_LIMIT}"))),
        }
    }

    fn takes(&self, peer: &Peer) -> bool {
        let id = match (&self.client_id, &peer.client_id) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(id)) => match wanted.strip_suffix('*') {
                Some(prefix) => id.starts_with(prefix),
                None => **id == **wanted,
            },
        };
        id && self
            .addr
            .is_none_or(|addr| addr.to_canonical() == peer.addr.ip())
    }
}

/// One page of connections with what each says of itself, and the id to go on with.
pub(super) async fn page(
    api: &Api,
    which: Which,
) -> Result<(Page, Vec<Option<Described>>, Option<u64>), Problem> {
    let limit = which.limit()?;
    let registry = Arc::clone(&api.status.connections);
    let list = move || registry.page(which.after, limit, |peer| which.takes(peer));
    let page = offload(list).await?;
    let described = conn::describe(&page.connections).await;
    let last = page.connections.last().map(|one| one.peer.connection);
    let next = last.filter(|_| page.more);
    Ok((page, described, next))
}

/// GET `connections`.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Listing>, Problem> {
    let (page, described, next) = page(&api, query(which)?).await?;
    let shown = page.connections.iter().zip(described);
    Ok(Json(Listing {
        connections: shown.map(|(one, described)| show(one, described)).collect(),
        next,
        total: page.total,
    }))
}

pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn show(one: &Connected, described: Option<Described>) -> Shown {
    let described = described.as_ref();
    Shown {
        id: one.peer.connection,
        addr: one.peer.addr.to_string(),
        client_id: one.peer.client_id.as_deref().map(str::to_owned),
        principal: one.peer.identity.as_ref().map(|who| who.name().to_owned()),
        age_seconds: seconds(Instant::now().saturating_duration_since(one.opened)),
        phase: described.map(|d| d.phase),
        in_flight: described.map(|d| d.in_flight),
        outbound_bytes: described.map(|d| d.outbound_bytes),
        heartbeat_seconds: described.map(|d| seconds(d.heartbeat)),
        last_seen_seconds: described.map(|d| seconds(d.silence)),
        requests: described.map(|d| d.requests),
    }
}

fn id_of(id: Result<Path<u64>, PathRejection>) -> Result<u64, Problem> {
    let id = id.map(|Path(id)| id);
    id.map_err(|_| Problem::bad_request("the id of a connection is a number"))
}

fn gone(id: u64) -> Problem {
    Problem::not_found(format!("there is no connection {id}"))
}

/// GET `connections/{id}`.
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Shown>, Problem> {
    let id = id_of(id)?;
    let registry = Arc::clone(&api.status.connections);
    let page = offload(move || registry.page(0, 1, |peer| peer.connection == id)).await?;
    let described = conn::describe(&page.connections).await.pop().flatten();
    let one = page.connections.first().ok_or_else(|| gone(id))?;
    Ok(Json(show(one, described)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowToClose {
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// What is in flight is answered first.
    #[default]
    Finish,
    /// What is in flight is stopped.
    Cut,
}

#[derive(Serialize)]
pub(super) struct Closing {
    id: u64,
    mode: Mode,
}

/// DELETE `connections/{id}`.
pub(super) async fn close(
    State(api): State<Arc<Api>>,
    id: Result<Path<u64>, PathRejection>,
    how: Result<Query<HowToClose>, QueryRejection>,
) -> Result<(StatusCode, Json<Closing>), Problem> {
    let (id, HowToClose { mode }) = (id_of(id)?, query(how)?);
    // This server stays: a client that is told "draining" would avoid it.
    let goaway = Order::GoAway {
        reason: GoAwayReason::Rebalance,
        retry_after: Duration::ZERO,
        refuse_at: Instant::now(),
    };
    let registry = &api.status.connections;
    let last = match mode {
        Mode::Finish => Order::Finish,
        Mode::Cut => Order::Cut,
    };
    match registry.order(id, goaway) && registry.order(id, last) {
        true => Ok((StatusCode::ACCEPTED, Json(Closing { id, mode }))),
        false => Err(gone(id)),
    }
}
