//! `mcpd monitor`: which clients are alive.

use super::admin::{Admin, Call, Failed};
use super::exit::Exit;
use super::table::{cell, list, seconds, show, table};
use clap::Args;
use serde_json::Value;

const EXAMPLES: &str = "Examples:
  mcpd monitor
  mcpd monitor --json | jq -r '.clients[] | select(.alive | not) | .client_id'";

/// Arguments of `mcpd monitor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Monitor {
    /// Most clients in one answer, 1 to 1000
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Begin behind the connection of this id (default: with the first)
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Print JSON as the admin API gives it (default: tables)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &Monitor) -> Exit {
    monitor(args).unwrap_or_else(|failed| failed.tell(args.json))
}

fn monitor(args: &Monitor) -> Result<Exit, Failed> {
    let (limit, after) = (args.limit.to_string(), args.after.map(|id| id.to_string()));
    let mut query = vec![("limit", limit.as_str())];
    query.extend(after.as_deref().map(|id| ("after", id)));
    let answer = args.admin.open()?.ask(Call {
        path: &["monitor"],
        query: &query,
        ..Call::default()
    })?;
    show(&answer, args.json, lines)
}

fn lines(answer: &Value) -> Vec<String> {
    let clients = list(answer, "clients");
    let mut lines = table(
        clients,
        &[
            ("CLIENT", "client_id", cell),
            ("ADDRESS", "addr", cell),
            ("CONNECTION", "connection", cell),
            ("ALIVE", "alive", cell),
            ("SEEN", "last_seen_seconds", seconds),
            ("INTERVAL", "interval_seconds", seconds),
            ("MISSES", "misses", cell),
        ],
    );
    let more = match &answer["next"] {
        Value::Null => String::new(),
        next => format!("; more with --after {}", cell(next)),
    };
    lines.push(format!(
        "{} of {}{more}",
        clients.len(),
        cell(&answer["total"])
    ));
    let topics = list(answer, "topics");
    if !topics.is_empty() {
        lines.push(String::new());
        lines.extend(table(
            topics,
            &[
                ("TOPIC", "topic", cell),
                ("COUNT", "count", cell),
                ("SEEN", "last_seen_seconds", seconds),
                ("LAST CLIENT", "last_client", cell),
            ],
        ));
    }
    lines
}
