//! `mcpd handlers`: what does the work, and how much of it.

use super::admin::{Admin, Failed};
use super::exit::Exit;
use super::table::{cell, heads, show, table};
use clap::Args;
use serde_json::Value;

const EXAMPLES: &str = "Examples:
  mcpd handlers
  mcpd handlers slow
  mcpd handlers --json | jq -c '.[] | [.name, .waiting]'";

/// Arguments of `mcpd handlers`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Handlers {
    /// Name of a handler (default: all of them)
    name: Option<String>,
    /// Print JSON as the admin API gives it (default: a table)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &Handlers) -> Exit {
    handlers(args).unwrap_or_else(|failed| failed.tell(args.json))
}

fn handlers(args: &Handlers) -> Result<Exit, Failed> {
    let path: Vec<&str> = ["handlers"]
        .into_iter()
        .chain(args.name.as_deref())
        .collect();
    show(&args.admin.open()?.get(&path)?, args.json, lines)
}

fn lines(answer: &Value) -> Vec<String> {
    let one = std::slice::from_ref(answer);
    let handlers = answer.as_array().map_or(one, Vec::as_slice);
    let mut rows = vec![heads([
        "NAME", "TYPE", "RUNNING", "WAITING", "LIMIT", "ROUTES", "SETTINGS",
    ])];
    rows.extend(handlers.iter().map(|one| {
        vec![
            cell(&one["name"]),
            cell(&one["type"]),
            cell(&one["running"]),
            cell(&one["waiting"]),
            cell(&one["limit"]),
            cell(&one["routes"]),
            settings(&one["settings"]),
        ]
    }));
    table(rows)
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
