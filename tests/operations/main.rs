//! What an operator does to a server, and what may happen to one.

#[path = "../support/mod.rs"]
mod support;

mod config;
mod lifecycle;
mod output;
mod routes;
