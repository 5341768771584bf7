//! `mcps://` against servers of rustls with certificates made for the occasion.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it, too"
)]

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod pki;
mod pool;
mod refused;
mod rotation;
mod server;
mod works;
