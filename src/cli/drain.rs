//! `mcpd drain`: an orderly stop.

use super::admin::{Admin, Api, Call, Failed};
use super::exit::Exit;
use super::output::{Output, complain, settle};
use super::state;
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

/// Time from one look at the progress to the next.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks at a server that hung up.
const LOOKS: usize = 20;
/// The kind of failure where nobody listens.
const NOBODY: &str = "no_connection";

const EXAMPLES: &str = "Examples:
  mcpd drain
  mcpd drain --wait --yes && echo it is gone
  mcpd drain --hasten

The server goes on as after SIGTERM: it serves for a while, asks its clients to move, finishes what
it has begun, and ends. --hasten moves a drain on to its next stage, as Ctrl-C does.";

/// Arguments of `mcpd drain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Drain {
    /// Go to the next stage at once (default: keep to the timetable)
    #[arg(long)]
    hasten: bool,
    /// Wait until the server has ended; progress on standard error (default: return at once)
    #[arg(long)]
    wait: bool,
    /// Do not ask (default: ask if there is a terminal)
    #[arg(long, short)]
    yes: bool,
    /// Print the state as JSON (default: text)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &Drain) -> Exit {
    drain(args).unwrap_or_else(|failed| failed.tell(args.json))
}

fn drain(args: &Drain) -> Result<Exit, Failed> {
    let api = args.admin.open()?;
    if !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal() {
        let state: Value = api.get(&["state"])?.json()?;
        if !agreed(&state, api.address()) {
            let text = "nothing was drained".to_owned();
            return Err(Failed::new(
                Exit::Interrupted,
                "declined",
                text,
                "answer yes, or give --yes",
            ));
        }
    }
    let before = ask(args, &api)?;
    if args.wait {
        wait(&api, &before)?;
    }
    let output = Output::new();
    let written = match (args.json, args.wait || before.is_null()) {
        (true, _) => output.json(&before),
        (false, true) => output.line("drained: the server has ended"),
        (false, false) => output.line(&state::line(&before)),
    };
    Ok(settle(written, Exit::Ok))
}

/// The state with the drain in it; null if the server has ended over it.
fn ask(args: &Drain, api: &Api) -> Result<Value, Failed> {
    let body = if args.hasten {
        r#"{"hasten":true}"#
    } else {
        "{}"
    };
    let asked = api.ask(Call {
        method: Method::POST,
        path: &["drain"],
        body: Some((body.into(), "application/json")),
        ..Call::default()
    });
    match asked {
        Ok(answer) => answer.json(),
        // Where nothing is left to wait for, the server may be gone before its answer is out.
        Err(lost) if lost.exit == Exit::Unreachable && lost.kind != NOBODY => {
            settled(api).unwrap_or(Err(lost))
        }
        Err(failed) => Err(failed),
    }
}

/// What became of a server that hung up: there, gone (null), or `None` if it cannot be told.
fn settled(api: &Api) -> Option<Result<Value, Failed>> {
    for _ in 0..LOOKS {
        match api.get(&["state"]) {
            Ok(answer) => return Some(answer.json()),
            Err(failed) if failed.kind == NOBODY => return Some(Ok(Value::Null)),
            // It is about to go.
            Err(failed) if failed.exit == Exit::Unreachable && api.pause(LOOK_EVERY) => {}
            Err(_) => return None,
        }
    }
    None
}

fn agreed(state: &Value, address: &str) -> bool {
    let question = format!(
        "{address}: {}\nstop this server in order? [y/N] ",
        state::line(state)
    );
    let _ = write!(io::stderr(), "{question}");
    let mut answer = String::new();
    // An end of input is a no.
    let _ = io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Until the server is gone, or another one has taken its place.
fn wait(api: &Api, before: &Value) -> Result<(), Failed> {
    if before.is_null() {
        return Ok(());
    }
    let mut last = String::new();
    let mut up = before["uptime_seconds"].as_f64().unwrap_or(0.0);
    loop {
        let state: Value = match api.get(&["state"]) {
            Ok(answer) => answer.json()?,
            // It closes this port last.
            Err(failed) if failed.exit == Exit::Unreachable => return Ok(()),
            Err(failed) => return Err(failed),
        };
        let now = state["uptime_seconds"].as_f64().unwrap_or(up);
        if state["phase"] == "stopped" || now < up {
            return Ok(());
        }
        up = now;
        let line = state::line(&state);
        if line != last {
            complain(&line);
            last = line;
        }
        if !api.pause(LOOK_EVERY) {
            let text = "stopped waiting".to_owned();
            let hint = "the drain goes on; `mcpd state` shows it";
            return Err(Failed::new(Exit::Interrupted, "interrupted", text, hint));
        }
    }
}
