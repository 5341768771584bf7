//! Services of Kubernetes as a real API server tells of them: as endpoints of handlers, and as the servers that a
//! write waits for.
#![cfg(feature = "kubernetes")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it, too"
)]

#[path = "../support/mod.rs"]
mod support;

mod endpoints;
mod plane;
mod replicas;
