//! `mcpd routes set` and `mcpd routes rm`: routes by name.

use super::everywhere::Everywhere;
use super::shape::Shape;
use super::{Diff, document_of, file, how, live, name, parse, tag, written};
use crate::cli::admin::{Admin, Answer, Api, Call, Failed};
use crate::cli::exit::Exit;
use crate::cli::peer;
use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

const SET_EXAMPLES: &str = "Examples:
  mcpd routes set orders --topic 'orders/#' --handler echo --timeout 5s
  mcpd routes set orders --timeout 8s
  mcpd routes set orders --rate-limit 1000/2000 --priority-min 2 --dry-run
  mcpd routes set checkout --split stable=90,canary=10
  mcpd routes set checkout --split stable=0,canary=100
  mcpd routes set checkout --mirror shadow=10
  mcpd routes set checkout --match '[{header: {tenant: acme}, handler: beta}]' --fault none
  mcpd routes get orders > orders.yaml; vi orders.yaml; mcpd routes set orders -f orders.yaml

A new route needs --topic and --handler or --split. Of a route that exists, the keys that are not named
stay as they are, but --handler ends a split and --split takes the place of the handler; with -f the route
becomes exactly what the file says. --match and --fault take what stands in a document, as YAML or JSON.";

const RM_EXAMPLES: &str = "Examples:
  mcpd routes rm orders
  mcpd routes rm orders stock --dry-run

If any of several names is not there, none is removed.";

/// Arguments of `mcpd routes set`.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
pub(super) struct Set {
    /// Name of the route, 1 to 63 of a-z 0-9 . _ -
    #[arg(value_parser = name)]
    name: String,
    /// Topic or pattern (default: stays as it is)
    #[arg(long)]
    topic: Option<String>,
    /// Name of the handler (default: stays as it is)
    #[arg(long)]
    handler: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Longest time to an answer, with unit, 1ms to 1h (default: stays as it is; 30s for a new route)
    #[arg(long, value_name = "TIME", value_parser = peer::duration)]
    timeout: Option<Duration>,
    /// Lowest priority of answers, 0 to 7 (default: stays as it is; 0)
    #[arg(long, value_name = "0-7")]
    priority_min: Option<u8>,
    /// Highest priority of answers, 0 to 7 (default: stays as it is; 7)
    #[arg(long, value_name = "0-7")]
    priority_max: Option<u8>,
    /// Requests a second, with /BURST if it differs; none for no limit (default: stays as it is; none)
    #[arg(long, value_name = "RATE[/BURST]", value_parser = rate_limit)]
    rate_limit: Option<RateLimit>,
    /// How the limit deals with bursts: token_bucket or leaky_bucket (default: stays as it is;
    /// token_bucket)
    #[arg(long, value_name = "ALGORITHM")]
    rate_algorithm: Option<String>,
    /// Whose limit it is: route, client_id or principal (default: stays as it is; route)
    #[arg(long, value_name = "WHOSE")]
    rate_per: Option<String>,
    /// Whether requests of a connection run one after the other (default: stays as it is; false)
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ordered: Option<bool>,
    /// Quality of service, 0 to 2 (default: stays as it is; 0)
    #[arg(long, value_name = "0-2")]
    qos: Option<u8>,
    /// Take the whole route from a file, YAML or JSON, - for standard input (default: from the
    /// arguments)
    #[arg(long, short, value_name = "FILE", conflicts_with_all = KEYS)]
    file: Option<String>,
    /// Have the server check it and say what would change (default: change it)
    #[arg(long)]
    dry_run: bool,
    /// Take keys that the server does not know, with a warning (default: they are refused)
    #[arg(long)]
    no_strict: bool,
    #[command(flatten)]
    everywhere: Everywhere,
    /// Print one JSON object (default: text)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    admin: Admin,
}

const KEYS: [&str; 16] = [
    "topic",
    "handler",
    "split",
    "sticky",
    "mirror",
    "rewrite",
    "matches",
    "fault",
    "timeout",
    "priority_min",
    "priority_max",
    "rate_limit",
    "rate_algorithm",
    "rate_per",
    "ordered",
    "qos",
];

/// Arguments of `mcpd routes rm`.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
pub(super) struct Rm {
    /// Names of the routes
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<String>,
    /// Say what would change (default: change it)
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    everywhere: Everywhere,
    /// Print a JSON object for each route (default: text)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// What `--rate-limit` says.
#[derive(Clone, Copy, Debug)]
enum RateLimit {
    None,
    Of { per_second: u32, burst: u32 },
}

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    if text == "none" {
        return Ok(RateLimit::None);
    }
    let (rate, burst) = text.split_once('/').unwrap_or((text, text));
    match (rate.parse::<u32>(), burst.parse::<u32>()) {
        (Ok(per_second), Ok(burst)) => Ok(RateLimit::Of { per_second, burst }),
        _ => Err("write a number, such as 1000 or 1000/2000, or none".to_owned()),
    }
}

pub(super) fn set(args: &Set) -> Result<Exit, Failed> {
    let from_file = args.file.as_deref().map(file::read).transpose()?;
    let api = args.admin.open()?;
    let before = existing(&api, &args.name)?;
    let route = match from_file {
        Some(text) => text,
        None => {
            let keys = before.as_ref().map(Answer::json).transpose()?;
            args.change(keys.unwrap_or_default())?
                .to_string()
                .into_bytes()
        }
    };
    let mut query = how(args.dry_run, args.no_strict);
    query.extend(args.everywhere.query());
    let answer = api.ask(Call {
        method: Method::PUT,
        path: &["routes", &args.name],
        query: &query,
        body: Some((route.clone(), "application/yaml")),
        // Keys that stay as they are should be those that were read.
        if_match: before.as_ref().and_then(|before| before.etag.as_deref()),
        only_if_absent: before.is_none(),
        longer: args.everywhere.longer(),
        ..Call::default()
    });
    let answer = answer.map_err(|mut failed| {
        if args.file.is_none() {
            // Arguments have no lines.
            failed.errors.iter_mut().for_each(|error| error.line = None);
        }
        explain(failed, &args.name)
    })?;
    let diff = difference(before.as_ref(), &args.name, &route);
    written::show(&answer, diff.as_ref(), args.json)
}

/// The route as it is; `None` if there is none of this name.
fn existing(api: &Api, name: &str) -> Result<Option<Answer>, Failed> {
    match api.get(&["routes", name]) {
        Ok(answer) => Ok(Some(answer)),
        Err(failed) if failed.status == Some(404) => Ok(None),
        Err(failed) => Err(failed),
    }
}

impl Set {
    /// The route with what the arguments say.
    fn change(&self, mut keys: Map<String, Value>) -> Result<Value, Failed> {
        keys.insert("name".to_owned(), self.name.as_str().into());
        let timeout = self
            .timeout
            .map(|time| humantime::format_duration(time).to_string());
        let given = [
            ("topic", self.topic.as_deref().map(Value::from)),
            ("handler", self.handler.as_deref().map(Value::from)),
            ("timeout", timeout.map(Value::from)),
            ("ordered", self.ordered.map(Value::from)),
            ("qos", self.qos.map(Value::from)),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                keys.insert(key.to_owned(), value);
            }
        }
        for (key, value) in [("min", self.priority_min), ("max", self.priority_max)] {
            if let Some(value) = value {
                put(&mut keys, "priority", key, value.into());
            }
        }
        self.limit(&mut keys);
        self.shape.put_into(&mut keys, self.handler.is_some());
        let name = &self.name;
        let missing = [
            ("--topic", keys.contains_key("topic")),
            (
                "--handler or --split",
                keys.contains_key("handler") || keys.contains_key("split"),
            ),
        ];
        match missing.into_iter().find(|(_, there)| !there) {
            None => Ok(Value::Object(keys)),
            Some((key, _)) => {
                let text = format!("there is no route {name} yet; a new one needs {key}");
                Err(Failed::usage(text))
            }
        }
    }

    fn limit(&self, keys: &mut Map<String, Value>) {
        match self.rate_limit {
            Some(RateLimit::None) => drop(keys.remove("rate_limit")),
            Some(RateLimit::Of { per_second, burst }) => {
                put(keys, "rate_limit", "per_second", per_second.into());
                put(keys, "rate_limit", "burst", burst.into());
            }
            None => {}
        }
        if let Some(algorithm) = &self.rate_algorithm {
            put(keys, "rate_limit", "algorithm", algorithm.as_str().into());
        }
        if let Some(per) = &self.rate_per {
            put(keys, "rate_limit", "per", per.as_str().into());
        }
    }
}

/// Sets `keys[outer][inner]`; what else is in there stays.
fn put(keys: &mut Map<String, Value>, outer: &str, inner: &str, value: Value) {
    let entry = keys.entry(outer).or_insert_with(|| json!({}));
    if let Some(entry) = entry.as_object_mut() {
        entry.insert(inner.to_owned(), value);
    }
}

fn explain(mut failed: Failed, name: &str) -> Failed {
    if failed.status == Some(412) {
        failed.text = "someone else has changed the routes while this ran".to_owned();
        failed.hint = format!("look at `mcpd routes get {name}`, then try again");
    }
    if failed.status == Some(422) {
        failed.exit = Exit::Routes;
    }
    failed
}

fn difference(before: Option<&Answer>, name: &str, after: &[u8]) -> Option<Diff> {
    let document = |route: &[u8]| {
        let mut document = parse(document_of(std::str::from_utf8(route).ok()?).as_bytes())?;
        // A file need not repeat the name.
        document
            .routes
            .iter_mut()
            .for_each(|route| route.name = name.to_owned());
        Some(document)
    };
    let before = match before {
        Some(before) => document(&before.body)?,
        None => Default::default(),
    };
    Some(Diff::between(&before, &document(after)?))
}

pub(super) fn remove(args: &Rm) -> Result<Exit, Failed> {
    let api = args.admin.open()?;
    let mut names = args.names.clone();
    names.sort_unstable();
    names.dedup();
    if names.len() > 1 {
        all_there(&api, &names)?;
    }
    for (at, name) in names.iter().enumerate() {
        let mut query = how(args.dry_run, false);
        // Who has the last change has those before it.
        let last = at + 1 == names.len();
        let everywhere = Some(&args.everywhere).filter(|_| last);
        query.extend(everywhere.map(Everywhere::query).unwrap_or_default());
        let answer = api.ask(Call {
            method: Method::DELETE,
            path: &["routes", name],
            query: &query,
            longer: everywhere.map_or(Duration::ZERO, Everywhere::longer),
            ..Call::default()
        });
        let exit = written::show(
            &answer.map_err(|failed| explain(failed, name))?,
            None,
            args.json,
        )?;
        if exit != Exit::Ok {
            return Ok(exit);
        }
    }
    Ok(Exit::Ok)
}

/// So that a typing mistake in the last name does not come after the first one is gone.
fn all_there(api: &Api, names: &[String]) -> Result<(), Failed> {
    let answer = live(api)?;
    let document: Value = answer.json()?;
    let routes = document["routes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let there = |name: &String| routes.iter().any(|route| route["name"] == name.as_str());
    match names.iter().find(|name| !there(name)) {
        None => Ok(()),
        Some(name) => {
            let mut failed = Failed::new(
                Exit::Permanent,
                "not_found",
                format!("there is no route {name}"),
                "nothing was removed: check the name",
            );
            failed.etag = Some(tag(&answer)?.to_owned());
            Err(failed)
        }
    }
}
