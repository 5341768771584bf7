//! The handlers document and its HTTP handlers: a real server before real services.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod care;
mod classes;
mod document;
mod front;
mod hostile;
mod mapping;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trust;
