//! Traces: who is sampled ([`sampling`]), what is kept of it on the data path ([`record`], [`queue`]),
//! and, on a thread of its own, what becomes of it ([`spans`], [`export`], [`otlp`]).

mod attempt;
mod export;
mod layer;
mod otlp;
mod queue;
mod record;
mod resource;
mod sampling;
mod spans;

pub(crate) use attempt::Attempt;
pub use export::Spans;
pub(crate) use layer::Traced;
pub(super) use layer::layer;
pub use otlp::{OtlpError, OtlpProtocol, TraceSettings};
pub(crate) use queue::SpanQueue;
pub(super) use queue::{Dropped, register};
pub use record::CallSpan;
pub(crate) use record::Record;
pub(super) use sampling::Budget;
pub use sampling::{Sampling, SamplingError, SamplingSettings};

use super::random::{next_span_id, next_trace_id};
use super::requests::Requests;
use super::routes::{RouteStats, is_fault};
use crate::message::Peer;
use mcpd_proto::{ErrorCode, Kind, Trace};
use queue::Item;
use record::Why;
use sampling::{Rules, SAMPLED};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What connections ask and tell for the sake of traces and of the log lines of single frames.
#[derive(Debug)]
pub(crate) struct Tracer {
    rules: Arc<Rules>,
    /// `None` where spans have nowhere to go; the rules then sample nothing.
    queue: Option<Arc<SpanQueue>>,
    lines: Requests,
}

impl Default for Tracer {
    fn default() -> Tracer {
        Tracer::new(Arc::new(Rules::new()), None)
    }
}

impl Tracer {
    fn new(rules: Arc<Rules>, queue: Option<Arc<SpanQueue>>) -> Tracer {
        Tracer {
            rules,
            queue,
            lines: Requests::default(),
        }
    }

    /// The head decision for a request. `trace` is its TRACE and becomes that of its answer. Gives a
    /// span if the request is sampled.
    #[inline]
    pub(crate) fn head(
        &self,
        trace: &mut Option<Trace>,
        stats: &RouteStats,
        peer: &Peer,
        received: Instant,
    ) -> Option<Arc<CallSpan>> {
        match trace {
            None if !stats.draws() => None,
            _ => self.head_of_some(trace, peer, received),
        }
    }

    /// The same for a request that has TRACE, or was drawn.
    #[cold]
    fn head_of_some(
        &self,
        trace: &mut Option<Trace>,
        peer: &Peer,
        received: Instant,
    ) -> Option<Arc<CallSpan>> {
        let parent = *trace;
        // A trace without an id is none that anybody could be told of.
        let follows = |parent: Trace| {
            parent.trace_id != [0; 16] && self.rules.parent(parent.flags, peer, received)
        };
        let sampled = parent.is_none_or(follows);
        let own = Trace {
            trace_id: parent.map_or_else(next_trace_id, |parent| parent.trace_id),
            span_id: next_span_id(),
            flags: u8::from(sampled),
        };
        if let Some(trace) = trace {
            *trace = own;
        }
        let why = parent.map_or(Why::Ratio, |_| Why::Parent);
        let parent = parent.map(|parent| parent.span_id);
        sampled.then(|| {
            let handler = next_span_id();
            Arc::new(CallSpan::new(own, parent, why, handler, received))
        })
    }

    /// Whether anything but the counts is to be told of a request with this code.
    #[inline]
    pub(crate) fn tells(&self, code: Option<ErrorCode>, is_sampled: bool, verbose: bool) -> bool {
        is_sampled | verbose || code.is_some_and(is_fault)
    }

    /// Whether every frame gets a log line.
    #[inline]
    pub(crate) fn is_verbose(&self) -> bool {
        Requests::is_verbose()
    }

    /// A request was answered: exports its span, and logs it if it failed.
    #[cold]
    pub(crate) fn ended(&self, mut record: Box<Record>) {
        let time = record.ended.saturating_duration_since(record.received);
        let failed = record.code.is_some_and(is_fault);
        let late = record.span.is_none() && (failed || self.rules.is_slow(time));
        if late && self.rules.late.take(record.ended) {
            record.span = Some(Arc::new(late_span(&record)));
        }
        self.lines.ended(&record, failed);
        if record.span.is_some() {
            self.push(record);
        }
    }

    /// Whether a request that took this long deserves a late span for that alone.
    #[inline]
    pub(crate) fn is_slow(&self, time: Duration) -> bool {
        self.rules.is_slow(time)
    }

    /// Requests that were answered in place took this long together. Which of them is to blame is not
    /// known, nor who sent it, so the route has to do.
    #[cold]
    pub(crate) fn slow(
        &self,
        stats: &Arc<RouteStats>,
        code: Option<ErrorCode>,
        received: Instant,
        ended: Instant,
    ) {
        if self.rules.late.take(ended) {
            let mut record =
                Record::bare(Kind::Request, None, stats, received, ended).end(code, ended, None);
            record.span = Some(Arc::new(late_span(&record)));
            self.push(record);
        }
    }

    /// A frame that is no request was taken.
    #[inline]
    pub(crate) fn control(
        &self,
        kind: Option<Kind>,
        peer: &Arc<Peer>,
        stats: &Arc<RouteStats>,
        received: Instant,
        verbose: bool,
    ) {
        if verbose || self.rules.control() {
            self.control_sampled(kind, peer, stats, received, verbose);
        }
    }

    #[cold]
    fn control_sampled(
        &self,
        kind: Option<Kind>,
        peer: &Arc<Peer>,
        stats: &Arc<RouteStats>,
        received: Instant,
        verbose: bool,
    ) {
        let Some(kind) = kind else { return };
        let mut record = Record::bare(kind, Some(peer), stats, received, Instant::now());
        if !verbose || self.rules.control() {
            let trace = fresh_trace(SAMPLED);
            record.span = Some(Arc::new(CallSpan::new(
                trace,
                None,
                Why::Ratio,
                next_span_id(),
                received,
            )));
        }
        self.lines.control(&record);
        if record.span.is_some() {
            self.push(Box::new(record));
        }
    }

    fn push(&self, record: Box<Record>) {
        if let Some(queue) = &self.queue {
            queue.push(Item::Record(record));
        }
    }

    /// Hands the counts to the recorder of the `metrics` facade.
    pub(super) fn publish(&self) {
        if let Some(queue) = &self.queue {
            queue.publish();
        }
    }
}

fn fresh_trace(flags: u8) -> Trace {
    Trace {
        trace_id: next_trace_id(),
        span_id: next_span_id(),
        flags,
    }
}

/// The one span of a request that turned out to be worth one, under the id that its answer told.
fn late_span(record: &Record) -> CallSpan {
    let (own, parent) = match record.answer {
        Some((own, parent)) if own.trace_id != [0; 16] => (own, Some(parent)),
        _ => (fresh_trace(SAMPLED), None),
    };
    CallSpan::new(own, parent, Why::Late, next_span_id(), record.received)
}
