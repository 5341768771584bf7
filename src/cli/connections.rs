//! `mcpd connections`: who is connected, and closing one.

use super::admin::{Admin, Answer, Call, Failed};
use super::exit::Exit;
use super::output::{Output, settle};
use super::table::{bytes, cell, list, seconds, show, table};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use std::net::IpAddr;

const EXAMPLES: &str = "Examples:
  mcpd connections
  mcpd connections --client-id 'edge-*' --all
  mcpd connections --json | jq -r '.connections[] | select(.in_flight > 100) | .id'
  mcpd connections close 42";

const CLOSE_EXAMPLES: &str = "Examples:
  mcpd connections close 42
  mcpd connections close 42 --cut";

/// Arguments of `mcpd connections`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Connections {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Close a connection: finish its requests first, or cut it
    Close(Close),
}

#[derive(Debug, Args)]
struct List {
    /// Only clients of this id, or whose id begins so where a * stands at the end (default: all)
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Only clients from this IP address (default: all)
    #[arg(long, value_name = "IP")]
    addr: Option<IpAddr>,
    /// Most connections in one answer, 1 to 1000
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Begin behind the connection of this id (default: with the first)
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Go on until there are no more (default: one answer)
    #[arg(long)]
    all: bool,
    /// Print JSON as the admin API gives it, one object for each answer (default: a table)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Args)]
#[command(after_help = CLOSE_EXAMPLES)]
struct Close {
    /// The connection, as `mcpd connections` lists it
    id: u64,
    /// Stop its requests, which are answered so, and close it (default: finish them first)
    #[arg(long)]
    cut: bool,
    /// Print JSON (default: text)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &Connections) -> Exit {
    let (json, done) = match &args.command {
        None => (args.list.json, args.list.run()),
        Some(Command::Close(args)) => (args.json, args.run()),
    };
    done.unwrap_or_else(|failed| failed.tell(json))
}

impl List {
    fn run(&self) -> Result<Exit, Failed> {
        let api = self.admin.open()?;
        let mut after = self.after.map(|id| id.to_string());
        loop {
            let limit = self.limit.to_string();
            let addr = self.addr.map(|addr| addr.to_string());
            let query = [
                ("limit", Some(limit.as_str())),
                ("client_id", self.client_id.as_deref()),
                ("addr", addr.as_deref()),
                ("after", after.as_deref()),
            ];
            let query: Vec<_> = query
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect();
            let answer = api.ask(Call {
                path: &["connections"],
                query: &query,
                ..Call::default()
            })?;
            let next = next(&answer)?;
            let exit = show(&answer, self.json, |page| lines(page, self.all))?;
            match next.filter(|_| self.all && exit == Exit::Ok) {
                None => return Ok(exit),
                // A server that does not move on would be asked for ever.
                Some(next) if after.as_ref() == Some(&next) => return Ok(exit),
                next => after = next,
            }
        }
    }
}

fn next(answer: &Answer) -> Result<Option<String>, Failed> {
    let page: Value = answer.json()?;
    Ok(Some(&page["next"]).filter(|next| !next.is_null()).map(cell))
}

fn lines(page: &Value, all: bool) -> Vec<String> {
    let shown = list(page, "connections");
    let mut lines = table(
        shown,
        &[
            ("ID", "id", cell),
            ("ADDRESS", "addr", cell),
            ("CLIENT", "client_id", cell),
            ("AGE", "age_seconds", seconds),
            ("PHASE", "phase", cell),
            ("REQUESTS", "requests", cell),
            ("IN FLIGHT", "in_flight", cell),
            ("OUTBOUND", "outbound_bytes", bytes),
            ("SEEN", "last_seen_seconds", seconds),
        ],
    );
    let total = cell(&page["total"]);
    lines.push(match (page["next"].is_null(), all) {
        (true, _) | (_, true) => format!("{} of {total}", shown.len()),
        (false, false) => format!(
            "{} of {total}; more with --all or --after {}",
            shown.len(),
            cell(&page["next"])
        ),
    });
    lines
}

impl Close {
    fn run(&self) -> Result<Exit, Failed> {
        let (id, mode) = (self.id.to_string(), if self.cut { "cut" } else { "finish" });
        let answer = self.admin.open()?.ask(Call {
            method: Method::DELETE,
            path: &["connections", &id],
            query: &[("mode", mode)],
            ..Call::default()
        });
        answer.map_err(|mut failed| {
            if failed.status == Some(404) {
                failed.hint = "it is gone, or was never there: see `mcpd connections`".to_owned();
            }
            failed
        })?;
        let output = Output::new();
        let written = match (self.json, self.cut) {
            (true, _) => output.json(&json!({"id": self.id, "mode": mode})),
            (false, true) => output.line(&format!("connection {id} is cut")),
            (false, false) => output.line(&format!(
                "connection {id} ends when its requests are answered"
            )),
        };
        Ok(settle(written, Exit::Ok))
    }
}
