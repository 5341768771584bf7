//! What an operator sees of connections: who is there is read off the registry, the rest is asked of
//! each connection by mail, and only of those that are shown.

use super::Dispatch;
use super::core::Core;
use super::mailbox::{Mail, Mailbox};
use super::registry::Registry;
use crate::message::Peer;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

/// How long connections have to tell of themselves, all together: their threads may be busy with a
/// burst of frames, but not for longer than this.
const WITHIN: Duration = Duration::from_secs(1);

/// One open connection.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its id, address and CLIENT_ID.
    pub peer: Arc<Peer>,
    /// When it was accepted.
    pub opened: Instant,
    mailbox: Arc<Mailbox>,
}

/// A connection's own account of itself.
#[derive(Debug, Clone)]
pub struct Described {
    /// `open`, `going_away` (asked to move), `refusing` (no new requests) or `closing`.
    pub phase: &'static str,
    /// Requests that are not answered yet.
    pub in_flight: usize,
    /// Bytes of answers that wait to be written.
    pub outbound_bytes: usize,
    /// Requests so far.
    pub requests: u64,
    /// The interval at which the client promised a sign of life.
    pub heartbeat: Duration,
    /// For how long it has been silent.
    pub silence: Duration,
}

/// Some of the open connections, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The connections.
    pub connections: Vec<Connected>,
    /// Whether there are more behind them.
    pub more: bool,
    /// All that were asked for, on this page or not.
    pub total: usize,
}

impl Registry {
    /// At most `limit` of the connections that `wanted` takes, those with ids above `after`.
    /// Looks at every open connection, without holding up those that come and go.
    pub fn page(&self, after: u64, limit: usize, wanted: impl Fn(&Peer) -> bool) -> Page {
        let all = self.mailboxes().into_iter();
        let connected = all.filter_map(|mailbox| {
            let (peer, opened) = mailbox.peer()?;
            wanted(&peer).then_some(Connected {
                peer,
                opened,
                mailbox,
            })
        });
        let mut connections: Vec<Connected> = connected.collect();
        let total = connections.len();
        connections.retain(|one| one.peer.connection > after);
        connections.sort_unstable_by_key(|one| one.peer.connection);
        let more = connections.len() > limit;
        connections.truncate(limit);
        Page {
            connections,
            more,
            total,
        }
    }
}

impl<D: Dispatch> Core<D> {
    /// `closing` says that the end of the connection has begun.
    pub(super) fn describe(&self, now: Instant, closing: bool) -> Described {
        let phase = match closing {
            true => "closing",
            false if self.session.is_refusing() => "refusing",
            false if self.session.is_going_away() => "going_away",
            false => "open",
        };
        Described {
            phase,
            in_flight: self.session.in_flight(),
            outbound_bytes: self.outbound_len(),
            requests: self.requests,
            heartbeat: self.session.intervals().1,
            silence: self.session.silence(now),
        }
    }
}

/// Asks connections to describe themselves. Within a second there is an answer for each; `None` for
/// one that is gone, or whose thread is busy.
pub async fn describe(connections: &[Connected]) -> Vec<Option<Described>> {
    let asked: Vec<_> = connections
        .iter()
        .map(|one| {
            let (reply, answer) = oneshot::channel();
            one.mailbox.send(Mail::Describe(reply));
            answer
        })
        .collect();
    let by = tokio::time::Instant::now() + WITHIN;
    let mut described = Vec::with_capacity(asked.len());
    for answer in asked {
        let answer = timeout_at(by, answer).await;
        described.push(answer.ok().and_then(Result::ok));
    }
    described
}
