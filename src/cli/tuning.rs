//! `mcpd log-filter` and `mcpd sampling`: what a server tells of itself, while it runs.

use super::admin::{Admin, Answer, Api, Call, Failed};
use super::exit::Exit;
use super::render;
use super::table::{cell, show};
use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

const FILTER_EXAMPLES: &str = "Examples:
  mcpd log-filter
  mcpd log-filter info,mcpd::conn=debug

It holds until the next change, reload or restart; the configuration's own is log.filter.";

const SAMPLING_EXAMPLES: &str = "Examples:
  mcpd sampling
  mcpd sampling --ratio 0.01 --route orders=1
  mcpd sampling --route orders=default

It holds until the next change, reload or restart.";

/// Arguments of `mcpd log-filter`.
#[derive(Debug, Args)]
#[command(after_help = FILTER_EXAMPLES)]
pub(super) struct LogFilter {
    /// The new filter: a level, and levels for parts of the program (default: show what is in force)
    filter: Option<String>,
    /// Print JSON as the admin API gives it (default: the filter alone)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Arguments of `mcpd sampling`.
#[derive(Debug, Args)]
#[command(after_help = SAMPLING_EXAMPLES)]
pub(super) struct Sampling {
    /// Share of requests that are traced, 0 to 1 (default: stays as it is)
    #[arg(long, value_parser = ratio)]
    ratio: Option<f64>,
    /// Share of heartbeats and other control frames that are traced (default: stays as it is)
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    control_ratio: Option<f64>,
    /// A route's own share, or `default` to take it away; may be repeated (default: stay as they are)
    #[arg(long = "route", value_name = "NAME=RATIO", value_parser = route)]
    routes: Vec<(String, Option<f64>)>,
    /// Print JSON as the admin API gives it (default: text)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

fn ratio(text: &str) -> Result<f64, String> {
    let number = text
        .parse::<f64>()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio));
    number.ok_or_else(|| "write a number from 0 to 1, such as 0.01".to_owned())
}

fn route(text: &str) -> Result<(String, Option<f64>), String> {
    let (name, share) = text.rsplit_once('=').ok_or("write NAME=RATIO")?;
    if name.is_empty() {
        return Err("write NAME=RATIO".to_owned());
    }
    let share = match share {
        "default" => None,
        share => Some(ratio(share)?),
    };
    Ok((name.to_owned(), share))
}

pub(super) fn log_filter(args: &LogFilter) -> Exit {
    let asked = args.admin.open().and_then(|api| match &args.filter {
        None => api.get(&["log-filter"]),
        Some(filter) => put(&api, "log-filter", &json!({"filter": filter})),
    });
    let done =
        asked.and_then(|answer| show(&answer, args.json, |value| vec![cell(&value["filter"])]));
    done.unwrap_or_else(|failed| failed.tell(args.json))
}

pub(super) fn sampling(args: &Sampling) -> Exit {
    let asked = args.admin.open().and_then(|api| args.ask(&api));
    let done = asked.and_then(|answer| show(&answer, args.json, lines));
    done.unwrap_or_else(|failed| failed.tell(args.json))
}

fn put(api: &Api, path: &str, body: &Value) -> Result<Answer, Failed> {
    api.ask(Call {
        method: Method::PUT,
        path: &[path],
        body: Some((body.to_string().into_bytes(), "application/json")),
        ..Call::default()
    })
}

impl Sampling {
    fn ask(&self, api: &Api) -> Result<Answer, Failed> {
        let current = api.get(&["sampling"])?;
        if self.ratio.is_none() && self.control_ratio.is_none() && self.routes.is_empty() {
            return Ok(current);
        }
        let mut rates: Map<String, Value> = current.json()?;
        if let Some(ratio) = self.ratio {
            rates.insert("ratio".to_owned(), ratio.into());
        }
        if let Some(ratio) = self.control_ratio {
            rates.insert("control_ratio".to_owned(), ratio.into());
        }
        let routes = rates.entry("routes").or_insert_with(|| json!({}));
        if let Some(routes) = routes.as_object_mut() {
            for (name, share) in &self.routes {
                match share {
                    Some(share) => drop(routes.insert(name.clone(), (*share).into())),
                    None => drop(routes.remove(name)),
                }
            }
        }
        put(api, "sampling", &Value::Object(rates))
    }
}

/// The ratios first, by what they are of.
fn lines(rates: &Value) -> Vec<String> {
    let line = |key: &str, value: &Value| format!("{key}: {}", cell(value));
    let mut lines = vec![
        line("ratio", &rates["ratio"]),
        line("control_ratio", &rates["control_ratio"]),
    ];
    for (name, share) in rates["routes"].as_object().into_iter().flatten() {
        lines.push(line(&format!("route {}", render::one_line(name)), share));
    }
    for (key, value) in rates.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "ratio" | "control_ratio" | "routes") {
            lines.push(line(&render::one_line(key), value));
        }
    }
    lines
}
