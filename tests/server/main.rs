//! A real server against peers of every kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;
mod tools;

mod answers;
mod basics;
mod frames;
mod handlers;
mod hello;
mod jwt;
mod limits;
#[cfg(target_os = "linux")]
mod link;
mod resources;
mod scheduling;
mod silent;
mod slow;
mod tls;
#[cfg(target_os = "linux")]
mod trust;
mod vanish;
mod work;
