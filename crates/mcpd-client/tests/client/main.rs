//! The client against servers that do what a test tells them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it, too"
)]

#[path = "../support/mod.rs"]
mod support;

mod credentials;
mod faults;
mod features;
mod hostile;
mod laps;
mod moving;
mod pool;
mod props;
mod retries;
mod storm;
