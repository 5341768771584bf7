//! The command line, as a person or a script meets it.

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
