//! Handlers: what routes lead to.

mod builtin;
mod catalog;
mod document;
mod fresh;
mod http;
mod mcp;
#[cfg(feature = "nats")]
mod nats;
mod onward;
mod reach;
mod template;
mod tls;

pub use builtin::{Delay, Discard, Echo, Latency, Monitor, Static};
pub use catalog::Handlers;
pub use document::{Context, Document, Entry, MAX_BYTES as MAX_DOCUMENT_BYTES};
pub(crate) use http::host_and_port;
#[cfg(feature = "nats")]
pub(crate) use http::is_reserved_header;
pub use http::{HashBy, Http, HttpSettings, HttpVersion};
pub use mcp::{Mcp, McpSettings};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsCredentials, NatsMode, NatsSettings};
pub use tls::{TlsFiles, TlsSettings};

use crate::message::{Call, Outcome};
use crate::upstream::Care;
use std::time::Duration;

/// Answers the requests of a route.
///
/// `call` runs on the connection's own thread, between reading and writing: it must not block. What
/// can be answered at once is answered in place; anything that waits is handed back as work, which
/// the connection runs as a task, stops when the client cancels or goes away, and answers with
/// DEADLINE_EXCEEDED when its time is over. A panic answers INTERNAL to that request alone.
///
/// ```
/// use mcpd::handler::Handler;
/// use mcpd::message::{Answer, Call, Outcome};
///
/// /// Answers with the length of the body.
/// struct Length;
///
/// impl Handler for Length {
///     fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
///         Outcome::Now(Answer::json(call.body.len().to_string().into_bytes()))
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Answers, or begins to.
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a>;

    /// Whether it hands requests on to other servers of MCP: then one that has no HOPS left is refused
    /// before it gets here.
    fn forwards(&self) -> bool {
        false
    }

    /// The care for whom it asks, for a handler that reaches out.
    fn upstream(&self) -> Option<&dyn Care> {
        None
    }

    /// The topics that were heard last, at most `limit`, for a handler that remembers them.
    fn topics(&self, limit: usize) -> Vec<TopicSeen> {
        let _ = limit;
        Vec::new()
    }
}

/// What a handler remembers of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSeen {
    /// The topic.
    pub topic: String,
    /// How long ago it was heard.
    pub last_seen: Duration,
    /// How often.
    pub count: u64,
    /// Who sent last: a CLIENT_ID, or an address.
    pub last_client: String,
}
