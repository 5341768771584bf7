//! Handlers of type `nats` against Debian's `nats-server`.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../operations/embedded.rs"]
mod embedded;
mod failures;
mod front;
mod ledger;
mod messages;
#[allow(dead_code, reason = "each test binary uses its part of this")]
#[path = "../operations/tracing/receiver.rs"]
mod receiver;
mod server;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tracing;
mod trust;

pub(crate) use support::PATIENCE;
