//! The handlers document: what routes may lead to, named once.
//!
//! ```yaml
//! apiVersion: mcpd/v1
//! kind: Handlers
//! revision: 1
//! handlers:
//!   - name: orders
//!     type: http
//!     url: http://orders.shop.svc:8080/v1/{1}/{2..}
//! ```
//!
//! Taken whole or refused whole, with every problem by line and key. Where it is kept is not its business.
//! `docs/handlers.md` has every key.

mod care;
mod endpoints;
mod http;
mod kind;
mod mcp;
#[cfg(feature = "nats")]
mod nats;
#[cfg(test)]
mod tests;
mod tls;
mod value;

use super::Handler;
use crate::router::document::is_name;
use crate::router::document::reading::{self, Field, Fields, Report};
use crate::telemetry::UpstreamCatalog;
use crate::upstream::Services;
use kind::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest document.
pub const MAX_BYTES: usize = 1 << 20;

/// Most handlers of a document: each that reaches out has connections, and series of metrics.
const MAX_HANDLERS: usize = 1000;

/// What routes may lead to. Two are equal if they say the same, at whatever line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// Its author's count of changes.
    pub revision: u64,
    /// The handlers, in their order.
    pub handlers: Vec<Entry>,
}

/// A handler of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// How many requests it works on at a time, and how many may wait for that; `None` for any number, as far
    /// as the server goes.
    pub limits: Option<(usize, usize)>,
    kind: Kind,
}

/// What handlers are made with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where those that reach out count.
    pub upstreams: &'a UpstreamCatalog,
    /// Who knows Services of Kubernetes, where there is one.
    pub services: Option<&'a dyn Services>,
}

impl Document {
    /// Reads a document of YAML or JSON and at most 1 MiB.
    ///
    /// # Errors
    /// Every problem by line and key.
    ///
    /// ```
    /// use mcpd::handler::Document;
    ///
    /// let text = b"{apiVersion: mcpd/v1, kind: Handlers, handlers: [{name: hi, type: static, body: hello}]}";
    /// assert_eq!(Document::parse(text).unwrap().handlers[0].name, "hi");
    /// let error = Document::parse(b"{apiVersion: mcpd/v1, kind: Handlers}").unwrap_err();
    /// assert!(error.contains("handlers: is missing"));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Document, String> {
        let read = reading::whole(text, MAX_BYTES, document);
        let (document, _) = read.map_err(|error| error.to_string())?;
        Ok(document)
    }
}

impl Entry {
    /// The word for what it does.
    pub fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// What operators are shown of it; no secrets.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.kind.settings();
        if let Some((running, waiting)) = self.limits {
            settings.insert("concurrency".to_owned(), running.to_string());
            settings.insert("queue".to_owned(), waiting.to_string());
        }
        settings
    }

    /// Makes the handler. What it reaches is not looked for yet.
    ///
    /// # Errors
    /// What is wrong with the files that it names, or it asks for what the context does not have.
    pub fn build(&self, context: &Context<'_>) -> Result<Arc<dyn Handler>, String> {
        self.kind.build(&self.name, context)
    }
}

fn document(root: Field<'_>, report: &mut Report) -> Option<Document> {
    let known = &["apiVersion", "kind", "revision", "handlers"];
    let fields = Fields::of(root, known, report)?;
    fields.unknown(report);
    for (key, wanted) in [("apiVersion", "mcpd/v1"), ("kind", "Handlers")] {
        if let Some(field) = fields.require(key, report)
            && reading::text(&field, report).is_some_and(|found| found != wanted)
        {
            reading::wrong(&field, &format!("is not {wanted}"), report);
        }
    }
    let revision = fields.get("revision");
    let revision = revision.and_then(|field| reading::number(&field, 0..=u64::MAX, report));
    let list = fields.require("handlers", report)?;
    let items = reading::items(&list, report)?;
    if items.len() > MAX_HANDLERS {
        let message = format!("are too many; at most {MAX_HANDLERS} are taken");
        reading::wrong(&list, &message, report);
        return None;
    }
    let mut handlers: Vec<Entry> = Vec::new();
    for item in items {
        let place = item.place();
        let Some(entry) = entry(item, report) else {
            continue;
        };
        if handlers.iter().any(|other| other.name == entry.name) {
            reading::wrong_at(&place, "has the name of an earlier one", report);
        }
        handlers.push(entry);
    }
    Some(Document {
        revision: revision.unwrap_or(0),
        handlers,
    })
}

fn entry(item: Field<'_>, report: &mut Report) -> Option<Entry> {
    let again = Field {
        node: item.node,
        path: item.path.clone(),
    };
    let head = Fields::of(item, &["name", "type"], report)?;
    let name = head.require("name", report);
    let name = name.and_then(|field| {
        let name = reading::text(&field, report)?;
        if !is_name(name) {
            let message = "is not a name; write 1 to 63 of a-z 0-9 . _ -";
            reading::wrong(&field, message, report);
            return None;
        }
        Some(name.to_owned())
    });
    let word = head.require("type", report)?;
    let (kind, limits) = kind::read(&word, again, report)?;
    Some(Entry {
        name: name?,
        limits,
        kind,
    })
}
