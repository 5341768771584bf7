//! The command line: arguments in, text and an exit code out. What the commands do is done by the
//! server ([`crate::app`]) and the client (`mcpd-client`).

mod admin;
mod advice;
mod body;
mod check;
mod completions;
mod connections;
mod drain;
mod exit;
mod failure;
mod handlers;
mod monitor;
mod output;
mod peer;
mod ping;
mod render;
mod report;
mod routes;
mod secret;
mod send;
mod serve;
mod state;
mod table;
mod tls;
mod token;
#[cfg(feature = "top")]
mod top;
mod trace;
mod tuning;

use clap::{Parser, Subcommand};
use exit::Exit;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  mcpd serve                  a server with the routes echo and heartbeat
  mcpd send echo hello        from another terminal: prints hello
  mcpd ping                   round-trip times
  mcpd state                  what that server is doing
  mcpd routes get             the routes it has
  mcpd check --config mcpd.yaml --routes routes.yaml";

/// A server for MCP, the Message Communication Protocol, and the tools to try it
#[derive(Debug, Parser)]
#[command(name = "mcpd", version, after_help = help_end(), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server until SIGTERM or Ctrl-C
    Serve(serve::Serve),
    /// Check configuration and routes without serving; list every problem
    Check(check::Check),
    /// Send one request and print its answer
    Send(send::Send),
    /// Connect and measure the round trip of heartbeats
    Ping(ping::Ping),
    /// Look at and change the routes of a running server
    Routes(routes::Routes),
    /// Show what a server is doing: phase, drain, routes, connections
    State(state::State),
    /// Watch a server in the terminal: rates, latency, routes, connections
    #[cfg(feature = "top")]
    Top(top::Top),
    /// Stop a server in order, as SIGTERM does
    Drain(drain::Drain),
    /// List the connections of a server, or close one
    Connections(connections::Connections),
    /// List the handlers of a server and how busy they are
    Handlers(handlers::Handlers),
    /// List the clients of a server and whether they are alive
    Monitor(monitor::Monitor),
    /// Show or change what a server logs
    LogFilter(tuning::LogFilter),
    /// Show or change which share of requests a server traces
    Sampling(tuning::Sampling),
    /// Make tokens for the admin API
    Token(token::Token),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

fn help_end() -> String {
    format!("{EXAMPLES}\n\n{}", Exit::table())
}

/// Runs what the process' arguments ask for. Never panics over a closed standard output.
pub fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        Err(error) => explain(&error),
    };
    exit.into()
}

fn run(command: Command) -> Exit {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&args),
        Command::Send(args) => send::run(args),
        Command::Ping(args) => ping::run(&args),
        Command::Routes(args) => routes::run(args),
        Command::State(args) => state::run(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Connections(args) => connections::run(&args),
        Command::Handlers(args) => handlers::run(&args),
        Command::Monitor(args) => monitor::run(&args),
        Command::LogFilter(args) => tuning::log_filter(&args),
        Command::Sampling(args) => tuning::sampling(&args),
        Command::Token(args) => token::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Help and version are answers, everything else is wrong usage.
fn explain(error: &clap::Error) -> Exit {
    // If nobody reads it, the code still tells.
    let _ = error.print();
    match error.exit_code() {
        0 => Exit::Ok,
        _ => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
