//! What a client tells of itself: metrics through the `metrics` facade, events and spans through
//! `tracing`. Without these features nothing is left of it.
//!
//! Labels are the names of kinds, codes and states; never a topic, an address or a client id.

#![cfg_attr(
    not(all(feature = "metrics", feature = "tracing")),
    allow(
        unused_variables,
        dead_code,
        reason = "what a feature that is off would tell"
    )
)]

use crate::connection::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Link;
use crate::reply::Answer;
use crate::state::{CloseCause, Closed, GoingAway};
use crate::text::Text;
use std::time::Duration;

/// The names of the metrics, which `docs/client.md` lists.
#[cfg(feature = "metrics")]
mod name {
    pub(super) const REQUESTS: &str = "mcpd_client_requests_total";
    pub(super) const SECONDS: &str = "mcpd_client_request_seconds";
    pub(super) const RETRIES: &str = "mcpd_client_retries_total";
    pub(super) const RETRIES_DENIED: &str = "mcpd_client_retries_denied_total";
    pub(super) const TURNED_AWAY: &str = "mcpd_client_turned_away_total";
    pub(super) const NOTIFICATIONS_LOST: &str = "mcpd_client_notifications_lost_total";
    pub(super) const CONFIRMS_DROPPED: &str = "mcpd_client_confirms_dropped_total";
    pub(super) const CONNECTIONS: &str = "mcpd_client_connections";
    pub(super) const CONNECTS: &str = "mcpd_client_connects_total";
    pub(super) const CLOSED: &str = "mcpd_client_connections_closed_total";
    pub(super) const GOAWAYS: &str = "mcpd_client_goaways_total";
    pub(super) const RELOADS_FAILED: &str = "mcpd_client_reloads_failed_total";
    pub(super) const LOOKUPS_FAILED: &str = "mcpd_client_lookups_failed_total";
}

macro_rules! count {
    ($name:ident $(, $key:literal => $value:expr)*) => {
        #[cfg(feature = "metrics")]
        metrics::counter!(name::$name $(, $key => $value)*).increment(1);
    };
}

macro_rules! event {
    ($level:ident, $($rest:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "mcpd_client", $($rest)+);
    };
}

/// Servers choose their words; a log line stays a line.
#[cfg(feature = "tracing")]
fn plain(text: &dyn std::fmt::Display) -> String {
    text.to_string().escape_debug().to_string()
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Connect => "connect",
        ErrorKind::Shutdown => "shutdown",
        ErrorKind::Busy => "busy",
        ErrorKind::Closed => "closed",
        ErrorKind::Protocol => "protocol",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Refused => "refused",
        ErrorKind::Unknown => "unknown",
        ErrorKind::Executed => "executed",
    }
}

/// A call has come to its end.
pub(crate) fn done(result: &Result<Answer>, took: Option<Duration>) {
    let Err(error) = result else {
        // Labels that are known when this is compiled cost no allocation.
        count!(REQUESTS, "outcome" => "ok");
        #[cfg(feature = "metrics")]
        if let Some(took) = took {
            metrics::histogram!(name::SECONDS, "outcome" => "ok").record(took);
        }
        return;
    };
    let outcome = kind(error.kind());
    count!(REQUESTS, "outcome" => outcome);
    #[cfg(feature = "metrics")]
    if let Some(took) = took {
        metrics::histogram!(name::SECONDS, "outcome" => outcome).record(took);
    }
    {
        event!(
            debug,
            attempts = error.attempts(),
            "request failed: {}",
            plain(error)
        );
    }
}

/// Whether the time a call takes is asked for.
pub(crate) const TIMES: bool = cfg!(feature = "metrics");

/// An attempt failed, and another one follows after `pause`.
pub(crate) fn retry(error: &Error, pause: Duration) {
    count!(RETRIES, "reason" => reason(error));
    event!(debug, ?pause, "trying again: {}", plain(error));
}

/// Another attempt would follow, but for the budget.
pub(crate) fn denied(error: &Error) {
    count!(RETRIES_DENIED, "reason" => reason(error));
    event!(
        debug,
        "not trying again, the budget is spent: {}",
        plain(error)
    );
}

/// Codes that have a name, else the kind: a server cannot make up labels.
fn reason(error: &Error) -> &'static str {
    let code = error.code().and_then(mcpd_proto::ErrorCode::name);
    code.unwrap_or_else(|| kind(error.kind()))
}

/// A call found too many waiting.
pub(crate) fn turned_away() {
    count!(TURNED_AWAY);
}

/// Nobody waits for a notification's answer, so its failure shows here alone.
pub(crate) fn notification_lost(error: &Error) {
    count!(NOTIFICATIONS_LOST, "reason" => reason(error));
    event!(warn, "a notification failed: {}", plain(error));
}

/// A CONFIRM found no room.
pub(crate) fn confirm_dropped() {
    count!(CONFIRMS_DROPPED);
}

/// An attempt to connect has ended.
pub(crate) fn dialled(error: Option<&Error>) {
    count!(CONNECTS, "outcome" => if error.is_some() { "failed" } else { "ok" });
    if let Some(error) = error {
        event!(warn, "{}", plain(error));
    }
}

/// A connection is open.
pub(crate) fn opened(connection: &Connection) {
    event!(
        info,
        server = connection.server().server_id.as_deref(),
        "connected"
    );
}

/// A connection has ended.
pub(crate) fn lost(link: &Link, why: &Closed) {
    let cause = match why.cause {
        CloseCause::Local => "local",
        CloseCause::Server => "server",
        CloseCause::GivenUp => "given_up",
        CloseCause::Lost => "lost",
    };
    count!(CLOSED, "cause" => cause);
    let server = || link.connection.server().server_id.as_deref();
    if why.is_orderly() {
        event!(
            info,
            server = server(),
            "disconnected: {}",
            plain(&why.text)
        );
    } else {
        event!(
            warn,
            server = server(),
            "connection lost: {}",
            plain(&why.text)
        );
    }
}

/// A server sent GOAWAY.
pub(crate) fn asked_to_move(link: &Link, why: &GoingAway) {
    use mcpd_proto::GoAwayReason::{MaxAge, Reauthenticate, Rebalance};
    let reason = match why.reason {
        MaxAge => "max_age",
        Rebalance => "rebalance",
        Reauthenticate => "reauthenticate",
        _ => "draining",
    };
    count!(GOAWAYS, "reason" => reason);
    event!(
        info,
        server = link.connection.server().server_id.as_deref(),
        reason,
        "asked to move: {}",
        plain(&why.text)
    );
}

/// A name could not be looked up, and nothing is known of it.
pub(crate) fn unresolved(error: &Error) {
    count!(LOOKUPS_FAILED);
    event!(warn, "{}", plain(error));
}

/// What a file of certificates or a token holds now is of no use, so what it held before is used.
pub(crate) fn kept(what: &'static str, problem: &str) {
    count!(RELOADS_FAILED, "what" => what);
    event!(
        warn,
        what,
        "keeping what was read before: {}",
        plain(&problem)
    );
}

/// How many connections there are, of all clients of the process together.
#[derive(Debug, Default)]
pub(crate) struct Connections([usize; 3]);

impl Connections {
    /// This client has so many now.
    pub(crate) fn set(&mut self, (open, leaving): (usize, usize), dialling: usize) {
        let counts = [open, leaving, dialling];
        #[cfg(feature = "metrics")]
        for ((state, old), new) in STATES.iter().zip(self.0).zip(counts) {
            if old != new {
                let change = new as f64 - old as f64;
                metrics::gauge!(name::CONNECTIONS, "state" => *state).increment(change);
            }
        }
        self.0 = counts;
    }
}

#[cfg(feature = "metrics")]
const STATES: [&str; 3] = ["open", "leaving", "dialling"];

/// The span of a call, to which belongs what happens during it.
#[cfg(feature = "tracing")]
pub(crate) struct Span(tracing::Span);

#[cfg(feature = "tracing")]
impl Span {
    /// `None` where nobody wants it, and then the call need not be moved into it.
    pub(crate) fn of(topic: &Text) -> Option<Span> {
        let span = tracing::debug_span!(
            target: "mcpd_client", "mcp.request", topic = topic.as_str()
        );
        (!span.is_disabled()).then_some(Span(span))
    }

    pub(crate) fn around<F: Future>(self, call: F) -> impl Future<Output = F::Output> {
        tracing::Instrument::instrument(call, self.0)
    }
}

/// Without spans, nothing.
#[cfg(not(feature = "tracing"))]
pub(crate) struct Span;

#[cfg(not(feature = "tracing"))]
impl Span {
    pub(crate) fn of(_: &Text) -> Option<Span> {
        None
    }

    pub(crate) fn around<F: Future>(self, call: F) -> F {
        call
    }
}
