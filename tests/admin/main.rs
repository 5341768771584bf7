//! The admin API of a real server: what it promises, and what it does not let anybody do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it, too"
)]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod client;
mod connections;
mod drain;
mod hostile;
mod openapi;
mod principals;
mod routes;
mod shaping;
mod storage;
mod swaps;
mod tls;
mod tuning;
