//! Spans of attempts to have an upstream answer: children of the handler's span.

use super::record::CallSpan;
use mcpd_proto::Trace;
use opentelemetry::trace::TraceContextExt;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// One attempt, as its span tells of it. It ends with this; there is none unless the call is sampled.
pub(crate) struct Attempt(Span);

impl Attempt {
    /// Begins an attempt for a call, while its work is polled.
    pub(crate) fn begin(
        call: Option<&Arc<CallSpan>>,
        protocol: &'static str,
        endpoint: SocketAddr,
    ) -> Attempt {
        if call.is_none() {
            return Attempt(Span::none());
        }
        Attempt(tracing::info_span!(
            "attempt",
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            network.protocol.name = protocol,
            server.address = %endpoint.ip(),
            server.port = endpoint.port(),
            http.response.status_code = tracing::field::Empty,
        ))
    }

    /// The same for a message to a subject of NATS, which is `answered` or merely published.
    #[cfg(feature = "nats")]
    pub(crate) fn message(call: Option<&Arc<CallSpan>>, subject: &str, answered: bool) -> Attempt {
        if call.is_none() {
            return Attempt(Span::none());
        }
        Attempt(tracing::info_span!(
            "attempt",
            otel.kind = if answered { "client" } else { "producer" },
            otel.status_code = tracing::field::Empty,
            network.protocol.name = "nats",
            messaging.system = "nats",
            messaging.destination.name = subject,
        ))
    }

    /// The context that goes along; `None` where nobody exports spans.
    pub(crate) fn trace(&self) -> Option<Trace> {
        if self.0.is_none() {
            return None;
        }
        let context = self.0.context();
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Trace {
            trace_id: span.trace_id().to_bytes(),
            span_id: span.span_id().to_bytes(),
            flags: span.trace_flags().to_u8(),
        })
    }

    /// The upstream answered with this status.
    pub(crate) fn status(&mut self, status: u16) {
        self.0.record("http.response.status_code", status);
    }

    /// It did not go as it should.
    pub(crate) fn failed(&mut self) {
        self.0.record("otel.status_code", "ERROR");
    }
}
