//! The types of handlers, and the keys that each has.

use super::endpoints::discover;
#[cfg(feature = "nats")]
use super::nats;
use super::value::{duration, number, parsed};
use super::{Context, http, mcp, value};
#[cfg(feature = "nats")]
use crate::handler::NatsSettings;
use crate::handler::{self, Handler, Http, HttpSettings, McpSettings};
use crate::router::document::reading::{self, Field, Fields, Report};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a handler does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Echo,
    Discard,
    Monitor {
        max_topics: usize,
    },
    Static {
        body: String,
        content_type: Option<String>,
    },
    Delay {
        latency: handler::Latency,
        failure_percent: u8,
    },
    Http(Box<HttpSettings>),
    Mcp(Box<McpSettings>),
    #[cfg(feature = "nats")]
    Nats(Box<NatsSettings>),
}

const NAMES: &str = "echo, discard, monitor, static, delay, http, mcp or nats";

/// The topics that a monitor remembers.
const MAX_TOPICS: u32 = 10_000;

/// Requests that wait for a handler with a limit.
const QUEUE: u32 = 1000;

/// What a handler does, and how much of it at a time.
type Read = (Kind, Option<(usize, usize)>);

/// Reads the keys of the type that `word` names.
pub(super) fn read(word: &Field<'_>, item: Field<'_>, report: &mut Report) -> Option<Read> {
    let kind = reading::text(word, report)?;
    let known: &[&str] = match kind {
        "echo" | "discard" => &["name", "type"],
        "monitor" => &["name", "type", "max_topics"],
        "static" => &["name", "type", "body", "content_type"],
        "delay" => &[
            "name",
            "type",
            "latency",
            "failure_percent",
            "concurrency",
            "queue",
        ],
        "http" => http::KEYS,
        "mcp" => mcp::KEYS,
        #[cfg(feature = "nats")]
        "nats" => nats::KEYS,
        #[cfg(not(feature = "nats"))]
        "nats" => {
            let message = "is not built into this server; use one with the feature `nats`";
            reading::wrong(word, message, report);
            return None;
        }
        _ => {
            let message = format!("is not a type of handler; write {NAMES}");
            reading::wrong(word, &message, report);
            return None;
        }
    };
    let fields = Fields::of(item, known, report)?;
    fields.unknown(report);
    let limits = limits(&fields, report);
    let read = match kind {
        "echo" => Kind::Echo,
        "discard" => Kind::Discard,
        "monitor" => Kind::Monitor {
            max_topics: number(&fields, "max_topics", 1..=1_000_000, report).unwrap_or(MAX_TOPICS)
                as usize,
        },
        "static" => fixed(&fields, report)?,
        "delay" => Kind::Delay {
            latency: handler::Latency::Fixed(
                duration(&fields, "latency", report).unwrap_or_default(),
            ),
            failure_percent: number(&fields, "failure_percent", 0..=100, report).unwrap_or(0) as u8,
        },
        "mcp" => Kind::Mcp(Box::new(mcp::read(&fields, report)?)),
        #[cfg(feature = "nats")]
        "nats" => Kind::Nats(Box::new(nats::read(&fields, report)?)),
        _ => Kind::Http(Box::new(http::read(&fields, report)?)),
    };
    Some((read, limits))
}

fn limits(fields: &Fields<'_>, report: &mut Report) -> Option<(usize, usize)> {
    let running = number(fields, "concurrency", 1..=1_000_000, report);
    let waiting = number(fields, "queue", 0..=1_000_000, report);
    if running.is_none()
        && let Some(field) = fields.get("queue")
    {
        let message = "does nothing without concurrency; set both";
        reading::wrong(&field, message, report);
    }
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Some((count(running?), count(waiting.unwrap_or(QUEUE))))
}

fn fixed(fields: &Fields<'_>, report: &mut Report) -> Option<Kind> {
    let text = |text: &str| Ok(text.to_owned());
    let content_type = parsed(fields, "content_type", text, report);
    let body = fields.require("body", report)?;
    let body = value::of_text(&body, text, report)?;
    Some(Kind::Static { body, content_type })
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Echo => "echo",
            Kind::Discard => "discard",
            Kind::Monitor { .. } => "monitor",
            Kind::Static { .. } => "static",
            Kind::Delay { .. } => "delay",
            Kind::Http(_) => "http",
            Kind::Mcp(_) => "mcp",
            #[cfg(feature = "nats")]
            Kind::Nats(_) => "nats",
        }
    }

    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let shown = match self {
            Kind::Http(http) => http::shown(http),
            Kind::Mcp(mcp) => mcp::shown(mcp),
            #[cfg(feature = "nats")]
            Kind::Nats(nats) => nats::shown(nats),
            Kind::Monitor { max_topics } => vec![("max_topics", max_topics.to_string())],
            _ => Vec::new(),
        };
        let shown = shown.into_iter();
        shown.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    pub(super) fn build(
        &self,
        name: &str,
        context: &Context<'_>,
    ) -> Result<Arc<dyn Handler>, String> {
        let (upstreams, services) = (context.upstreams, context.services);
        Ok(match self {
            Kind::Echo => Arc::new(handler::Echo),
            Kind::Discard => Arc::new(handler::Discard),
            Kind::Monitor { max_topics } => Arc::new(handler::Monitor::new(*max_topics)),
            Kind::Static { body, content_type } => Arc::new(handler::Static {
                body: Bytes::from(body.clone()),
                content_type: content_type.clone(),
            }),
            Kind::Delay {
                latency,
                failure_percent,
            } => Arc::new(handler::Delay::new(*latency, *failure_percent)),
            Kind::Http(settings) => {
                let hosts = || settings.hosts();
                let found = discover(settings.service.as_ref(), hosts, services)?;
                let stats = upstreams.enter(name);
                Arc::new(Http::with_endpoints(
                    name,
                    (**settings).clone(),
                    stats,
                    found,
                )?)
            }
            Kind::Mcp(settings) => {
                let hosts = || settings.endpoints.clone();
                let found = discover(settings.service.as_ref(), hosts, services)?;
                let stats = upstreams.enter(name);
                let mcp = handler::Mcp::with_endpoints(name, (**settings).clone(), stats, found);
                mcp.load()?;
                Arc::new(mcp)
            }
            #[cfg(feature = "nats")]
            Kind::Nats(settings) => {
                let stats = upstreams.enter(name);
                Arc::new(handler::Nats::new((**settings).clone(), stats))
            }
        })
    }
}
