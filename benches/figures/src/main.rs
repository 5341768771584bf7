//! The figures of `make bench`: what one request costs the server, what an idle connection weighs,
//! how long a start takes, what encoding, decoding and routing cost by themselves, and what being
//! observed costs, for mcpd and its references in one run on one machine.
//!
//! A crate of its own, so that the daemon's tree does not grow by what only measuring needs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod collector;
mod floor;
mod load;
mod machine;
mod micro;
mod procfs;
mod report;
mod sections;
mod server;

/// Measure mcpd beside a bare echo on tokio (the floor) and Redis.
///
/// The server runs on one core and the load on another; servers take turns, so that a
/// disturbance of the machine hits all of them. Only processes started here are ended.
#[derive(Debug, Parser)]
#[command(name = "figures", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every section, one after the other
    All(Options),
    /// Server CPU per 64-byte echo, at 16 and at 1 in flight on 8 connections
    Echo(Options),
    /// Resident memory per idle connection that has served a request
    Idle(Options),
    /// Time from exec to a ready server
    Startup(Options),
    /// CPU per million 1 KiB messages encoded and decoded, beside JSON and Protobuf
    Codec(Options),
    /// CPU per look-up of a topic in a table of 100,000 topics and 1,000 patterns
    Lookup(Options),
    /// Twice the work a handler can do, beside half of it: waits, losses and progress by priority
    Overload(Options),
    /// What metrics and traces add to the CPU of an echo
    Telemetry(Options),
    /// Size of `/metrics` and time of a scrape with 10,000 clients, 100,000 topics and 1,200 routes
    Scrape(Options),
    /// What being scraped, and receivers of traces in good and bad health, do to latencies
    Observed(Options),
    /// Requests and probes at full load, while tables of 10,000 routes are put
    Admin(Options),
    /// What TLS adds to the CPU of an echo and to an idle connection, and what a handshake costs
    Tls(Options),
    /// What the Rust client costs its process, beside the bare loop of the load
    Client(Options),
    /// CPU of a request that is passed on to an HTTP service, beside HAProxy
    HttpHop(Options),
    /// What handing a request on to another server costs, beside answering it and beside NATS
    Hop(Options),
    /// Load any MCP server with 64-byte echoes for a while, to look at it with a profiler
    Load {
        /// The server's data port
        addr: std::net::SocketAddr,
        /// Connections
        #[arg(long, default_value_t = 8)]
        connections: u16,
        /// Requests in flight on each connection
        #[arg(long, default_value_t = 16)]
        in_flight: u16,
        /// How long, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Serve the bare framed echo that everything is compared with, until it is ended
    Floor {
        /// Port on 127.0.0.1; 0 picks a free one, which is printed
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

/// What the measuring sections have in common.
#[derive(Debug, Clone, Args)]
struct Options {
    /// The mcpd program to measure; without it only the references are
    #[arg(long, value_name = "PATH")]
    mcpd: Option<PathBuf>,
    /// Have mcpd listen here instead of on a port read from its output
    #[arg(long, value_name = "ADDR", requires = "mcpd")]
    ready_addr: Option<std::net::SocketAddr>,
    /// The Redis server to compare with
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis: String,
    /// The HAProxy to compare with
    #[arg(long, value_name = "PROGRAM", default_value = "haproxy")]
    haproxy: String,
    /// Write every single run, the machine and the versions to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Runs of each server, codec or look-up [default: 7, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Length of one measured echo run in milliseconds [default: 1000, with --quick 250]
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    run_ms: Option<u64>,
    /// Connections held open for the idle figure [default: 10000, with --quick 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    idle_connections: Option<u32>,
    /// Fewer and shorter runs: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Floor { port } => floor::serve(port),
        Command::Load {
            addr,
            connections,
            in_flight,
            seconds,
        } => just_load(addr, connections, in_flight, seconds),
        Command::All(options) => sections::run(&options, &sections::ALL),
        Command::Echo(options) => sections::run(&options, &[sections::Section::Echo]),
        Command::Idle(options) => sections::run(&options, &[sections::Section::Idle]),
        Command::Startup(options) => sections::run(&options, &[sections::Section::Startup]),
        Command::Codec(options) => sections::run(&options, &[sections::Section::Codec]),
        Command::Telemetry(options) => sections::run(&options, &[sections::Section::Telemetry]),
        Command::Scrape(options) => sections::run(&options, &[sections::Section::Scrape]),
        Command::Observed(options) => sections::run(&options, &[sections::Section::Observed]),
        Command::Lookup(options) => sections::run(&options, &[sections::Section::Lookup]),
        Command::Overload(options) => sections::run(&options, &[sections::Section::Overload]),
        Command::Admin(options) => sections::run(&options, &[sections::Section::Admin]),
        Command::Tls(options) => sections::run(&options, &[sections::Section::Tls]),
        Command::Client(options) => sections::run(&options, &[sections::Section::Client]),
        Command::HttpHop(options) => sections::run(&options, &[sections::Section::HttpHop]),
        Command::Hop(options) => sections::run(&options, &[sections::Section::Hop]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn just_load(
    addr: std::net::SocketAddr,
    connections: u16,
    in_flight: u16,
    seconds: u64,
) -> anyhow::Result<()> {
    let mut load = load::Load::connect(load::Protocol::Mcp, addr, connections, in_flight)?;
    let outcome = load.run(std::time::Duration::from_secs(seconds))?;
    let rate = outcome.requests as f64 / outcome.elapsed.as_secs_f64();
    println!("{} requests, {rate:.0} a second", outcome.requests);
    Ok(())
}
