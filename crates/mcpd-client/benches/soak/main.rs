//! `make soak`: what takes too long, or too many sockets, for a test. It checks what it does, prints
//! what it checked, and ends with an error when something was wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "as a test, it ends when something is wrong"
)]

#[path = "../../tests/support/laps.rs"]
mod laps;
mod storm;

use std::time::Instant;

const REQUESTS: u64 = 10_000_000;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == name);
    if wants("laps") {
        run_laps();
    }
    if wants("storm") {
        storm::run();
    }
}

fn run_laps() {
    println!(
        "laps: {REQUESTS} numbered requests over one connection, some never answered meanwhile"
    );
    let began = Instant::now();
    let seen = laps::run(REQUESTS, move |done| {
        if done.is_multiple_of(1_000_000) {
            println!("  {done} after {:.1} s", began.elapsed().as_secs_f64());
        }
    });
    assert_eq!(seen.answered + seen.given_up, REQUESTS);
    assert!(seen.laps >= 150 && seen.stuck.len() == 4, "{seen:?}");
    println!(
        "  {} answers went to their own callers, {} callers did not wait; seq_ids began anew {} times, \
         {} answers overtook earlier ones;\n  stuck on seq_ids {:?} from the beginning to the end, then \
         answered with their own; {:.1} s",
        seen.answered,
        seen.given_up,
        seen.laps,
        seen.overtaken,
        seen.stuck,
        began.elapsed().as_secs_f64()
    );
}
