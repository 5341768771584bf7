//! The command line, as a person or a script meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod admin_failures;
mod check;
mod failures;
mod http;
mod operate;
mod ping;
mod routes;
mod run;
#[cfg(feature = "top")]
mod screen;
mod scripted;
mod send;
mod serve;
mod shaping;
mod token;
#[cfg(feature = "top")]
mod top;
mod trace;
mod trust;
mod usage;
