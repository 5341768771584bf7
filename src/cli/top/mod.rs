//! `mcpd top`: one server, live in the terminal, for whoever has no dashboards.
//!
//! A [`poll::Poller`] asks for pages, [`scrape`] reads them, a [`model::Model`] keeps what is known, [`words`]
//! says it and [`view`] draws it. Everything between the socket and the terminal is pure.

mod figures;
mod keys;
mod model;
mod poll;
mod rates;
mod scrape;
mod server;
mod terminal;
mod view;
mod words;

use super::admin::{Admin, Failed};
use super::exit::Exit;
use super::output::{Output, settle};
use super::peer;
use clap::Args;
use model::Model;
use poll::Poller;
use serde_json::json;
use std::time::{Duration, Instant};
use view::Theme;

/// Between two looks; what is shorter measures little more than itself.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(3600);

const EXAMPLES: &str = "Examples:
  mcpd top
  mcpd top --interval 5s --admin 10.0.3.7:8081
  mcpd top --once
  mcpd top --json --interval 10s | jq .rates.requests.p99

Keys: q quits, s sorts the routes by another column, ↑ ↓ scroll, p pauses, + and - change the
interval, ? says more.

It reads /metrics, /statusz and /readyz of the sidecar port, which need no token, and what is more
from the admin API. Rates and latencies are those since the look before; latencies are those of
successes, estimated within buckets. NO_COLOR turns colours off.";

/// Arguments of `mcpd top`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Top {
    /// Time from one look to the next, with unit, 100ms to 1h
    #[arg(long, short, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Look twice, print that as text, and end (default: only if standard output is no terminal)
    #[arg(long)]
    once: bool,
    /// As --once, as one JSON object (default: text)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = peer::duration(text)?;
    match (MIN_INTERVAL..=MAX_INTERVAL).contains(&time) {
        true => Ok(time),
        false => Err("write 100ms to 1h".to_owned()),
    }
}

pub(super) fn run(args: &Top) -> Exit {
    top(args).unwrap_or_else(|failed| failed.tell(args.json))
}

fn top(args: &Top) -> Result<Exit, Failed> {
    let api = args.admin.open()?;
    let title = api.address().to_owned();
    let poller = Poller::new(api);
    if args.once || args.json || !Output::new().terminal {
        return once(args, poller);
    }
    let theme = Theme {
        colours: peer::env("NO_COLOR").is_none(),
    };
    terminal::watch(poller, &title, args.interval, theme).map_err(|error| {
        let text = format!("the terminal cannot be used: {error}");
        let hint = "use --once, or a terminal that can move its cursor";
        Failed::new(Exit::Internal, "internal", text, hint)
    })
}

/// Two looks, because one alone has no rates.
fn once(args: &Top, mut poller: Poller) -> Result<Exit, Failed> {
    let mut model = Model::default();
    model.seen(poller.look()?);
    if !poller.pause(args.interval) {
        return Ok(Exit::Interrupted);
    }
    model.seen(poller.look()?);
    let output = Output::new();
    let written = match args.json {
        true => output.json(&json!({
            "server": model.about,
            "gauges": model.gauges,
            "rates": model.rates,
            "restarted": model.restarts.is_some(),
        })),
        false => {
            let lines = words::snapshot(&model, Instant::now());
            lines.iter().try_for_each(|line| output.line(line))
        }
    };
    Ok(settle(written, Exit::Ok))
}
