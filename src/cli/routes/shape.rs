//! The arguments of `mcpd routes set` that shape traffic.

use crate::router::document::reading;
use clap::Args;
use serde_json::{Map, Value, json};

/// Longest argument of YAML: far more than 32 matches of 8 headers have.
const MAX_YAML: usize = 128 << 10;

/// What of the traffic goes where.
#[derive(Debug, Args)]
pub(super) struct Shape {
    /// Handlers and their weights, in place of one handler (default: stays as it is)
    #[arg(long, value_name = "HANDLER=WEIGHT,...", value_parser = split, conflicts_with = "handler")]
    split: Option<Given>,
    /// What keeps a client with its handler of the split: client_id, or header:KEY; none for nothing
    /// (default: stays as it is; none)
    #[arg(long, value_name = "WHAT", value_parser = sticky)]
    sticky: Option<Given>,
    /// Handler that gets copies of so many of a hundred requests; none for no copies (default: stays
    /// as it is; none)
    #[arg(long, value_name = "HANDLER=PERCENT", value_parser = mirror)]
    mirror: Option<Given>,
    /// Topic that the handler sees, such as v2/{1}; none for the client's own (default: stays as it
    /// is; none)
    #[arg(long, value_name = "TEMPLATE", value_parser = rewrite)]
    rewrite: Option<Given>,
    /// Handlers for requests that fit, as the key `match` has them in a document; none for no matches
    /// (default: stays as it is; none)
    #[arg(long = "match", value_name = "YAML", value_parser = yaml)]
    matches: Option<Given>,
    /// Harm done on purpose, as the key `fault` has it in a document; none for no harm (default: stays as
    /// it is; none)
    #[arg(long, value_name = "YAML", value_parser = yaml)]
    fault: Option<Given>,
}

/// The value of a key; `None` takes the key away.
#[derive(Clone, Debug)]
struct Given(Option<Value>);

const NONE: Given = Given(None);

fn share(text: &str) -> Option<(&str, u32)> {
    let (handler, number) = text.split_once('=')?;
    Some((handler.trim(), number.trim().parse().ok()?))
}

fn split(text: &str) -> Result<Given, String> {
    let shares = text.split(',').map(|part| {
        let (handler, weight) = share(part)?;
        Some(json!({"handler": handler, "weight": weight}))
    });
    let shares: Option<Value> = shares.collect();
    let shares = shares.ok_or("write handlers and weights, such as stable=90,canary=10")?;
    Ok(Given(Some(shares)))
}

fn sticky(text: &str) -> Result<Given, String> {
    match text.split_once(':') {
        Some(("header", key)) => Ok(Given(Some(json!({"header": key})))),
        None if text == "client_id" => Ok(Given(Some(text.into()))),
        None if text == "none" => Ok(NONE),
        _ => Err("write client_id, header:KEY or none".to_owned()),
    }
}

fn mirror(text: &str) -> Result<Given, String> {
    if text == "none" {
        return Ok(NONE);
    }
    let (handler, percent) =
        share(text).ok_or("write a handler and a percentage, such as shadow=10, or none")?;
    let mirror = json!({"handler": handler, "percent": percent});
    Ok(Given(Some(mirror)))
}

fn rewrite(text: &str) -> Result<Given, String> {
    match text {
        "none" => Ok(NONE),
        text => Ok(Given(Some(text.into()))),
    }
}

/// What a key holds, as it stands in a document.
fn yaml(text: &str) -> Result<Given, String> {
    if text == "none" {
        return Ok(NONE);
    }
    let read = reading::whole(text.as_bytes(), MAX_YAML, |field, report| {
        reading::anything(&field, report)
    });
    let (value, _) = read.map_err(|error| error.to_string())?;
    Ok(Given(Some(value)))
}

impl Shape {
    /// Changes the keys of a route to what was given; `handler` says that one handler was given.
    pub(super) fn put_into(&self, keys: &mut Map<String, Value>, handler: bool) {
        if handler {
            keys.remove("split");
            keys.remove("sticky");
        }
        if self.split.is_some() {
            keys.remove("handler");
        }
        let all = [
            ("split", &self.split),
            ("sticky", &self.sticky),
            ("mirror", &self.mirror),
            ("rewrite", &self.rewrite),
            ("match", &self.matches),
            ("fault", &self.fault),
        ];
        for (key, given) in all {
            match given {
                Some(Given(Some(value))) => drop(keys.insert(key.to_owned(), value.clone())),
                Some(Given(None)) => drop(keys.remove(key)),
                None => {}
            }
        }
    }
}
