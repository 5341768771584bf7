//! A request as functions see it.

use super::codec::Codecs;
use crate::message::{Call, Peer};
use bytes::Bytes;
use mcpd_proto::topic::Pattern;
use mcpd_proto::{Meta, Qos, Trace};
use std::sync::Arc;
use std::time::Instant;

/// A request that owns what it consists of. [`FromRequest`](super::FromRequest) takes arguments out of
/// it; layers may look at it and change it.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) topic: Box<str>,
    pub(super) pattern: Arc<Pattern>,
    pub(super) body: Bytes,
    meta: Box<[u8]>,
    priority: u8,
    qos: Qos,
    deadline: Instant,
    peer: Arc<Peer>,
    trace: Option<Trace>,
    pub(super) codecs: Arc<Codecs>,
}

impl Request {
    pub(super) fn new(call: &Call<'_>, pattern: &Arc<Pattern>, codecs: &Arc<Codecs>) -> Request {
        // The handler's own span where there is one, else whatever the client said.
        let trace = call
            .span
            .map(|span| span.trace())
            .or_else(|| call.meta.trace());
        Request {
            topic: call.topic.as_str().into(),
            pattern: Arc::clone(pattern),
            body: Bytes::copy_from_slice(call.body),
            meta: call.meta.as_bytes().into(),
            priority: call.priority,
            qos: call.qos,
            deadline: call.deadline(),
            peer: Arc::clone(call.peer),
            trace,
            codecs: Arc::clone(codecs),
        }
    }

    /// The topic, valid by the rules of the protocol.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the client says.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Puts another body in its place.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
    }

    /// Its metadata: HEADERs, CONTENT_TYPE, MESSAGE_ID and the rest.
    pub fn meta(&self) -> Meta<'_> {
        // It was valid when it came.
        Meta::parse(&self.meta).unwrap_or_default()
    }

    /// The first HEADER of this key.
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        let mut headers = self.meta().headers();
        headers
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    /// 0–7, higher is more urgent.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// The least delivery that the client accepts.
    pub fn qos(&self) -> Qos {
        self.qos
    }

    /// When its answer is of no use any more, because the client's patience or the route's timeout is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Who sent it.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The trace context to pass on to whoever is asked on its behalf.
    pub fn trace(&self) -> Option<Trace> {
        self.trace
    }
}
