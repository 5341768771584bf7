//! From the tree of nodes to a checked document.

use super::fields::{Field, Fields, Report, boolean, items, text, whole};
use super::problem::{DocumentError, Problem};
use super::shaping;
use super::surrogates;
use super::yaml;
use super::{
    API_VERSION, DEFAULT_TIMEOUT, Document, FEATURES, KIND, Loaded, ParseOptions, PriorityBounds,
    Problems, RATE_RANGE, RateAlgorithm, RateLimitSpec, RatePer, RouteSpec, TIMEOUT_RANGE,
    UnknownKeys, is_name, names,
};
use mcpd_proto::topic::Pattern;
use std::collections::HashMap;
use std::time::Duration;

const DOCUMENT_KEYS: &[&str] = &["apiVersion", "kind", "revision", "requires", "routes"];
const ROUTE_KEYS: &[&str] = &[
    "name",
    "topic",
    "handler",
    "split",
    "sticky",
    "match",
    "rewrite",
    "mirror",
    "fault",
    "qos",
    "timeout",
    "ordered",
    "rate_limit",
    "priority",
];
const RATE_LIMIT_KEYS: &[&str] = &["per_second", "burst", "algorithm", "per"];
const PRIORITY_KEYS: &[&str] = &["min", "max"];

pub(super) fn document(bytes: &[u8], options: &ParseOptions) -> Result<Loaded, DocumentError> {
    let read = |root: Field<'_>, report: &mut Report| Some(top(root, report));
    let (document, warnings) = read_with(bytes, options, read)?;
    Ok(Loaded { document, warnings })
}

pub(super) fn one_route(
    bytes: &[u8],
    name: &str,
    options: &ParseOptions,
) -> Result<(RouteSpec, Problems), DocumentError> {
    read_with(bytes, options, |root, report| {
        let line = root.node.line;
        let mut route = route(root, report)?;
        if route.name.is_empty() {
            name.clone_into(&mut route.name);
        } else if route.name != name {
            let message = format!("is `{}`, but this is `{name}`; leave it out", route.name);
            report.problem(Problem::new(line, "name", message));
        }
        Some(route)
    })
}

/// Reads a text as a tree and hands that to `read`, which may be `None` only with a problem.
pub(super) fn read_with<T>(
    bytes: &[u8],
    options: &ParseOptions,
    read: impl FnOnce(Field<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Problems), DocumentError> {
    let text = readable(bytes, options.max_bytes)?;
    let mut report = Report::new(options.strict);
    let text = surrogates::join(text);
    let found = match yaml::read(&text, &mut report.problems) {
        Ok(root) => {
            let path = String::new();
            let root = Field { node: &root, path };
            read(root, &mut report)
        }
        Err(problem) => {
            report.problem(problem);
            None
        }
    };
    report.problems.sort();
    match found {
        Some(found) if report.problems.is_empty() => Ok((found, report.warnings)),
        _ => Err(DocumentError {
            problems: report.problems,
        }),
    }
}

fn readable(bytes: &[u8], max_bytes: usize) -> Result<&str, Problem> {
    if bytes.len() > max_bytes {
        let len = bytes.len();
        let message = format!("the document has {len} bytes, at most {max_bytes} are read");
        return Err(Problem::new(0, "", message));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        Problem::new(line, "", "the document is not UTF-8; save it as such")
    })
}

/// What cannot be read is reported and replaced by something harmless, so that the rest is looked
/// at, too; a document with a problem is never handed out.
fn top(root: Field<'_>, report: &mut Report) -> Document {
    let Some(fields) = Fields::of(root, DOCUMENT_KEYS, report) else {
        return Document::default();
    };
    constant(&fields, "apiVersion", API_VERSION, report);
    constant(&fields, "kind", KIND, report);
    let revision = fields.get("revision");
    let mut document = Document {
        revision: revision
            .and_then(|f| whole(&f, 0..=u64::MAX, report))
            .unwrap_or(0),
        requires: requires(&fields, report),
        routes: routes(&fields, report),
        unknown: fields.unknown(report),
    };
    let line = fields.get("routes").map_or(0, |f| f.node.line);
    for feature in document.require_used() {
        let message = format!(
            "has no `{feature}`, which the routes use; add it, so that a version that lacks it refuses \
             the document instead of serving it half"
        );
        let warning = Problem::new(line, "requires", message);
        report.warnings.push(warning);
    }
    document
}

fn constant(fields: &Fields<'_>, key: &str, expected: &str, report: &mut Report) {
    let Some(field) = fields.require(key, report) else {
        return;
    };
    if let Some(found) = text(&field, report)
        && found != expected
    {
        report.wrong(
            &field,
            format!("is `{found}`; this version reads `{expected}`"),
        );
    }
}

fn requires(fields: &Fields<'_>, report: &mut Report) -> Vec<String> {
    let list = fields.get("requires").and_then(|f| items(&f, report));
    let mut required = Vec::new();
    for field in list.unwrap_or_default() {
        let Some(feature) = text(&field, report) else {
            continue;
        };
        if !FEATURES.contains(&feature) {
            let message =
                format!("this version of mcpd lacks the feature `{feature}`; it needs a newer one");
            report.wrong(&field, message);
        }
        required.push(feature.to_owned());
    }
    required
}

fn routes(fields: &Fields<'_>, report: &mut Report) -> Vec<RouteSpec> {
    let list = fields.require("routes", report);
    let list = list.and_then(|f| items(&f, report)).unwrap_or_default();
    let mut routes = Vec::with_capacity(list.len());
    // A route that cannot be read is missing from `routes`, so positions are kept apart.
    let mut positions = Vec::with_capacity(list.len());
    let mut first: HashMap<String, u32> = HashMap::with_capacity(list.len());
    for (position, field) in list.into_iter().enumerate() {
        let (path, line) = (field.path.clone(), field.node.line);
        let Some(spec) = route(field, report) else {
            continue;
        };
        if let Some(earlier) = first.insert(spec.pattern.as_str().to_owned(), line) {
            let topic = spec.pattern.as_str();
            let message = format!("the route at line {earlier} has the topic `{topic}`, too");
            report.problem(Problem::new(line, format!("{path}.topic"), message));
            continue;
        }
        positions.push(position);
        routes.push(spec);
    }
    names::assign(&mut routes, &positions, report);
    routes
}

fn route(field: Field<'_>, report: &mut Report) -> Option<RouteSpec> {
    let line = field.node.line;
    let fields = Fields::of(field, ROUTE_KEYS, report)?;
    let named = fields.get("name");
    let name = named.and_then(|f| name(&f, report)).unwrap_or_default();
    let topic = fields.require("topic", report);
    let pattern = topic.and_then(|f| pattern(&f, report));
    let target = shaping::read_target(&fields, report);
    let shape = shaping::shape(&fields, pattern.as_ref(), report);
    let qos = fields.get("qos").and_then(|f| whole(&f, 0..=2, report));
    let timeout = fields.get("timeout").and_then(|f| duration(&f, report));
    let ordered = fields.get("ordered").and_then(|f| boolean(&f, report));
    let limit = fields.get("rate_limit").and_then(|f| rate_limit(f, report));
    let bounds = fields.get("priority").and_then(|f| priority(f, report));
    let unknown = fields.unknown(report);
    let (priority, unknown_priority) = bounds.unwrap_or_default();
    Some(RouteSpec {
        name,
        target: target?,
        pattern: pattern?,
        matches: shape.matches,
        rewrite: shape.rewrite,
        mirror: shape.mirror,
        fault: shape.fault,
        qos: qos.unwrap_or(0),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        ordered: ordered.unwrap_or(false),
        rate_limit: limit.as_ref().map(|(spec, _)| *spec),
        priority,
        line,
        unknown,
        unknown_rate_limit: limit.map(|(_, unknown)| unknown).unwrap_or_default(),
        unknown_priority,
    })
}

pub(super) fn name(field: &Field<'_>, report: &mut Report) -> Option<String> {
    let name = text(field, report)?;
    if is_name(name) {
        return Some(name.to_owned());
    }
    let message = format!("`{}` is not a name; write [a-z0-9._-]{{1,63}}", shown(name));
    report.wrong(field, message);
    None
}

fn pattern(field: &Field<'_>, report: &mut Report) -> Option<Pattern> {
    let topic = text(field, report)?;
    match Pattern::parse(topic) {
        Ok(pattern) if !topic.starts_with('$') => Some(pattern),
        Ok(_) => {
            report.wrong(
                field,
                "topics that start with `$` are kept for the server itself",
            );
            None
        }
        Err(error) => {
            report.wrong(field, error.to_string());
            None
        }
    }
}

/// A duration that a route may have.
pub(super) fn duration(field: &Field<'_>, report: &mut Report) -> Option<Duration> {
    const EXPECTED: &str = "write a duration from 1ms to 1h, such as 500ms or 30s";
    if let yaml::Value::Scalar { text, plain } = &field.node.value
        && let yaml::Meaning::Integer(digits) | yaml::Meaning::Float(digits) =
            yaml::meaning(text, *plain)
    {
        report.wrong(field, format!("`{digits}` has no unit; {EXPECTED}"));
        return None;
    }
    let written = text(field, report)?;
    match humantime::parse_duration(written) {
        Ok(timeout) if TIMEOUT_RANGE.contains(&timeout) => Some(timeout),
        Ok(_) => {
            report.wrong(
                field,
                format!("`{}` is out of range; {EXPECTED}", shown(written)),
            );
            None
        }
        Err(_) => {
            report.wrong(
                field,
                format!("`{}` is no duration; {EXPECTED}", shown(written)),
            );
            None
        }
    }
}

fn rate_limit(field: Field<'_>, report: &mut Report) -> Option<(RateLimitSpec, UnknownKeys)> {
    let fields = Fields::of(field, RATE_LIMIT_KEYS, report)?;
    let unknown = fields.unknown(report);
    let burst = fields.get("burst");
    let burst = burst.and_then(|f| whole(&f, 1..=u32::MAX, report));
    let algorithm = fields.get("algorithm");
    let algorithm = algorithm.and_then(|f| word(&f, &RateAlgorithm::ALL, report));
    let per = fields.get("per");
    let per = per.and_then(|f| word(&f, &RatePer::ALL, report));
    let rate = fields.require("per_second", report);
    let per_second = rate.and_then(|f| whole(&f, RATE_RANGE, report))?;
    let spec = RateLimitSpec {
        per_second,
        burst: burst.unwrap_or(per_second),
        algorithm: algorithm.unwrap_or_default(),
        per: per.unwrap_or_default(),
    };
    Some((spec, unknown))
}

/// One of a few words.
fn word<T: Copy>(field: &Field<'_>, all: &[(T, &str)], report: &mut Report) -> Option<T> {
    let word = text(field, report)?;
    let found = all.iter().find(|(_, name)| *name == word);
    if found.is_none() {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        let names = names.join(" or ");
        report.wrong(field, format!("is `{}`; write {names}", shown(word)));
    }
    found.map(|(meaning, _)| *meaning)
}

fn priority(field: Field<'_>, report: &mut Report) -> Option<(PriorityBounds, UnknownKeys)> {
    let (path, line) = (field.path.clone(), field.node.line);
    let fields = Fields::of(field, PRIORITY_KEYS, report)?;
    let unknown = fields.unknown(report);
    let defaults = PriorityBounds::default();
    let min = fields.get("min").and_then(|f| whole(&f, 0..=7, report));
    let max = fields.get("max").and_then(|f| whole(&f, 0..=7, report));
    let bounds = PriorityBounds {
        min: min.unwrap_or(defaults.min),
        max: max.unwrap_or(defaults.max),
    };
    if bounds.min > bounds.max {
        let (min, max) = (bounds.min, bounds.max);
        let message = format!("min ({min}) is above max ({max}); swap them");
        report.problem(Problem::new(line, path, message));
    }
    Some((bounds, unknown))
}

/// A value that goes into a message: cut, and without characters that move a terminal's cursor.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        cut.push('…');
    }
    cut
}
