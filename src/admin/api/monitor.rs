//! `monitor`: who is alive, by the signs of life of connections, and which topics were heard.

use super::connections::{Which, page, seconds};
use super::problem::Problem;
use super::routes::query;
use super::{Api, offload};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Intervals that a client may be silent before it is not called alive: one, and half of one for
/// the way of the sign.
const ALIVE: f64 = 1.5;
/// Topics shown of each handler, those heard last.
const MAX_TOPICS: usize = 100;

#[derive(Serialize)]
struct Client {
    client_id: Option<String>,
    addr: String,
    connection: u64,
    /// Null where the connection did not answer in time, as is what follows.
    alive: Option<bool>,
    last_seen_seconds: Option<f64>,
    interval_seconds: Option<f64>,
    misses: Option<u64>,
}

#[derive(Serialize)]
struct Topic {
    handler: String,
    topic: String,
    last_seen_seconds: f64,
    count: u64,
    last_client: String,
}

#[derive(Serialize)]
pub(super) struct Shown {
    clients: Vec<Client>,
    next: Option<u64>,
    total: usize,
    topics: Vec<Topic>,
}

/// GET `monitor`.
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Shown>, Problem> {
    let (page, described, next) = page(&api, query(which)?).await?;
    let clients = page
        .connections
        .iter()
        .zip(described)
        .map(|(one, described)| {
            let life = described.map(|d| (d.silence, d.heartbeat));
            Client {
                client_id: one.peer.client_id.as_deref().map(str::to_owned),
                addr: one.peer.addr.to_string(),
                connection: one.peer.connection,
                alive: life.map(|(silence, interval)| silence <= interval.mul_f64(ALIVE)),
                last_seen_seconds: life.map(|(silence, _)| seconds(silence)),
                interval_seconds: life.map(|(_, interval)| seconds(interval)),
                misses: life.map(|(silence, interval)| missed(silence, interval)),
            }
        });
    let clients = clients.collect();
    // Handlers may remember many.
    let topics = offload(move || topics(&api)).await?;
    Ok(Json(Shown {
        clients,
        next,
        total: page.total,
        topics,
    }))
}

fn missed(silence: Duration, interval: Duration) -> u64 {
    (silence.as_secs_f64() / interval.as_secs_f64().max(1.0)) as u64
}

fn topics(api: &Api) -> Vec<Topic> {
    let handlers = api.control.topics(MAX_TOPICS).into_iter();
    let topics = handlers.flat_map(|(handler, topics)| {
        topics.into_iter().map(move |seen| Topic {
            handler: handler.clone(),
            topic: seen.topic,
            last_seen_seconds: seconds(seen.last_seen),
            count: seen.count,
            last_client: seen.last_client,
        })
    });
    topics.collect()
}
