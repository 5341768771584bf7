//! `mcpd state`: what a server is doing.

use super::admin::{Admin, Api, Failed};
use super::exit::Exit;
use super::output::{Output, settle};
use super::peer;
use super::table::{aligned, cell, list, seconds, show};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// Steps of the lifecycle that are shown; the JSON has all that the server remembers.
const STEPS: usize = 5;

const EXAMPLES: &str = "Examples:
  mcpd state
  mcpd state --watch
  mcpd state --json | jq -r .phase";

/// Arguments of `mcpd state`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct State {
    /// Go on until Ctrl-C, with a line whenever something has changed (default: show it once)
    #[arg(long, short)]
    watch: bool,
    /// Time from one look to the next with --watch, with unit
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = peer::duration)]
    interval: Duration,
    /// Print JSON as the admin API gives it, one object a line (default: text)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &State) -> Exit {
    let done = args.admin.open().and_then(|api| match args.watch {
        true => watch(args, &api),
        false => show(&get(&api)?, args.json, lines),
    });
    done.unwrap_or_else(|failed| failed.tell(args.json))
}

fn get(api: &Api) -> Result<super::admin::Answer, Failed> {
    api.get(&["state"])
}

/// A line whenever something has changed. Once the server has been there it may be away for a while:
/// restarts are what one watches.
fn watch(args: &State, api: &Api) -> Result<Exit, Failed> {
    let (output, mut last) = (Output::new(), String::new());
    loop {
        let asked = get(api).and_then(|answer| answer.json::<Value>());
        let state = match asked {
            Ok(state) => state,
            Err(failed) if failed.exit == Exit::Interrupted => return Ok(Exit::Ok),
            Err(failed) if !last.is_empty() && failed.exit == Exit::Unreachable => Value::Null,
            Err(failed) => return Err(failed),
        };
        let line = match &state {
            Value::Null => "unreachable".to_owned(),
            state => line(state),
        };
        if line != last {
            let written = match args.json {
                true => output.json(&state),
                false => output.line(&line),
            };
            if written.is_err() {
                return Ok(settle(written, Exit::Ok));
            }
            last = line;
        }
        if !api.pause(args.interval) {
            // Ctrl-C is how one ends this.
            return Ok(Exit::Ok);
        }
    }
}

/// All that a glance takes.
pub(super) fn line(state: &Value) -> String {
    let ready = if state["ready"] == true {
        "ready"
    } else {
        "not ready"
    };
    let mut line = format!(
        "{}, {ready}, {} connections, routes revision {}",
        cell(&state["phase"]),
        cell(&state["connections"]),
        cell(&state["routes"]["revision"]),
    );
    let drain = &state["drain"];
    if !drain.is_null() {
        line.push_str(&format!(
            ", drain: {}, {} of {} told, {} open, {} in flight, {} left",
            cell(&drain["stage"]),
            cell(&drain["told"]),
            cell(&drain["connections_at_start"]),
            cell(&drain["open"]),
            cell(&drain["in_flight"]),
            seconds(&drain["ends_in_seconds"]),
        ));
    }
    if !state["routes"]["problem"].is_null() {
        line.push_str(", the newest routes are refused");
    }
    line
}

fn lines(state: &Value) -> Vec<String> {
    let routes = &state["routes"];
    let mut rows = vec![
        (
            "server",
            format!(
                "{} (version {})",
                cell(&state["server_id"]),
                cell(&state["version"])
            ),
        ),
        ("up for", seconds(&state["uptime_seconds"])),
        ("phase", phase(state)),
        ("connections", cell(&state["connections"])),
        (
            "routes",
            format!(
                "{} routes, revision {}, from {}, etag {}",
                cell(&routes["count"]),
                cell(&routes["revision"]),
                cell(&routes["source"]),
                cell(&routes["etag"]),
            ),
        ),
    ];
    if !routes["problem"].is_null() {
        rows.push(("refused", cell(&routes["problem"])));
    }
    let drain = &state["drain"];
    if !drain.is_null() {
        rows.push(("drain", drain_line(drain)));
    }
    let balance = &state["rebalance"];
    if balance.is_object() {
        rows.push(("rebalance", balance_line(balance)));
    }
    let history = list(state, "history");
    for step in &history[history.len().saturating_sub(STEPS)..] {
        rows.push((
            "history",
            format!(
                "{}  {} → {}: {}",
                cell(&step["at"]),
                cell(&step["from"]),
                cell(&step["to"]),
                cell(&step["cause"]),
            ),
        ));
    }
    aligned(
        rows.into_iter()
            .map(|(key, value)| vec![key.to_owned(), value])
            .collect(),
    )
}

fn phase(state: &Value) -> String {
    let ready = if state["ready"] == true {
        "ready"
    } else {
        "not ready"
    };
    format!(
        "{}, {ready}, since {}",
        cell(&state["phase"]),
        cell(&state["since"])
    )
}

fn balance_line(balance: &Value) -> String {
    let reason = match balance["reason"].as_str() {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    let share = match balance["share"].as_f64() {
        Some(share) => format!("{share:.1}"),
        None => "-".to_owned(),
    };
    format!(
        "{}{reason}; {} kept, a share is {share} of {} servers, {} asked to move",
        cell(&balance["state"]),
        cell(&balance["kept"]),
        cell(&balance["servers"]),
        cell(&balance["asked_to_move"]),
    )
}

pub(super) fn drain_line(drain: &Value) -> String {
    format!(
        "{}, for {} of it ({}); {} of {} told, {} open, {} in flight; over in {}",
        cell(&drain["stage"]),
        seconds(&drain["began_seconds_ago"]),
        cell(&drain["cause"]),
        cell(&drain["told"]),
        cell(&drain["connections_at_start"]),
        cell(&drain["open"]),
        cell(&drain["in_flight"]),
        seconds(&drain["ends_in_seconds"]),
    )
}
