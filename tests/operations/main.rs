//! What an operator does to a server, and what may happen to one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it, too"
)]

#[path = "../support/mod.rs"]
mod support;

mod cardinality;
mod client;
mod config;
mod copies;
mod drain;
mod embedded;
mod functions;
mod health;
mod ledger;
mod ledgered;
mod lifecycle;
mod load;
mod logs;
mod metrics_page;
mod output;
mod peers;
mod reload;
mod restarts;
mod routes;
mod shaping;
mod swaps;
mod tracing;
