//! An HTTP service behind mcpd that counts how often it has seen each request, and takes its time.

use crate::stop::Stop;
use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Requests of a run; far more than any run has.
const MAX_NUMBER: usize = 10_000_000;

#[derive(Args)]
pub(crate) struct Ledger {
    #[arg(long, default_value = "0.0.0.0:8090")]
    listen: SocketAddr,
    /// From the moment a request is noted to its answer
    #[arg(long, default_value_t = 50)]
    latency_ms: u64,
}

/// For each run, by number, how often a request was seen.
type Runs = Mutex<HashMap<String, Vec<u32>>>;

struct Book {
    runs: Runs,
    latency: Duration,
}

impl Ledger {
    pub(crate) async fn run(self) -> Result<()> {
        let mut stop = Stop::on_signal()?;
        let latency = Duration::from_millis(self.latency_ms);
        let book = Arc::new(Book {
            runs: Mutex::default(),
            latency,
        });
        let app = Router::new()
            .route("/note", post(note))
            .route("/runs/{run}", get(run))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(book);
        let listener = tokio::net::TcpListener::bind(self.listen).await;
        let listener = listener.with_context(|| self.listen.to_string())?;
        let serving = axum::serve(listener, app);
        tokio::select! {
            ended = serving => Ok(ended?),
            () = stop.stopped() => Ok(()),
        }
    }
}

/// Notes `run:number` at once, answers with the same after the latency.
async fn note(State(book): State<Arc<Book>>, body: String) -> Result<String, StatusCode> {
    let (run, number) = body.split_once(':').ok_or(StatusCode::BAD_REQUEST)?;
    let number: usize = number.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    if number >= MAX_NUMBER {
        return Err(StatusCode::BAD_REQUEST);
    }
    {
        let mut runs = book
            .runs
            .lock()
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let seen = runs.entry(run.to_owned()).or_default();
        if seen.len() <= number {
            seen.resize(number + 1, 0);
        }
        seen[number] += 1;
    }
    tokio::time::sleep(book.latency).await;
    Ok(body)
}

async fn run(
    State(book): State<Arc<Book>>,
    Path(run): Path<String>,
) -> Result<Json<Vec<u32>>, StatusCode> {
    let runs = book
        .runs
        .lock()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(runs.get(&run).cloned().unwrap_or_default()))
}
