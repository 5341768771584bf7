//! Where values come from: defaults, file, environment, flags. Each layer is
//! checked for unknown keys by itself, so that a later layer cannot hide a
//! mistake in an earlier one; the `config` crate then lays them over each other.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::config::{ConfigError, FileFormat, Map, Source, Value, ValueKind};

use super::keys::{self, HANDLER_TYPES};
use super::problem::{Problem, ProblemKind, nearest, one_line};
use super::value::show;
// Routes name handlers, so a handler's name is what a route may say.
use crate::router::document::{MAX_NAME_LEN, is_name};

/// Largest configuration file. Real ones have a few KiB; a path that points to
/// a log or a device by mistake must not fill the memory.
const MAX_FILE: u64 = 1 << 20;

/// One source of values, checked against the table of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    leaves: Vec<(Vec<String>, Value)>,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut tree = Map::new();
        for (path, value) in &self.leaves {
            graft(&mut tree, path, value.clone());
        }
        Ok(tree)
    }
}

/// Puts `value` at `path`. Nested by hand, because the `config` crate would
/// take dots in a handler's name for levels.
fn graft(tree: &mut Map<String, Value>, path: &[String], value: Value) {
    let [head, rest @ ..] = path else { return };
    if rest.is_empty() {
        tree.insert(head.clone(), value);
        return;
    }
    let child = tree
        .entry(head.clone())
        .or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
    if let ValueKind::Table(table) = &mut child.kind {
        graft(table, rest, value);
    }
}

/// Lays the layers over each other, later ones on top, and returns the value
/// of every key that has one.
pub(super) fn merge(layers: Vec<Layer>) -> Result<BTreeMap<String, Value>, ConfigError> {
    let mut builder = ::config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let mut flat = BTreeMap::new();
    flatten("", builder.build()?.cache, &mut flat);
    Ok(flat)
}

fn flatten(prefix: &str, value: Value, flat: &mut BTreeMap<String, Value>) {
    match value.kind {
        ValueKind::Table(table) => {
            for (key, child) in table {
                flatten(&join(prefix, &key), child, flat);
            }
        }
        _ => {
            flat.insert(prefix.to_owned(), value);
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    match prefix {
        "" => key.to_owned(),
        prefix => format!("{prefix}.{key}"),
    }
}

/// The built-in values, with the handlers that exist without being configured.
pub(super) fn defaults(hostname: Option<&str>) -> Layer {
    let mut walk = Walk::new(|_: &str| "default".to_owned());
    for doc in keys::plain_docs() {
        if let Some(default) = doc.default {
            walk.text(doc.key.split('.'), default);
        }
    }
    for handler in ["echo", "monitor", "discard"] {
        walk.text(["handlers", handler, "type"].into_iter(), handler);
    }
    let mut layer = walk.layer;
    if let Some(hostname) = hostname.filter(|name| !name.is_empty()) {
        let origin = "environment HOSTNAME".to_owned();
        layer.leaves.push((
            vec!["server_id".to_owned()],
            Value::new(Some(&origin), hostname),
        ));
    }
    layer
}

/// What OpenTelemetry's own variables say, by key.
pub(super) fn opentelemetry(said: &[(&'static str, String, &'static str)]) -> Layer {
    let mut layer = Layer::default();
    for (key, value, name) in said {
        let mut walk = Walk::new(|_: &str| format!("environment {name}"));
        walk.text(key.split('.'), value);
        layer.leaves.append(&mut walk.layer.leaves);
    }
    layer
}

/// The key that a variable would set, had it both underscores. Services of Kubernetes bring variables
/// with one, but none that is a key otherwise.
pub(super) fn almost(name: &str) -> Option<String> {
    let path = name.strip_prefix("MCPD_")?.to_lowercase();
    let path: Vec<String> = path.split("__").map(str::to_owned).collect();
    let is_key = path.len() > 1 && matches!(place(&path), Place::Leaf);
    is_key.then(|| path.join("."))
}

/// Variables that begin with `MCPD__`; all others belong to somebody else. One that was clearly meant
/// is a problem: who believes that principals are named must not serve everybody.
pub(super) fn environment(env: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in env {
        let Some(path) = name.strip_prefix("MCPD__") else {
            problems.extend(almost(name).map(|key| Problem {
                key: String::new(),
                value: None,
                origin: format!("environment {name}"),
                kind: ProblemKind::UnknownKey,
                message: format!(
                    "sets nothing; for {key} write MCPD__{}",
                    key.to_uppercase().replace('.', "__")
                ),
            }));
            continue;
        };
        let path = path.to_lowercase();
        let mut walk = Walk::new(|_: &str| format!("environment {}", one_line(name)));
        walk.text(path.split("__"), value);
        layer.leaves.append(&mut walk.layer.leaves);
        problems.append(&mut walk.problems);
    }
    layer
}

/// One value given on the command line.
pub(super) fn flag(key: &str, value: &str, name: &str, problems: &mut Vec<Problem>) -> Layer {
    let mut walk = Walk::new(|_: &str| format!("flag {name}"));
    match keys::handler_field(key) {
        Some((handler, field)) => walk.text(["handlers", handler, field].into_iter(), value),
        None => walk.text(key.split('.'), value),
    }
    problems.append(&mut walk.problems);
    walk.layer
}

/// A YAML or TOML file. A file that cannot be read is one problem and an
/// empty layer, so that the other layers are still checked.
pub(super) fn file(path: &Path, problems: &mut Vec<Problem>) -> Layer {
    let origin = format!("file {}", path.display());
    let (tree, lines) = match read(path) {
        Ok(read) => read,
        Err(message) => {
            problems.push(Problem {
                key: String::new(),
                value: None,
                origin,
                kind: ProblemKind::File,
                message,
            });
            return Layer::default();
        }
    };
    let mut walk = Walk::new(|key: &str| match lines.get(key) {
        Some(line) => format!("{origin} line {line}"),
        None => origin.clone(),
    });
    walk.value(&mut Vec::new(), Value::new(None, ValueKind::Table(tree)));
    problems.append(&mut walk.problems);
    walk.layer
}

type Tree = (Map<String, Value>, HashMap<String, usize>);

/// Whether nothing is said: everything may have been commented out.
fn is_empty(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
}

fn read(path: &Path) -> Result<Tree, String> {
    let (format, name) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => (FileFormat::Yaml, "YAML"),
        Some("toml") => (FileFormat::Toml, "TOML"),
        _ => return Err("has an unknown extension; name it .yaml, .yml or .toml".to_owned()),
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("is larger than 1MiB; is it the right file?".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    // Some editors begin a file with a byte order mark, which is no part of the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if is_empty(text) {
        return Ok(Tree::default());
    }
    let lines = match format {
        FileFormat::Yaml => super::lines::of_yaml(text)?,
        _ => HashMap::new(),
    };
    let tree = ::config::File::from_str(text, format)
        .collect()
        .map_err(|error| format!("is not valid {name}: {}", syntax_error(&error)))?;
    Ok((tree, lines))
}

/// The parser's message on one line, without the picture that TOML draws.
fn syntax_error(error: &ConfigError) -> String {
    let text = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'))
        .collect();
    lines.join(": ")
}

/// What the table of keys says about a path.
enum Place {
    Section,
    Leaf,
    BadHandlerName,
    Unknown,
}

fn place(path: &[String]) -> Place {
    match path {
        [] => Place::Section,
        [top] if top == "handlers" => Place::Section,
        [top, name] if top == "handlers" => {
            if is_name(name) {
                Place::Section
            } else {
                Place::BadHandlerName
            }
        }
        [top, _, field] if top == "handlers" => match keys::field_doc(field) {
            Some(_) => Place::Leaf,
            None => Place::Unknown,
        },
        [top, _, _, ..] if top == "handlers" => Place::Unknown,
        path => {
            let key = path.join(".");
            if keys::plain_docs().any(|doc| doc.key == key) {
                Place::Leaf
            } else if keys::is_section(&key) {
                Place::Section
            } else {
                Place::Unknown
            }
        }
    }
}

/// Walks one source and sorts what it finds into leaves and problems.
struct Walk<O> {
    origin: O,
    layer: Layer,
    problems: Vec<Problem>,
}

impl<O: Fn(&str) -> String> Walk<O> {
    fn new(origin: O) -> Self {
        Self {
            origin,
            layer: Layer::default(),
            problems: Vec::new(),
        }
    }

    /// A single text value, as variables, flags and defaults have it.
    fn text<'a>(&mut self, path: impl Iterator<Item = &'a str>, value: &str) {
        let path: Vec<String> = path.map(str::to_owned).collect();
        // A variable or flag names its key in full, so every level of it must
        // exist; an unknown section is reported as such.
        for depth in 1..path.len() {
            if !matches!(place(&path[..depth]), Place::Section) {
                return self.misplaced(&path[..depth], &ValueKind::from(value));
            }
        }
        self.value(&mut path.clone(), Value::new(None, value));
    }

    fn value(&mut self, path: &mut Vec<String>, value: Value) {
        match (place(path), value.kind) {
            // `slow: {}` looks like a handler and would silently be none.
            (Place::Section, ValueKind::Table(table)) if path.len() == 2 && table.is_empty() => {
                let origin = (self.origin)(&path.join("."));
                self.problems.push(Problem {
                    key: path.join("."),
                    value: None,
                    origin,
                    kind: ProblemKind::Contradiction,
                    message: "has no keys; give it a type or remove it".to_owned(),
                });
            }
            (Place::Section, ValueKind::Table(table)) => {
                let sorted: BTreeMap<String, Value> = table.into_iter().collect();
                for (key, child) in sorted {
                    path.push(key);
                    self.value(path, child);
                    path.pop();
                }
            }
            // A key without a value, as when all lines below it are commented
            // out, means that nothing is set.
            (Place::Section | Place::Leaf, ValueKind::Nil) => {}
            (Place::Leaf, kind) if !matches!(kind, ValueKind::Table(_) | ValueKind::Array(_)) => {
                let origin = (self.origin)(&path.join("."));
                let steps = steps(path);
                self.layer
                    .leaves
                    .push((steps, Value::new(Some(&origin), kind)));
            }
            (_, kind) => self.misplaced(path, &kind),
        }
    }

    /// Reports a value that cannot stand where it stands.
    fn misplaced(&mut self, path: &[String], value: &ValueKind) {
        let key = path.join(".");
        let (kind, message) = match place(path) {
            Place::Section => (
                ProblemKind::WrongType,
                format!(
                    "is a section, not a value; write its keys below it, such as {}",
                    example(&key)
                ),
            ),
            Place::Leaf => (
                ProblemKind::WrongType,
                "takes a single value; write it right after the key".to_owned(),
            ),
            Place::BadHandlerName => (
                ProblemKind::BadValue,
                format!(
                    "is not a name for a handler; use 1 to {MAX_NAME_LEN} of a-z, 0-9, `.`, `_` and `-`"
                ),
            ),
            Place::Unknown => (ProblemKind::UnknownKey, unknown(path)),
        };
        let shown = match (kind, value) {
            (ProblemKind::WrongType, value) => Some(show(value)),
            _ => None,
        };
        self.problems.push(Problem {
            origin: (self.origin)(&key),
            key: one_line(&key),
            value: shown,
            kind,
            message,
        });
    }
}

/// The levels of a known key, whether it was nested or written with dots.
fn steps(path: &[String]) -> Vec<String> {
    match path {
        [_, _, _] => path.to_vec(),
        path => path.join(".").split('.').map(str::to_owned).collect(),
    }
}

fn example(section: &str) -> String {
    if section.starts_with("handlers") {
        return format!("`type: {}`", HANDLER_TYPES[0]);
    }
    keys::plain_docs()
        .find_map(|doc| {
            let field = doc.key.strip_prefix(section)?.strip_prefix('.')?;
            Some(format!("`{field}: {}`", doc.default.unwrap_or("...")))
        })
        .unwrap_or_else(|| "`key: value`".to_owned())
}

fn unknown(path: &[String]) -> String {
    match suggestion(path) {
        Some(near) => format!("is an unknown key; did you mean `{near}`?"),
        None => {
            "is an unknown key; remove it, or see docs/configuration.md for the keys".to_owned()
        }
    }
}

fn suggestion(path: &[String]) -> Option<String> {
    if let [top, name, field, ..] = path
        && top == "handlers"
    {
        let fields = keys::handler_docs().filter_map(|doc| doc.key.rsplit('.').next());
        return nearest(field, fields).map(|field| format!("handlers.{name}.{field}"));
    }
    let typed = path.join(".");
    // The last level alone is compared within its own section first: a long
    // section name would otherwise make any short key look near.
    let (section, field) = typed.rsplit_once('.').unwrap_or(("", &typed));
    let siblings = keys::plain_docs().filter_map(|doc| {
        let (parent, name) = doc.key.rsplit_once('.').unwrap_or(("", doc.key));
        (parent == section).then_some(name)
    });
    let sections = keys::KEYS
        .iter()
        .filter_map(|doc| Some(doc.key.split_once('.')?.0))
        .filter(|_| section.is_empty());
    if let Some(near) = nearest(field, siblings.chain(sections)) {
        return Some(join(section, near));
    }
    // The right key in the wrong section.
    keys::plain_docs()
        .map(|doc| doc.key)
        .find(|key| key.rsplit('.').next() == Some(field))
        .map(str::to_owned)
}
