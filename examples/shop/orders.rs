//! The orders service: plain HTTP, knowing nothing of MCP. It continues the trace that comes with a
//! request, as services do that have OpenTelemetry.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use mcpd_proto::Trace;
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

const STATES: [&str; 4] = ["placed", "paid", "sent", "returned"];

#[derive(Deserialize)]
struct Update {
    id: u64,
    state: String,
}

#[derive(Serialize)]
struct Updated {
    id: u64,
    state: String,
    before: Option<String>,
}

#[derive(Clone)]
struct Orders {
    states: Arc<Mutex<HashMap<u64, String>>>,
    tracer: SdkTracer,
}

/// Serves until its standard input ends, as it does with the process that has started this one.
pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    let traces = traces()?;
    let orders = Orders {
        states: Arc::default(),
        tracer: traces.tracer("orders"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = Router::new()
        .route("/orders", post(update))
        .with_state(orders);
    let ended = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(ended)
        .await?;
    tokio::task::spawn_blocking(move || traces.shutdown()).await??;
    Ok(())
}

/// Where spans go: to OTEL_EXPORTER_OTLP_ENDPOINT by gRPC, if there is one.
fn traces() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let resource = Resource::builder().with_service_name("orders").build();
    let provider = SdkTracerProvider::builder().with_resource(resource);
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return Ok(provider.build());
    }
    let exporter = SpanExporter::builder().with_tonic().build()?;
    Ok(provider.with_batch_exporter(exporter).build())
}

async fn update(
    State(orders): State<Orders>,
    headers: HeaderMap,
    Json(update): Json<Update>,
) -> Result<Json<Updated>, (StatusCode, String)> {
    let mut span = orders
        .tracer
        .span_builder("update order")
        .with_kind(SpanKind::Server)
        .start_with_context(&orders.tracer, &parent(&headers));
    span.set_attribute(KeyValue::new("order.state", update.state.clone()));
    if !STATES.contains(&update.state.as_str()) {
        let text = format!(
            "state: is {:?}; an order is {}",
            update.state,
            STATES.join(", ")
        );
        return Err((StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let mut states = orders.states.lock().unwrap_or_else(PoisonError::into_inner);
    let before = states.insert(update.id, update.state.clone());
    let Update { id, state } = update;
    Ok(Json(Updated { id, state, before }))
}

/// The span that asked.
fn parent(headers: &HeaderMap) -> Context {
    let told = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    let trace: Option<Trace> = told.and_then(|told| told.parse().ok());
    trace.map_or_else(Context::new, |trace| {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_bytes(trace.trace_id),
            SpanId::from_bytes(trace.span_id),
            TraceFlags::new(trace.flags),
            true,
            TraceState::NONE,
        ))
    })
}
