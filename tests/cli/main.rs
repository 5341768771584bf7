//! The command line, as a person or a script meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod failures;
mod ping;
mod run;
mod scripted;
mod send;
mod serve;
mod usage;
