//! A document as text: YAML to keep, a canonical form in JSON to hash.

use super::shaping::{self, MATCH, SPLIT};
use super::{
    API_VERSION, DEFAULT_TIMEOUT, Document, KIND, PriorityBounds, RateAlgorithm, RateLimitSpec,
    RatePer, RouteSpec, UnknownKeys,
};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

impl Document {
    /// The document in YAML, as [`Document::parse`] reads it. Keys that have their default are
    /// left out; names are written, so that they stay when a topic is changed.
    pub fn to_yaml(&self) -> String {
        let mut out = String::with_capacity(128 + self.routes.len() * 96);
        line(&mut out, "apiVersion", API_VERSION);
        line(&mut out, "kind", KIND);
        line(&mut out, "revision", &self.revision.to_string());
        let requires = self.all_requires();
        if !requires.is_empty() {
            let list: Vec<_> = requires.iter().map(|f| quoted(f)).collect();
            line(&mut out, "requires", &format!("[{}]", list.join(", ")));
        }
        for (key, value) in &self.unknown {
            line(&mut out, &scalar(key), &flow(value));
        }
        if self.routes.is_empty() {
            line(&mut out, "routes", "[]");
        } else {
            out.push_str("routes:\n");
            for route in &self.routes {
                write_route(&mut out, route, "  - ", "    ");
            }
        }
        out
    }

    /// The document as a JSON value, as [`Document::parse`] reads it, with every default written
    /// out and the routes in their order.
    pub fn to_json(&self) -> Json {
        let known = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "revision": self.revision,
            "requires": self.all_requires(),
            "routes": self.routes.iter().map(RouteSpec::to_json).collect::<Vec<_>>(),
        });
        with_unknown(known, &self.unknown)
    }

    /// What is hashed: see [`Document::hash`].
    pub(super) fn canonical(&self) -> String {
        let mut routes: Vec<&RouteSpec> = self.routes.iter().collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        let routes: Vec<_> = routes.into_iter().map(RouteSpec::to_json).collect();
        let mut requires = self.all_requires();
        requires.sort_unstable();
        requires.dedup();
        let known = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "requires": requires,
            "routes": routes,
        });
        flow(&with_unknown(known, &self.unknown))
    }
}

impl RouteSpec {
    /// The route by itself in YAML, without what has its default.
    pub fn to_yaml(&self) -> String {
        let mut out = String::with_capacity(96);
        write_route(&mut out, self, "", "");
        out
    }

    /// The route as a JSON value, with every default written out.
    pub fn to_json(&self) -> Json {
        let mut known = json!({
            "name": self.name,
            "topic": self.pattern.as_str(),
            "qos": self.qos,
            "timeout": humantime::format_duration(self.timeout).to_string(),
            "ordered": self.ordered,
            "priority": with_unknown(
                json!({"min": self.priority.min, "max": self.priority.max}),
                &self.unknown_priority,
            ),
        });
        if let Some(limit) = &self.rate_limit {
            let mut known_limit = json!({"per_second": limit.per_second, "burst": limit.burst});
            // Only where it is not the default: versions that do not know it hash the same.
            if let Some(algorithm) = limit.unusual_algorithm() {
                known_limit["algorithm"] = algorithm.into();
            }
            if let Some(per) = limit.unusual_per() {
                known_limit["per"] = per.into();
            }
            known["rate_limit"] = with_unknown(known_limit, &self.unknown_rate_limit);
        }
        for (key, value) in shaping::target(self)
            .into_iter()
            .chain(shaping::fields(self))
        {
            known[key] = value;
        }
        with_unknown(known, &self.unknown)
    }
}

impl RateLimitSpec {
    fn unusual_algorithm(&self) -> Option<&'static str> {
        let named = RateAlgorithm::ALL.iter();
        named
            .filter(|(algorithm, _)| *algorithm != RateAlgorithm::default())
            .find(|(algorithm, _)| *algorithm == self.algorithm)
            .map(|(_, name)| *name)
    }

    fn unusual_per(&self) -> Option<&'static str> {
        let mut named = RatePer::ALL.iter();
        let found = named.find(|(per, _)| *per == self.per && *per != RatePer::default());
        found.map(|(_, name)| *name)
    }
}

fn with_unknown(mut known: Json, unknown: &UnknownKeys) -> Json {
    if let Json::Object(map) = &mut known {
        for (key, value) in unknown {
            map.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    known
}

fn line(out: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{key}: {value}");
}

/// The name comes first, so `first` leads its line and `rest` all others.
fn write_route(out: &mut String, route: &RouteSpec, first: &str, rest: &str) {
    let mut key = |key: &str, value: &str| {
        let lead = if key == "name" { first } else { rest };
        let space = if value.starts_with('\n') { "" } else { " " };
        let _ = writeln!(out, "{lead}{key}:{space}{value}");
    };
    key("name", &scalar(&route.name));
    key("topic", &scalar(route.pattern.as_str()));
    let (target, fields) = (shaping::target(route), shaping::fields(route));
    for (name, value) in target.iter().chain(&fields) {
        key(name, &shown(name, value, rest));
    }
    if route.qos != 0 {
        key("qos", &route.qos.to_string());
    }
    if route.timeout != DEFAULT_TIMEOUT {
        let timeout = humantime::format_duration(route.timeout).to_string();
        key("timeout", &scalar(&timeout));
    }
    if route.ordered {
        key("ordered", "true");
    }
    if let Some(limit) = &route.rate_limit {
        let (rate, burst) = (limit.per_second.to_string(), limit.burst.to_string());
        let mut known = vec![("per_second", rate), ("burst", burst)];
        known.extend(
            limit
                .unusual_algorithm()
                .map(|name| ("algorithm", name.to_owned())),
        );
        known.extend(limit.unusual_per().map(|name| ("per", name.to_owned())));
        key("rate_limit", &inline(&known, &route.unknown_rate_limit));
    }
    if route.priority != PriorityBounds::default() || !route.unknown_priority.is_empty() {
        let bounds = route.priority;
        let known = [
            ("min", bounds.min.to_string()),
            ("max", bounds.max.to_string()),
        ];
        key("priority", &inline(&known, &route.unknown_priority));
    }
    for (name, value) in &route.unknown {
        key(&scalar(name), &flow(value));
    }
}

/// The value of a shaping key, for behind its colon: what is a list, an item a line.
fn shown(key: &str, value: &Json, lead: &str) -> String {
    match value {
        Json::Array(items) if [SPLIT, MATCH].contains(&key) => {
            let items = items
                .iter()
                .map(|item| format!("\n{lead}  - {}", bare(item)));
            items.collect()
        }
        value => bare(value),
    }
}

/// A value on one line as a person would write it, with sorted keys.
fn bare(value: &Json) -> String {
    match value {
        Json::String(text) => scalar(text),
        Json::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let entries = keys.iter();
            let entries = entries.map(|(key, value)| format!("{}: {}", scalar(key), bare(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        value => flow(value),
    }
}

/// A small mapping on one line.
fn inline(known: &[(&str, String)], unknown: &UnknownKeys) -> String {
    let known = known.iter().map(|(key, value)| format!("{key}: {value}"));
    let unknown = unknown
        .iter()
        .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
    let entries: Vec<_> = known.into_iter().chain(unknown).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A value on one line, with sorted keys: both JSON and YAML.
fn flow(value: &Json) -> String {
    let mut out = String::new();
    write_flow(&mut out, value);
    out
}

fn write_flow(out: &mut String, value: &Json) {
    match value {
        Json::String(text) => out.push_str(&quoted(text)),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                write_flow(out, item);
            }
            out.push(']');
        }
        Json::Object(map) => {
            // Sorted here: whether serde_json sorts depends on a feature anyone may turn on.
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, item)) in keys.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                out.push_str(&quoted(key));
                out.push_str(": ");
                write_flow(out, item);
            }
            out.push('}');
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Bare where no reader can take it for anything but this text, quoted otherwise.
fn scalar(text: &str) -> String {
    let letter_first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    if letter_first && text.bytes().all(safe) && !is_word(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Words that are not text to readers of YAML 1.2 or 1.1.
fn is_word(text: &str) -> bool {
    const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// In double quotes, with the escapes that JSON and YAML share.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Control characters, and what YAML takes for line ends or a byte order mark.
            c if c.is_control()
                || matches!(
                    c,
                    '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
                ) =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
