//! The command line: arguments in, text and an exit code out. What the commands do is done by the
//! server ([`crate::app`]) and the client (`mcpd-client`).

mod advice;
mod body;
mod check;
mod exit;
mod failure;
mod output;
mod peer;
mod ping;
mod render;
mod report;
mod send;
mod serve;

use clap::{Parser, Subcommand};
use exit::Exit;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  mcpd serve                  a server with the routes echo and heartbeat
  mcpd send echo hello        from another terminal: prints hello
  mcpd ping                   round-trip times
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
