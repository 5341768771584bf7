//! `mcpd routes get`: what is live.

use super::{MAX_DOCUMENT, document_of, name, parse, tag};
use crate::cli::admin::{Admin, Answer, Api, Call, Failed};
use crate::cli::exit::Exit;
use crate::cli::output::{Output, complain, settle};
use crate::cli::render;
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "Examples:
  mcpd routes get > routes.yaml
  mcpd routes get orders
  mcpd routes get --json | jq -r '.document.routes[].name'

The version that was read, its ETag, is on standard error, or under `etag` in the JSON; give it to
`mcpd routes apply --if-match` so that nobody's change in between is lost.";

/// Arguments of `mcpd routes get`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Get {
    /// Name of a route (default: all of them, as one document)
    #[arg(value_parser = name)]
    name: Option<String>,
    /// Print YAML as one would write it (the default)
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
    /// Print one JSON object with `etag` and `document` or `route` (default: YAML)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(args: &Get) -> Result<Exit, Failed> {
    let api = args.admin.open()?;
    let answer = ask(args, &api)?;
    let tag = tag(&answer)?;
    let output = Output::new();
    let written = match (args.json, &args.name) {
        (true, None) => output.json(&json!({"etag": tag, "document": answer.json::<Value>()?})),
        (true, Some(_)) => output.json(&json!({"etag": tag, "route": answer.json::<Value>()?})),
        (false, None) => output.bytes(&answer.body),
        (false, Some(_)) => output.bytes(one(&answer)?.as_bytes()),
    };
    if !args.json {
        complain(&format!("etag: {}", render::one_line(tag)));
    }
    Ok(settle(written, Exit::Ok))
}

fn ask(args: &Get, api: &Api) -> Result<Answer, Failed> {
    let path: Vec<&str> = ["routes"].into_iter().chain(args.name.as_deref()).collect();
    let yaml = !args.json && args.name.is_none();
    api.ask(Call {
        path: &path,
        query: if yaml { &[("format", "yaml")] } else { &[] },
        accept: yaml.then_some("application/yaml"),
        most: Some(MAX_DOCUMENT),
        ..Call::default()
    })
}

/// One route as one would write it.
fn one(answer: &Answer) -> Result<String, Failed> {
    let text = String::from_utf8_lossy(&answer.body);
    let document = parse(document_of(&text).as_bytes());
    let route = document.and_then(|document| document.routes.into_iter().next());
    route.map(|route| route.to_yaml()).ok_or_else(|| {
        Failed::foreign("the route cannot be read by this version; try --json".to_owned())
    })
}
