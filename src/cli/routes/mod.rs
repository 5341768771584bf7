//! `mcpd routes`: the routes of a running server, looked at and changed.

mod apply;
mod check;
mod diff;
mod everywhere;
mod file;
mod get;
mod set;
mod shape;
mod written;

pub(super) use diff::Diff;

use super::admin::{Answer, Api, Call, Failed};
use super::exit::Exit;
use crate::router::document::{Document, ParseOptions};
use clap::{Args, Subcommand};

/// Largest route document that is read, sent or taken: what `routes.max_bytes` can be set to.
const MAX_DOCUMENT: usize = 256 << 20;

const EXAMPLES: &str = "Examples:
  mcpd routes get > routes.yaml
  mcpd routes check routes.yaml
  mcpd routes diff routes.yaml
  mcpd routes apply routes.yaml --dry-run
  mcpd routes set orders --topic 'orders/#' --handler echo --timeout 5s
  mcpd routes set checkout --split stable=90,canary=10
  mcpd routes rm orders";

/// Arguments of `mcpd routes`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Routes {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the routes that are live, or one of them
    Get(get::Get),
    /// Replace all routes by those of a document
    Apply(apply::Apply),
    /// Create a route, or change some of its keys
    Set(Box<set::Set>),
    /// Remove routes by name
    Rm(set::Rm),
    /// Check documents without a server; list every problem
    Check(check::Check),
    /// Show what applying a document would change
    Diff(diff::DiffCommand),
}

pub(super) fn run(args: Routes) -> Exit {
    let (json, done) = match args.command {
        Command::Get(args) => (args.json, get::run(&args)),
        Command::Apply(args) => (args.json, apply::run(&args)),
        Command::Set(args) => (args.json, set::set(&args)),
        Command::Rm(args) => (args.json, set::remove(&args)),
        Command::Check(args) => (args.json, check::run(&args)),
        Command::Diff(args) => (args.json, diff::run(&args)),
    };
    done.unwrap_or_else(|failed| failed.tell(json))
}

/// The live routes with their tag.
fn live(api: &Api) -> Result<Answer, Failed> {
    api.ask(Call {
        path: &["routes"],
        most: Some(MAX_DOCUMENT),
        ..Call::default()
    })
}

/// How a change is to be taken.
#[derive(Debug, Args)]
struct How {
    /// Have the server check it and say what would change (default: change it)
    #[arg(long)]
    dry_run: bool,
    /// Take keys that the server does not know, with a warning (default: they are refused)
    #[arg(long)]
    no_strict: bool,
}

impl How {
    /// The parameters of the API.
    fn query(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            ("dry_run", self.dry_run, "true"),
            ("strict", self.no_strict, "false"),
        ];
        let given = all.into_iter().filter(|(_, given, _)| *given);
        given.map(|(key, _, value)| (key, value)).collect()
    }
}

/// The tag of an answer that has to have one.
fn tag(answer: &Answer) -> Result<&str, Failed> {
    let tag = answer.etag.as_deref();
    tag.ok_or_else(|| Failed::foreign("the answer has no ETag".to_owned()))
}

/// Reads a document as far as this version understands it.
fn parse(text: &[u8]) -> Option<Document> {
    let options = ParseOptions {
        max_bytes: MAX_DOCUMENT,
        ..ParseOptions::default()
    };
    let loaded = Document::parse(text, &options).ok()?;
    Some(loaded.document)
}

/// A document of one route, from that route's YAML or JSON.
fn document_of(route: &str) -> String {
    let mut text = String::from("apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  -\n");
    for line in route.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

/// A route's name that a path can carry.
fn name(text: &str) -> Result<String, String> {
    use crate::router::document::is_name;
    match text {
        "." | ".." => Err("a path cannot carry this name; use `mcpd routes apply`".to_owned()),
        text if is_name(text) => Ok(text.to_owned()),
        _ => Err("a name is 1 to 63 of a-z 0-9 . _ -".to_owned()),
    }
}
