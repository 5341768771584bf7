//! From a record to the spans of OpenTelemetry.

use super::record::{Record, Why};
use mcpd_proto::{ErrorCode, Kind};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The version of the semantic conventions that attributes follow.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Turns records into spans. The clock of the process is compared with the time of day once for each
/// batch, so that spans follow when the latter is set.
pub(super) struct SpanBuilder {
    now: Instant,
    time: SystemTime,
    scope: InstrumentationScope,
}

impl SpanBuilder {
    pub(super) fn new() -> SpanBuilder {
        let scope = InstrumentationScope::builder("mcpd")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        SpanBuilder {
            now: Instant::now(),
            time: SystemTime::now(),
            scope,
        }
    }

    /// Compares the clocks again.
    pub(super) fn adjust(&mut self) {
        (self.now, self.time) = (Instant::now(), SystemTime::now());
    }

    /// Appends the spans of a record, the server's first.
    pub(super) fn build(&self, mut record: Box<Record>, out: &mut Vec<SpanData>) {
        let Some(span) = record.span.clone() else {
            return;
        };
        let name = match record.kind {
            Kind::Request => Cow::Owned(format!("process {}", record.stats.name)),
            kind => Cow::Borrowed(kind.name()),
        };
        let mut server = self.span(
            &record,
            span.own.span_id,
            name,
            record.received,
            record.ended,
        );
        server.span_kind = SpanKind::Server;
        if let Some(parent) = span.parent {
            server.parent_span_id = SpanId::from_bytes(parent);
            server.parent_span_is_remote = true;
        }
        server.attributes = attributes(&mut record, span.why);
        server.status = status(record.code);
        out.push(server);
        if record.has_children() {
            self.children(&record, out);
        }
    }

    /// The wait for the handler, and the handler, if it was reached.
    fn children(&self, record: &Record, out: &mut Vec<SpanData>) {
        let Some(span) = &record.span else { return };
        let own = SpanId::from_bytes(span.own.span_id);
        let started = span.started();
        let id = super::next_span_id();
        let waited_until = started.unwrap_or(record.ended);
        let mut queue = self.span(record, id, "queue".into(), record.received, waited_until);
        queue.parent_span_id = own;
        out.push(queue);
        let Some(started) = started else { return };
        let ended = span.finished().unwrap_or(record.ended);
        let handler = span.chosen().unwrap_or(&record.stats.handler);
        let name = format!("handle {handler}");
        let id = span.trace().span_id;
        let mut handler = self.span(record, id, name.into(), started, ended);
        handler.parent_span_id = own;
        handler.status = match record.code {
            Some(code) if code == ErrorCode::HANDLER_ERROR => status(record.code),
            _ => Status::Unset,
        };
        out.push(handler);
    }

    fn span(
        &self,
        record: &Record,
        id: [u8; 8],
        name: Cow<'static, str>,
        from: Instant,
        to: Instant,
    ) -> SpanData {
        let trace_id = TraceId::from_bytes(record.context().trace_id);
        let (id, flags) = (SpanId::from_bytes(id), TraceFlags::SAMPLED);
        SpanData {
            span_context: SpanContext::new(trace_id, id, flags, false, TraceState::NONE),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name,
            start_time: self.time_of(from),
            // Never before its start, whatever the threads that looked at the clock say.
            end_time: self.time_of(to.max(from)),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn time_of(&self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.now) {
            Some(after) => self.time + after,
            None => self.time - self.now.duration_since(at),
        }
    }
}

fn status(code: Option<ErrorCode>) -> Status {
    code.map_or(Status::Unset, |code| Status::Error {
        description: text_of(code),
    })
}

/// A code's name, which is no allocation for those that have one.
fn text_of(code: ErrorCode) -> Cow<'static, str> {
    match code.name() {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(code.to_string()),
    }
}

/// At most so many attributes has a span of ours.
const ATTRIBUTES: usize = 16;

/// Takes the topic along, so that it is not copied.
fn attributes(record: &mut Record, why: Why) -> Vec<KeyValue> {
    let mut list = Vec::with_capacity(ATTRIBUTES);
    list.push(KeyValue::new("mcpd.sampling", why.name()));
    if let Some(peer) = &record.peer {
        list.push(number("mcpd.connection", peer.connection));
        let client = peer.client_id.clone();
        list.extend(client.map(|id| KeyValue::new("messaging.client.id", id)));
    }
    if record.kind != Kind::Request {
        list.push(KeyValue::new("mcpd.frame", record.kind.name()));
        return list;
    }
    let stats = &record.stats;
    let code = record.code.map_or(Cow::Borrowed("OK"), text_of);
    if record.code.is_some() {
        list.push(KeyValue::new("error.type", code.clone()));
    }
    list.extend([
        KeyValue::new("messaging.system", "mcp"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("mcpd.route", Arc::clone(&stats.name)),
        KeyValue::new("mcpd.code", code),
    ]);
    if !stats.pattern.is_empty() {
        let pattern = Arc::clone(&stats.pattern);
        list.push(KeyValue::new("messaging.destination.template", pattern));
    }
    // A batch that was slow as a whole is of no topic.
    if !record.topic.is_empty() {
        let topic = String::from(std::mem::take(&mut record.topic));
        list.extend([
            KeyValue::new("messaging.destination.name", topic),
            number("messaging.message.body.size", record.body as u64),
            number("mcpd.priority", record.priority.into()),
            number("mcpd.qos", record.qos.into()),
        ]);
    }
    list
}

/// A number, as the greatest that OpenTelemetry knows where it is greater.
fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}
