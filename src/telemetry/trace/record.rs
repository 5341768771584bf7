//! What is kept of one frame until its spans are built, away from the data path.

use super::super::routes::RouteStats;
use crate::message::{Call, Peer};
use mcpd_proto::{ErrorCode, Kind, Trace};
use smol_str::SmolStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The span of a sampled call while it lives. Whoever runs the handler says when it
/// [starts](CallSpan::start).
#[derive(Debug)]
pub struct CallSpan {
    /// The server's own span.
    pub(super) own: Trace,
    /// The span of the client that asked.
    pub(super) parent: Option<[u8; 8]>,
    pub(super) why: Why,
    handler: [u8; 8],
    /// The handler's name, where the route has several.
    leads_to: OnceLock<Arc<str>>,
    received: Instant,
    /// Nanoseconds since `received`; the greatest number stands for not yet.
    started: AtomicU64,
    finished: AtomicU64,
}

/// Why there is a span at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Ratio,
    Parent,
    Late,
}

impl Why {
    pub(super) fn name(self) -> &'static str {
        match self {
            Why::Ratio => "ratio",
            Why::Parent => "parent",
            Why::Late => "late",
        }
    }
}

const NOT_YET: u64 = u64::MAX;

impl CallSpan {
    pub(super) fn new(
        own: Trace,
        parent: Option<[u8; 8]>,
        why: Why,
        handler: [u8; 8],
        received: Instant,
    ) -> CallSpan {
        CallSpan {
            own,
            parent,
            why,
            handler,
            leads_to: OnceLock::new(),
            received,
            started: AtomicU64::new(NOT_YET),
            finished: AtomicU64::new(NOT_YET),
        }
    }

    /// The handler starts now. The last of several calls counts.
    pub fn start(&self) {
        self.started.store(self.now(), Ordering::Relaxed);
    }

    /// The handler is this one of several.
    pub(crate) fn leads_to(&self, handler: &Arc<str>) {
        // The first choice is the only one.
        let _ = self.leads_to.set(Arc::clone(handler));
    }

    /// The handler's name, if one was chosen.
    pub(super) fn chosen(&self) -> Option<&str> {
        self.leads_to.get().map(|name| &**name)
    }

    /// The handler has not started after all: its work waits.
    pub(super) fn wait(&self) {
        self.started.store(NOT_YET, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        self.finished.store(self.now(), Ordering::Relaxed);
    }

    /// The context of the handler's span, for whatever the handler asks in turn.
    pub fn trace(&self) -> Trace {
        Trace {
            span_id: self.handler,
            ..self.own
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.received.elapsed().as_nanos()).unwrap_or(NOT_YET - 1)
    }

    fn at(&self, since: &AtomicU64) -> Option<Instant> {
        match since.load(Ordering::Relaxed) {
            NOT_YET => None,
            ns => Some(self.received + Duration::from_nanos(ns)),
        }
    }

    pub(super) fn started(&self) -> Option<Instant> {
        self.at(&self.started)
    }

    pub(super) fn finished(&self) -> Option<Instant> {
        self.at(&self.finished)
    }
}

/// A frame, as its spans and its log line tell of it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) received: Instant,
    pub(crate) stats: Arc<RouteStats>,
    /// `None` for a request whose connection nobody knows any more.
    pub(super) peer: Option<Arc<Peer>>,
    pub(in crate::telemetry) kind: Kind,
    /// Most fit into it without an allocation.
    pub(in crate::telemetry) topic: SmolStr,
    pub(in crate::telemetry) body: usize,
    pub(super) priority: u8,
    pub(super) qos: u8,
    /// The context of the answer, and the client's span, where the request had TRACE.
    pub(super) answer: Option<(Trace, [u8; 8])>,
    /// Present when it is sampled.
    pub(crate) span: Option<Arc<CallSpan>>,
    pub(in crate::telemetry) ended: Instant,
    pub(in crate::telemetry) code: Option<ErrorCode>,
}

impl Record {
    /// A request; `answer` is the TRACE that its answer has. Who asked is told when it has [ended](Record::end):
    /// it is the same for all requests of a connection.
    #[inline(always)]
    pub(crate) fn new(call: &Call<'_>, answer: Option<Trace>, stats: &Arc<RouteStats>) -> Record {
        let parent = call.meta.trace().map(|trace| trace.span_id);
        Record {
            received: call.received,
            stats: Arc::clone(stats),
            peer: None,
            kind: Kind::Request,
            topic: call.topic.as_str().into(),
            body: call.body.len(),
            priority: call.priority,
            qos: call.qos as u8,
            answer: answer.zip(parent),
            span: call.span.cloned(),
            ended: call.received,
            code: None,
        }
    }

    /// A frame that is no request, or requests of which only the route is known any more.
    pub(super) fn bare(
        kind: Kind,
        peer: Option<&Arc<Peer>>,
        stats: &Arc<RouteStats>,
        received: Instant,
        ended: Instant,
    ) -> Record {
        Record {
            received,
            stats: Arc::clone(stats),
            peer: peer.cloned(),
            kind,
            topic: "".into(),
            body: 0,
            priority: 0,
            qos: 0,
            answer: None,
            span: None,
            ended,
            code: None,
        }
    }

    /// A request that was refused before its topic was read.
    pub(crate) fn refused(
        stats: &Arc<RouteStats>,
        received: Instant,
        span: Option<Arc<CallSpan>>,
    ) -> Record {
        let mut record = Record::bare(Kind::Request, None, stats, received, received);
        record.span = span;
        record
    }

    /// The same, ended, to be handed on: of most requests nothing is told, and they need no box.
    pub(crate) fn end(
        mut self,
        code: Option<ErrorCode>,
        at: Instant,
        peer: Option<&Arc<Peer>>,
    ) -> Box<Record> {
        (self.code, self.ended, self.peer) = (code, at, peer.cloned());
        Box::new(self)
    }

    /// The context that its span and its log line go by; made up where nobody has asked for one.
    pub(in crate::telemetry) fn context(&self) -> Trace {
        match (&self.span, self.answer) {
            (Some(span), _) => span.own,
            (None, Some((own, _))) => own,
            (None, None) => super::fresh_trace(0),
        }
    }

    /// The connection, 0 when it is not known.
    pub(in crate::telemetry) fn connection(&self) -> u64 {
        self.peer.as_ref().map_or(0, |peer| peer.connection)
    }

    pub(super) fn has_children(&self) -> bool {
        let late = self.span.as_ref().is_none_or(|span| span.why == Why::Late);
        self.kind == Kind::Request && !late
    }

    /// Spans it becomes: the server's, the wait, and the handler's if that was reached.
    pub(super) fn spans(&self) -> u64 {
        let started = self.span.as_ref().and_then(|span| span.started());
        match self.has_children() {
            true => 2 + u64::from(started.is_some()),
            false => 1,
        }
    }
}
