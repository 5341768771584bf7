//! Typed reading of a mapping's keys, with a report of everything that is wrong.

use super::UnknownKeys;
use super::problem::{Problem, Problems};
use super::yaml::{Entry, Meaning, Node, Value, meaning};
use serde_json::Value as Json;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// What has been found so far.
pub(crate) struct Report {
    pub(crate) problems: Problems,
    pub(crate) warnings: Problems,
    strict: bool,
}

impl Report {
    pub(crate) fn new(strict: bool) -> Report {
        Report {
            problems: Problems::default(),
            warnings: Problems::default(),
            strict,
        }
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn wrong(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.problem(Problem::new(field.node.line, field.path.as_str(), message));
    }
}

/// One value and how its key is called in messages.
pub(crate) struct Field<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
}

impl Field<'_> {
    /// Line and path.
    pub(crate) fn place(&self) -> (u32, String) {
        (self.node.line, self.path.clone())
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::Sequence(_))
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }
}

/// A mapping of which certain keys are known.
pub(crate) struct Fields<'n> {
    path: String,
    line: u32,
    entries: &'n [Entry],
    known: &'static [&'static str],
}

impl<'n> Fields<'n> {
    /// Reports anything that is not a mapping.
    pub(crate) fn of(
        field: Field<'n>,
        known: &'static [&'static str],
        report: &mut Report,
    ) -> Option<Fields<'n>> {
        let Value::Mapping(entries) = &field.node.value else {
            let keys = known.join(", ");
            let found = describe(field.node);
            report.wrong(&field, format!("is {found}; write a mapping with {keys}"));
            return None;
        };
        Some(Fields {
            line: field.node.line,
            path: field.path,
            entries,
            known,
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<Field<'n>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let path = self.path_of(key);
        Some(Field {
            node: &entry.value,
            path,
        })
    }

    /// Reports the key if it is not there.
    pub(crate) fn require(&self, key: &str, report: &mut Report) -> Option<Field<'n>> {
        let found = self.get(key);
        if found.is_none() {
            report.problem(self.problem_at(key, "is missing"));
        }
        found
    }

    /// A problem with a key that is not there.
    pub(crate) fn problem_at(&self, key: &str, message: &str) -> Problem {
        Problem::new(self.line, self.path_of(key), message)
    }

    /// The keys that are not known: warned of (or refused), and kept.
    pub(crate) fn unknown(&self, report: &mut Report) -> UnknownKeys {
        let mut kept = UnknownKeys::new();
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let path = self.path_of(&entry.key);
            let mut message = "is not a key that this version knows".to_owned();
            if let Some(meant) = near_miss(&entry.key, self.known) {
                message.push_str(&format!("; did you mean `{meant}`?"));
            } else if report.strict {
                message.push_str("; remove it");
            } else {
                message.push_str("; it is kept, but does nothing");
            }
            let problem = Problem::new(entry.line, path.as_str(), message);
            if report.strict {
                report.problem(problem);
            } else {
                report.warnings.push(problem);
            }
            if let Some(value) = json(&entry.value, &path, report) {
                kept.insert(entry.key.clone(), value);
            }
        }
        kept
    }

    /// Refuses keys that are not known, where leaving one out would change what the others mean.
    pub(crate) fn refuse_unknown(&self, report: &mut Report) {
        let entries = self.entries.iter();
        for entry in entries.filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let meant = near_miss(&entry.key, self.known);
            let known = self.known.join(", ");
            let message = match meant {
                Some(meant) => format!("is not known here; did you mean `{meant}`?"),
                None => format!("is not known here; there are: {known}"),
            };
            report.problem(Problem::new(entry.line, self.path_of(&entry.key), message));
        }
    }

    fn path_of(&self, key: &str) -> String {
        let dot = if self.path.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.path, key.escape_debug())
    }
}

/// The keys of a mapping whose keys are anybody's, with their values.
pub(crate) fn entries<'n>(
    field: &Field<'n>,
    report: &mut Report,
) -> Option<Vec<(&'n str, Field<'n>)>> {
    let Value::Mapping(entries) = &field.node.value else {
        let found = describe(field.node);
        report.wrong(field, format!("is {found}; write a mapping"));
        return None;
    };
    let entry = |entry: &'n Entry| {
        let path = format!("{}.{}", field.path, entry.key.escape_debug());
        let node = &entry.value;
        (entry.key.as_str(), Field { node, path })
    };
    Some(entries.iter().map(entry).collect())
}

/// The items of a sequence.
pub(crate) fn items<'n>(field: &Field<'n>, report: &mut Report) -> Option<Vec<Field<'n>>> {
    let Value::Sequence(nodes) = &field.node.value else {
        let found = describe(field.node);
        report.wrong(
            field,
            format!("is {found}; write a list, `[]` for an empty one"),
        );
        return None;
    };
    let item = |(i, node)| Field {
        node,
        path: format!("{}[{i}]", field.path),
    };
    Some(nodes.iter().enumerate().map(item).collect())
}

/// A string; what YAML takes for something else is to be quoted.
pub(crate) fn text<'n>(field: &Field<'n>, report: &mut Report) -> Option<&'n str> {
    let Value::Scalar { text, plain } = &field.node.value else {
        let found = describe(field.node);
        report.wrong(field, format!("is {found}; write a text"));
        return None;
    };
    match meaning(text, *plain) {
        Meaning::Text(text) => return Some(text),
        Meaning::Null if text.is_empty() => {
            let message = "is empty; give it a value, in quotes if it starts with `#`";
            report.wrong(field, message);
        }
        _ => {
            let found = describe(field.node);
            report.wrong(
                field,
                format!("`{text}` is {found} in YAML; quote it: \"{text}\""),
            );
        }
    }
    None
}

/// A whole number within `range`.
pub(crate) fn whole<T>(
    field: &Field<'_>,
    range: RangeInclusive<T>,
    report: &mut Report,
) -> Option<T>
where
    T: TryFrom<u64> + PartialOrd + Display,
{
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let Value::Scalar { text, plain } = &field.node.value else {
        report.wrong(
            field,
            format!("is {}; write {expected}", describe(field.node)),
        );
        return None;
    };
    let Meaning::Integer(digits) = meaning(text, *plain) else {
        let found = describe(field.node);
        let hint = if *plain { "" } else { " without quotes" };
        report.wrong(
            field,
            format!("`{text}` is {found}; write {expected}{hint}"),
        );
        return None;
    };
    let value = integer(digits).and_then(|n| u64::try_from(n).ok());
    match value.and_then(|n| T::try_from(n).ok()) {
        Some(n) if range.contains(&n) => Some(n),
        _ => {
            report.wrong(
                field,
                format!("`{digits}` is out of range; write {expected}"),
            );
            None
        }
    }
}

/// `true` or `false`.
pub(crate) fn boolean(field: &Field<'_>, report: &mut Report) -> Option<bool> {
    if let Value::Scalar { text, plain } = &field.node.value
        && let Meaning::Bool(value) = meaning(text, *plain)
    {
        return Some(value);
    }
    let message = match &field.node.value {
        Value::Scalar { text, .. } => {
            let lower = text.to_ascii_lowercase();
            let meant = match lower.as_str() {
                "yes" | "on" | "y" | "true" | "1" => "true",
                "no" | "off" | "n" | "false" | "0" => "false",
                _ => "true or false",
            };
            format!("`{text}` is {}; write {meant}", describe(field.node))
        }
        _ => format!("is {}; write true or false", describe(field.node)),
    };
    report.wrong(field, message);
    None
}

fn describe(node: &Node) -> &'static str {
    match &node.value {
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Scalar { text, plain } => match meaning(text, *plain) {
            Meaning::Null => "empty",
            Meaning::Bool(_) => "a truth value",
            Meaning::Integer(_) | Meaning::Float(_) => "a number",
            Meaning::Text(_) => "a text",
        },
    }
}

fn integer(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i128::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

/// The value of a field, whatever it is.
pub(crate) fn anything(field: &Field<'_>, report: &mut Report) -> Option<Json> {
    json(field.node, &field.path, report)
}

/// The value of an unknown key, so that it can be written again. Depth is bounded by the reader.
fn json(node: &Node, path: &str, report: &mut Report) -> Option<Json> {
    match &node.value {
        Value::Sequence(nodes) => {
            let item = |(i, node)| json(node, &format!("{path}[{i}]"), report);
            nodes.iter().enumerate().map(item).collect()
        }
        Value::Mapping(entries) => {
            let mut map = UnknownKeys::new();
            for entry in entries {
                let path = format!("{path}.{}", entry.key.escape_debug());
                let value = json(&entry.value, &path, report)?;
                map.insert(entry.key.clone(), value);
            }
            Some(Json::Object(map))
        }
        Value::Scalar { text, plain } => {
            let value = scalar(text, *plain);
            if value.is_none() {
                let message = format!("`{text}` fits no 64-bit number; quote it");
                report.problem(Problem::new(node.line, path, message));
            }
            value
        }
    }
}

fn scalar(text: &str, plain: bool) -> Option<Json> {
    Some(match meaning(text, plain) {
        Meaning::Null => Json::Null,
        Meaning::Bool(value) => Json::Bool(value),
        Meaning::Text(text) => Json::String(text.to_owned()),
        Meaning::Integer(digits) => {
            let value = integer(digits)?;
            let signed = i64::try_from(value).ok().map(Json::from);
            signed.or_else(|| u64::try_from(value).ok().map(Json::from))?
        }
        Meaning::Float(digits) => Json::from(serde_json::Number::from_f64(digits.parse().ok()?)?),
    })
}

/// The known key that was probably meant: the same but for case and dividers, or two slips away.
fn near_miss(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let folded = |key: &str| key.replace(['-', '_'], "").to_ascii_lowercase();
    let key = folded(key);
    let distance = |meant: &&'static str| slips(&key, &folded(meant));
    let best = *known.iter().min_by_key(|meant| distance(meant))?;
    // Short words are two slips away from anything.
    let allowed = if key.len() <= 4 { 1 } else { 2 };
    (distance(&best) <= allowed).then_some(best)
}

/// Edit distance, where swapped neighbours count as one. What is far off by its length alone is not
/// measured: a document may have tens of thousands of long keys that nobody knows.
fn slips(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    strsim::osa_distance(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised() {
        let known = &["name", "topic", "timeout", "rate_limit", "qos"];
        for (key, meant) in [
            ("timout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("timeuot", Some("timeout")),
            ("rateLimit", Some("rate_limit")),
            ("rate-limits", Some("rate_limit")),
            ("QoS", Some("qos")),
            ("topics", Some("topic")),
            ("x", None),
            ("description", None),
        ] {
            assert_eq!(near_miss(key, known), meant, "{key}");
        }
    }

    #[test]
    fn numbers_of_unknown_keys_are_kept_exactly_or_refused() {
        assert_eq!(
            scalar("18446744073709551615", true),
            Some(Json::from(u64::MAX))
        );
        assert_eq!(scalar("-0x1", true), Some(Json::from("-0x1")));
        assert_eq!(scalar("0x10", true), Some(Json::from(16)));
        assert_eq!(scalar("1.5", true), Some(Json::from(1.5)));
        assert_eq!(scalar("18446744073709551616", true), None);
        assert_eq!(scalar(".nan", true), None);
        assert_eq!(scalar("1e999", true), None);
    }
}
