//! What an operator does to a server, and what may happen to one.

#[path = "../support/mod.rs"]
mod support;

mod config;
mod drain;
mod embedded;
mod health;
mod ledger;
mod lifecycle;
mod metrics_page;
mod output;
mod reload;
mod routes;
mod swaps;
