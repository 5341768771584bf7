//! Spans that a handler's code makes with `tracing`: they become children of its handler's span.

use super::queue::{Item, SpanQueue};
use super::record::CallSpan;
use crate::message::Hosted;
use crate::scheduler::Places;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer;
use tracing_subscriber::registry::LookupSpan;

/// Exports what is made of `tracing` while sampled work runs, through `queue`.
pub(in crate::telemetry) fn layer<S>(queue: &Arc<SpanQueue>) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    let provider = SdkTracerProvider::builder()
        // The decision was taken before: it is in the context, and without one nothing is sampled.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
        .with_span_processor(ToQueue(Arc::clone(queue)))
        .build();
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("mcpd"))
        .with_location(false)
        .with_threads(false)
        .with_filter(InSampledWork)
}

/// Lets spans through that begin while sampled work is polled. Everything else is refused where it
/// costs nothing, once for each place in the code.
struct InSampledWork;

/// What libraries below us tell of themselves is no part of what a handler does.
const SILENT: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "tokio"];

fn is_interesting(metadata: &Metadata<'_>) -> bool {
    let of = metadata.target().split("::").next().unwrap_or_default();
    metadata.is_span() && *metadata.level() <= tracing::Level::INFO && !SILENT.contains(&of)
}

impl<S> layer::Filter<S> for InSampledWork {
    fn enabled(&self, metadata: &Metadata<'_>, _: &layer::Context<'_, S>) -> bool {
        is_interesting(metadata)
            && Context::map_current(|context| context.span().span_context().is_sampled())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_interesting(metadata) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

/// Puts ended spans where those of frames go.
#[derive(Debug)]
struct ToQueue(Arc<SpanQueue>);

impl SpanProcessor for ToQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.push(Item::Span(Box::new(span)));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sampled work of a handler: it begins when it is first polled, and what its code tells to `tracing`
/// belongs to the handler's span.
#[derive(Debug)]
pub(crate) struct Traced<F> {
    work: F,
    span: Arc<CallSpan>,
    context: Context,
    began: bool,
}

impl<F> Traced<F> {
    pub(crate) fn new(work: F, span: Arc<CallSpan>) -> Traced<F> {
        span.wait();
        Traced {
            context: context(&span),
            work,
            span,
            began: false,
        }
    }
}

fn context(span: &CallSpan) -> Context {
    let trace = span.trace();
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes(trace.trace_id),
        SpanId::from_bytes(trace.span_id),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    ))
}

impl<F: Hosted + Unpin> Hosted for Traced<F> {
    fn cancel(self: Pin<&mut Self>) -> bool {
        Pin::new(&mut self.get_mut().work).cancel()
    }

    fn places(self: Pin<&mut Self>) -> &mut Places {
        Pin::new(&mut self.get_mut().work).places()
    }
}

impl<F: Future + Unpin> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.began, true) {
            this.span.start();
        }
        let _attached = this.context.clone().attach();
        let polled = Pin::new(&mut this.work).poll(cx);
        if polled.is_ready() {
            this.span.finish();
        }
        polled
    }
}
