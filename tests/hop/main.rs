//! Handlers of type `mcp`: from one server to another, over real sockets, to real processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod document;
mod drain;
#[path = "../operations/embedded.rs"]
mod embedded;
mod failures;
mod front;
mod ledger;
mod passing;
#[path = "../support/mod.rs"]
mod support;
mod trust;

pub(crate) use support::PATIENCE;
