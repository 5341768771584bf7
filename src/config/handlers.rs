//! The `handlers` section: which fields belong to which type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::build::Settings;
use super::keys::{self, HANDLER_TYPES, MAX_STATIC_BODY};
use super::problem::ProblemKind;
use super::validated::{HandlerConfig, Latency, StaticBody};
use super::value::{parse, show_duration};
use ::config::ValueKind;

/// Builds all handlers; those with problems are left out.
pub(super) fn build(s: &mut Settings) -> BTreeMap<String, HandlerConfig> {
    let names: BTreeSet<String> = s
        .keys()
        .filter_map(keys::handler_field)
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut handlers = BTreeMap::new();
    for name in names {
        let before = s.problems.len();
        let handler = Handler { name: &name, s };
        if let Some(built) = handler.build()
            && s.problems.len() == before
        {
            handlers.insert(name, built);
        }
    }
    handlers
}

struct Handler<'a> {
    name: &'a str,
    s: &'a mut Settings,
}

impl Handler<'_> {
    fn key(&self, field: &str) -> String {
        format!("handlers.{}.{field}", self.name)
    }

    fn is_set(&self, field: &str) -> bool {
        self.s.is_set(&self.key(field))
    }

    fn contradiction(&mut self, field: &str, message: String) {
        let key = self.key(field);
        self.s.problem(&key, ProblemKind::Contradiction, message);
    }

    fn build(mut self) -> Option<HandlerConfig> {
        let kind = self.kind()?;
        self.refuse_foreign_fields(kind);
        match kind {
            "echo" => Some(HandlerConfig::Echo),
            "discard" => Some(HandlerConfig::Discard),
            "monitor" => Some(HandlerConfig::Monitor {
                max_topics: self.number("max_topics"),
            }),
            "static" => self.fixed(),
            _ => self.delay(),
        }
    }

    fn kind(&mut self) -> Option<&'static str> {
        let key = self.key("type");
        if self.s.is_misfit(&key) {
            return None;
        }
        if !self.s.is_set(&key) {
            // Blame a field that is there: it says where the handler came from.
            let given = self.given_fields();
            let blamed = given.first()?;
            let types = HANDLER_TYPES.join("`, `");
            let message =
                format!("belongs to a handler without a type; set {key} to one of `{types}`");
            self.contradiction(blamed, message);
            return None;
        }
        Some(self.s.word(&key))
    }

    fn given_fields(&self) -> Vec<&'static str> {
        keys::handler_docs()
            .filter_map(|doc| doc.key.rsplit('.').next())
            .filter(|field| self.is_set(field))
            .collect()
    }

    fn refuse_foreign_fields(&mut self, kind: &str) {
        for field in self.given_fields() {
            let owner = keys::field_doc(field).and_then(|doc| doc.handler);
            if let Some(owner) = owner
                && owner != kind
            {
                let of = self.s.origin(&self.key("type"));
                let message = format!(
                    "belongs to handlers of type `{owner}`, and this one is `{kind}` ({of}); \
                     remove it or change the type"
                );
                self.contradiction(field, message);
            }
        }
    }

    /// The field's number, or its default if it is not set.
    fn number<T: TryFrom<u64> + Default>(&self, field: &str) -> T {
        let key = self.key(field);
        if self.s.is_set(&key) {
            return self.s.number(&key);
        }
        match default(field) {
            Some(super::value::Parsed::Number(n)) => T::try_from(n).unwrap_or_default(),
            _ => T::default(),
        }
    }

    fn fixed(&mut self) -> Option<HandlerConfig> {
        let body = match (self.is_set("body"), self.is_set("body_file")) {
            (true, true) => {
                let message = "is given beside body; keep one of the two".to_owned();
                self.contradiction("body_file", message);
                return None;
            }
            (false, false) => {
                let message = "is `static` and has no answer; set body or body_file".to_owned();
                self.contradiction("type", message);
                return None;
            }
            (true, false) => StaticBody::Inline(self.s.text(&self.key("body"))?),
            (false, true) => {
                let path = self.s.path(&self.key("body_file"))?;
                self.check_file(&path);
                StaticBody::File(path)
            }
        };
        Some(HandlerConfig::Static {
            body,
            content_type: self.s.text(&self.key("content_type")),
        })
    }

    /// Finds out now what would otherwise fail after the ports are open.
    fn check_file(&mut self, path: &Path) {
        let message = match std::fs::metadata(path) {
            Err(error) => format!("cannot be read: {error}"),
            Ok(meta) if !meta.is_file() => "is not a regular file; name one".to_owned(),
            Ok(meta) if meta.len() > MAX_STATIC_BODY => {
                format!("has {} bytes; at most 1MiB is allowed", meta.len())
            }
            Ok(_) => return,
        };
        let key = self.key("body_file");
        self.s.problem(&key, ProblemKind::File, message);
    }

    fn delay(&mut self) -> Option<HandlerConfig> {
        let concurrency = match self.number("concurrency") {
            0 => None,
            many => Some(many),
        };
        if concurrency.is_none() && self.is_set("queue") {
            let message = "does nothing without concurrency; set both".to_owned();
            self.contradiction("queue", message);
        }
        Some(HandlerConfig::Delay {
            latency: self.latency()?,
            failure_percent: self.number("failure_percent"),
            concurrency,
            queue: self.number("queue"),
        })
    }

    fn latency(&mut self) -> Option<Latency> {
        let given = ["latency", "min", "max"].map(|field| self.is_set(field));
        let (field, message) = match given {
            [true, false, false] => {
                return Some(Latency::Fixed(self.s.duration(&self.key("latency"))));
            }
            [false, false, false] => {
                return match default("latency") {
                    Some(super::value::Parsed::Duration(span)) => Some(Latency::Fixed(span)),
                    _ => None,
                };
            }
            [false, true, true] => return self.uniform(),
            [false, true, false] => ("min", "is given without max; set both"),
            [false, false, true] => ("max", "is given without min; set both"),
            [true, ..] => (
                "latency",
                "is given beside min or max; keep latency, or min and max",
            ),
        };
        self.contradiction(field, message.to_owned());
        None
    }

    fn uniform(&mut self) -> Option<Latency> {
        let (low, high) = (self.key("min"), self.key("max"));
        if self.s.is_misfit(&low) || self.s.is_misfit(&high) {
            return None;
        }
        let (min, max) = (self.s.duration(&low), self.s.duration(&high));
        if min > max {
            let message = format!(
                "is more than {high} = {} ({}); swap them",
                show_duration(max),
                self.s.origin(&high)
            );
            self.contradiction("min", message);
            return None;
        }
        Some(Latency::Uniform { min, max })
    }
}

fn default(field: &str) -> Option<super::value::Parsed> {
    let doc = keys::field_doc(field)?;
    parse(doc.kind, &ValueKind::from(doc.default?)).ok()
}
