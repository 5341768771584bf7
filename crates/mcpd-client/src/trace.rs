//! The trace that the caller's code belongs to, as OpenTelemetry knows it.

use mcpd_proto::MetaBuf;
#[cfg(feature = "opentelemetry")]
use mcpd_proto::Trace;
#[cfg(feature = "opentelemetry")]
use opentelemetry::{Context, trace::TraceContextExt};

/// Writes the current OpenTelemetry context into `meta`, unless the caller named a trace.
#[cfg(feature = "opentelemetry")]
pub(crate) fn inject(meta: &mut MetaBuf) {
    if meta.view().trace().is_some() {
        return;
    }
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    meta.set_trace(Trace {
        trace_id: span.trace_id().to_bytes(),
        span_id: span.span_id().to_bytes(),
        flags: span.trace_flags().to_u8(),
    });
    let state = span.trace_state().header();
    if !state.is_empty() {
        // One that is too long is not worth the request; the trace holds without it.
        let _ = meta.set_tracestate(&state);
    }
}

/// Nothing to write.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn inject(_: &mut MetaBuf) {}
