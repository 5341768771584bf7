//! What `e2e/run` starts in pods: load that ends with a verdict, observers, and an upstream that keeps a ledger.
//!
//! Every command prints JSON on standard output. Those that go on until they are stopped end with SIGTERM, or with
//! `mcpd-e2e stop` in the same container, and print what they have seen.

mod calls;
mod certificates;
mod changes;
mod held;
mod ledger;
mod poll;
mod raw;
mod stop;
mod tally;
mod writers;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Parser)]
#[command(about, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Closed-loop callers with numbered requests; the verdict says what was lost, and what ran twice
    Load(calls::Load),
    /// Connections that send nothing and go where they are asked to
    Hold(held::Hold),
    /// An HTTP service that notes what it is asked
    Ledger(ledger::Ledger),
    /// Asks URLs again and again, one line of JSON for each answer
    Poll(poll::Poll),
    /// Changes a route many times, and looks after each change how every pod answers
    Changes(changes::Changes),
    /// Two writers that begin with the same version, many times
    Writers(writers::Writers),
    /// Opens a TLS connection again and again beside one that stays, one line of JSON for each
    Certificates(certificates::Certificates),
    /// Does nothing, so that other commands can be run in this container
    Wait,
    /// Stops the first process of this container
    Stop,
}

#[tokio::main]
async fn main() -> Result<()> {
    // The HTTP client wants one, also where it is never asked for TLS. It fails only where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Args::parse().command {
        Command::Load(load) => print(&load.run().await?),
        Command::Hold(hold) => print(&hold.run().await?),
        Command::Ledger(ledger) => ledger.run().await,
        Command::Poll(poll) => poll.run().await,
        Command::Changes(changes) => print(&changes.run().await?),
        Command::Writers(writers) => print(&writers.run().await?),
        Command::Certificates(certificates) => certificates.run().await,
        Command::Wait => {
            stop::Stop::on_signal()?.stopped().await;
            Ok(())
        }
        Command::Stop => stop::stop_first_process(),
    }
}

/// The token for the admin API; in the environment, where no list of processes shows it.
fn token() -> Option<String> {
    std::env::var("TOKEN").ok()
}

/// One line of JSON.
fn print(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Milliseconds since 1970, by which `e2e/run` ties what pods saw to what it did.
fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| millis(since) as u64)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

/// Anywhere from nothing to `bound`.
fn random_below(bound: Duration) -> Duration {
    let share = getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX));
    bound.mul_f64(share)
}
