//! A real server against peers of every kind.

#[path = "../support/mod.rs"]
mod support;
mod tools;

mod basics;
mod frames;
mod hello;
mod silent;
mod slow;
