//! `mcpd handlers`: what does the work, how much of it, and whom it asks.

use super::admin::{Admin, Call, Failed};
use super::exit::Exit;
use super::table::{cell, show, table};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

const EXAMPLES: &str = "Examples:
  mcpd handlers
  mcpd handlers slow
  mcpd handlers --json | jq -c '.[] | [.name, .waiting]'
  mcpd handlers eject orders 10.0.0.7:8080
  mcpd handlers restore orders 10.0.0.7:8080";

/// Arguments of `mcpd handlers`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Handlers {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take an endpoint of a handler out of the choice until it is restored
    Eject(Endpoint),
    /// Put an endpoint back, whoever took it out, and shut its breaker
    Restore(Endpoint),
}

#[derive(Debug, Args)]
struct Endpoint {
    /// Name of the handler
    name: String,
    /// Address and port of its endpoint, as `mcpd handlers NAME` lists it
    endpoint: String,
    /// Print JSON as the admin API gives it (default: tables)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Args)]
struct List {
    /// Name of a handler (default: all of them)
    name: Option<String>,
    /// Print JSON as the admin API gives it (default: a table)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &Handlers) -> Exit {
    let (json, done) = match &args.command {
        None => (args.list.json, list(&args.list)),
        Some(Command::Eject(args)) => (args.json, set(args, "eject")),
        Some(Command::Restore(args)) => (args.json, set(args, "restore")),
    };
    done.unwrap_or_else(|failed| failed.tell(json))
}

fn set(args: &Endpoint, what: &str) -> Result<Exit, Failed> {
    let answer = args.admin.open()?.ask(Call {
        method: Method::POST,
        path: &["handlers", &args.name, "endpoints", &args.endpoint, what],
        ..Call::default()
    });
    let answer = answer.map_err(|mut failed| {
        if failed.status == Some(404) {
            failed.hint = format!("see `mcpd handlers {}`", args.name);
        }
        failed
    })?;
    show(&answer, args.json, lines)
}

fn list(args: &List) -> Result<Exit, Failed> {
    let path: Vec<&str> = ["handlers"]
        .into_iter()
        .chain(args.name.as_deref())
        .collect();
    show(&args.admin.open()?.get(&path)?, args.json, lines)
}

fn lines(answer: &Value) -> Vec<String> {
    let one = std::slice::from_ref(answer);
    let handlers = answer.as_array().map_or(one, Vec::as_slice);
    let mut lines = table(
        handlers,
        &[
            ("NAME", "name", cell),
            ("TYPE", "type", cell),
            ("RUNNING", "running", cell),
            ("WAITING", "waiting", cell),
            ("LIMIT", "limit", cell),
            ("ROUTES", "routes", cell),
            ("SETTINGS", "settings", settings),
        ],
    );
    // Of one alone: a list of all would be long.
    if let Some(endpoints) = answer["upstream"]["endpoints"].as_array() {
        lines.push(String::new());
        lines.extend(endpoint_lines(endpoints));
    }
    lines
}

fn endpoint_lines(endpoints: &[Value]) -> Vec<String> {
    table(
        endpoints,
        &[
            ("ENDPOINT", "address", cell),
            ("IN FLIGHT", "in_flight", cell),
            ("ATTEMPTS", "attempts", cell),
            ("FAILURES", "failures", cell),
            ("BREAKER", "breaker", cell),
            ("EJECTED BY", "ejected", cell),
            ("IDLE", "connections.idle", cell),
            ("ACTIVE", "connections.active", cell),
        ],
    )
}

fn settings(settings: &Value) -> String {
    let Some(settings) = settings.as_object() else {
        return cell(settings);
    };
    let entries = settings
        .iter()
        .map(|(key, value)| format!("{key}={}", cell(value)));
    entries.collect::<Vec<_>>().join(" ")
}
