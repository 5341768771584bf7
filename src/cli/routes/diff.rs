//! `mcpd routes diff`, and what differs between two documents.

use super::{file, live, parse};
use crate::cli::admin::{Admin, Failed};
use crate::cli::exit::Exit;
use crate::cli::output::{Output, settle};
use crate::cli::render;
use crate::router::document::{Document, ParseOptions, RouteSpec};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const EXAMPLES: &str = "Examples:
  mcpd routes diff routes.yaml
  mcpd routes diff routes.yaml --exit-code || echo they differ
  mcpd routes diff - --json < routes.yaml

+ stands before a route that applying the document would add, - before one that it would remove, ~
before one that it would change, with the keys that differ. Nothing is changed.";

/// Arguments of `mcpd routes diff`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiffCommand {
    /// The document, YAML or JSON; - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// End with 1 if there are differences (default: end with 0 either way)
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON object (default: a line for each route that differs)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// What differs between two documents, by the names of their routes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Diff {
    /// Keys of the document itself.
    document: Vec<Field>,
    added: Vec<Route>,
    removed: Vec<Route>,
    changed: Vec<Route>,
}

/// One route, with the keys that matter.
#[derive(Debug, Serialize)]
struct Route {
    name: String,
    fields: Vec<Field>,
}

/// A key and its value on both sides; `null` where it is not.
#[derive(Debug, Serialize)]
struct Field {
    key: String,
    before: Value,
    after: Value,
}

impl Diff {
    pub(super) fn between(before: &Document, after: &Document) -> Diff {
        let (old, new) = (by_name(before), by_name(after));
        let mut diff = Diff {
            document: fields(&top(before), &top(after)),
            ..Diff::default()
        };
        for (name, route) in &new {
            match old.get(name) {
                None => diff
                    .added
                    .push(Route::new(name, fields(&plain(route), &route.to_json()))),
                Some(old) => {
                    let fields = fields(&old.to_json(), &route.to_json());
                    if !fields.is_empty() {
                        diff.changed.push(Route::new(name, fields));
                    }
                }
            }
        }
        for (name, route) in &old {
            if !new.contains_key(name) {
                diff.removed
                    .push(Route::new(name, fields(&route.to_json(), &plain(route))));
            }
        }
        diff
    }

    pub(super) fn is_empty(&self) -> bool {
        let routes = [&self.added, &self.removed, &self.changed];
        self.document.is_empty() && routes.into_iter().all(Vec::is_empty)
    }

    /// A line for each route that differs.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let document = self
            .document
            .iter()
            .map(|field| format!("~ {}", field.change()));
        let added = self.added.iter().map(|route| route.line('+'));
        let changed = self.changed.iter().map(|route| route.line('~'));
        let removed = self.removed.iter().map(|route| route.line('-'));
        document.chain(added).chain(changed).chain(removed)
    }

    /// What is known of this route, for its line.
    pub(super) fn line_of(&self, sign: char, name: &str) -> String {
        let routes = match sign {
            '+' => &self.added,
            '-' => &self.removed,
            _ => &self.changed,
        };
        // They come out of a sorted map.
        match routes.binary_search_by(|route| route.name.as_str().cmp(name)) {
            Ok(at) => routes[at].line(sign),
            Err(_) => format!("{sign} {name}"),
        }
    }
}

impl Route {
    fn new(name: &str, fields: Vec<Field>) -> Route {
        let name = name.to_owned();
        Route { name, fields }
    }

    fn line(&self, sign: char) -> String {
        let fields = self.fields.iter().map(|field| match sign {
            '+' => format!("{}: {}", field.key, text(&field.after)),
            '-' => format!("{}: {}", field.key, text(&field.before)),
            _ => field.change(),
        });
        let fields: Vec<String> = fields.collect();
        render::one_line(&format!("{sign} {}  {}", self.name, fields.join(", ")))
    }
}

impl Field {
    fn change(&self) -> String {
        format!(
            "{}: {} → {}",
            self.key,
            text(&self.before),
            text(&self.after)
        )
    }
}

fn by_name(document: &Document) -> BTreeMap<&str, &RouteSpec> {
    let routes = document.routes.iter();
    routes.map(|route| (route.name.as_str(), route)).collect()
}

/// What a route of this name says if it says nothing, but for what it has to say.
fn plain(route: &RouteSpec) -> Value {
    let mut plain = RouteSpec::new(route.pattern.clone(), "none").to_json();
    if let Value::Object(keys) = &mut plain {
        keys.remove("topic");
        keys.remove("handler");
        keys.insert("name".to_owned(), route.name.as_str().into());
    }
    plain
}

/// The document without its routes. The revision says nothing about them.
fn top(document: &Document) -> Value {
    let mut top = document.unknown.clone();
    top.insert("requires".to_owned(), document.requires.clone().into());
    Value::Object(top)
}

fn fields(before: &Value, after: &Value) -> Vec<Field> {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return Vec::new();
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut keys: Vec<&String> = keys.into_iter().collect();
    keys.sort_by_key(|key| place(key));
    let value = |of: &serde_json::Map<String, Value>, key| of.get(key).cloned().unwrap_or_default();
    let fields = keys.into_iter().map(|key| Field {
        key: key.clone(),
        before: value(old, key),
        after: value(new, key),
    });
    fields.filter(|field| field.before != field.after).collect()
}

/// Where a key stands among others: as in the documentation, unknown ones last.
fn place(key: &str) -> usize {
    const ORDER: [&str; 10] = [
        "topic",
        "handler",
        "split",
        "sticky",
        "match",
        "weight",
        "timeout",
        "min",
        "max",
        "per_second",
    ];
    ORDER
        .iter()
        .position(|known| *known == key)
        .unwrap_or(ORDER.len())
}

/// As one would write it, `none` for what is not there.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Object(keys) => {
            let mut entries: Vec<_> = keys.iter().collect();
            entries.sort_by_key(|(key, _)| place(key));
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| format!("{key}: {}", text(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
        value => value.to_string(),
    }
}

pub(super) fn run(args: &DiffCommand) -> Result<Exit, Failed> {
    let (name, text) = (file::shown(&args.file), file::read(&args.file)?);
    let options = ParseOptions {
        max_bytes: super::MAX_DOCUMENT,
        ..ParseOptions::default()
    };
    let wanted = Document::parse(&text, &options)
        .map_err(|error| super::check::refusal(name, &error.problems))?
        .document;
    let answer = live(&args.admin.open()?)?;
    let current = parse(&answer.body).ok_or_else(|| {
        Failed::foreign("the server's routes cannot be read by this version".to_owned())
    })?;
    let diff = Diff::between(&current, &wanted);
    let exit = match args.exit_code && !diff.is_empty() {
        true => Exit::Executed,
        false => Exit::Ok,
    };
    let output = Output::new();
    let written = match args.json {
        true => output.json(&serde_json::json!({
            "same": diff.is_empty(),
            "etag": answer.etag,
            "changes": diff,
        })),
        false => diff.lines().try_for_each(|line| output.line(&line)),
    };
    Ok(settle(written, exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(routes: &str) -> Document {
        let text =
            format!("apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 3\nroutes: {routes}\n");
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_differs_is_named_by_route_and_key() {
        let before =
            document("[{topic: a, handler: x}, {topic: b, handler: x}, {topic: c, handler: x}]");
        let after = document(
            "[{topic: c, handler: x}, {topic: b, handler: y, rate_limit: {per_second: 5}, priority: {min: 2}}, {topic: d, handler: x, timeout: 5s, colour: red}]",
        );
        let lines: Vec<String> = Diff::between(&before, &after).lines().collect();
        assert_eq!(
            lines,
            [
                "+ d  topic: d, handler: x, timeout: 5s, colour: red",
                "~ b  handler: x → y, priority: {min: 0, max: 7} → {min: 2, max: 7}, \
                 rate_limit: none → {per_second: 5, burst: 5}",
                "- a  topic: a, handler: x",
            ]
        );
    }

    #[test]
    fn order_defaults_and_revision_make_no_difference() {
        let before = document("[{topic: a, handler: x}, {topic: b, handler: x, timeout: 30s}]");
        let mut after =
            document("[{topic: b, handler: x}, {name: a, topic: a, handler: x, qos: 0}]");
        after.revision = 9;
        assert!(Diff::between(&before, &after).is_empty());
    }
}
