//! An OTLP receiver that takes spans, or does not, over gRPC and HTTP.

use crate::support::PATIENCE;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What a receiver does with spans.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Take,
    Refuse,
    /// Takes them in its own time.
    Slow(Duration),
    /// Never answers.
    Hang,
}

/// One export, as it came.
struct Export {
    headers: BTreeMap<String, String>,
    request: ExportTraceServiceRequest,
}

/// A span with what it came with.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) span: Span,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) resource: BTreeMap<String, String>,
    pub(super) schemas: [String; 2],
    pub(super) headers: BTreeMap<String, String>,
}

impl Got {
    pub(super) fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(super) fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(super) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(super) fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A running receiver.
pub(super) struct Receiver {
    pub(super) addr: SocketAddr,
    /// `grpc` or `http`, as the key says it.
    pub(super) protocol: &'static str,
    exports: mpsc::Receiver<Export>,
    seen: Vec<Got>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Sink {
    mode: Mode,
    exports: mpsc::Sender<Export>,
}

impl Sink {
    /// Gives whether they are taken.
    async fn take(&self, export: Export) -> bool {
        match self.mode {
            Mode::Take => {}
            Mode::Refuse => return false,
            Mode::Slow(time) => tokio::time::sleep(time).await,
            Mode::Hang => std::future::pending().await,
        }
        self.exports.send(export).is_ok()
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = headers(request.metadata().clone().into_headers());
        let request = request.into_inner();
        match self.take(Export { headers, request }).await {
            true => Ok(Response::new(ExportTraceServiceResponse::default())),
            false => Err(Status::permission_denied("not from you")),
        }
    }
}

fn headers(map: HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    map.iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

async fn over_http(State(sink): State<Sink>, map: HeaderMap, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let headers = headers(map);
    match sink.take(Export { headers, request }).await {
        true => StatusCode::OK,
        false => StatusCode::FORBIDDEN,
    }
}

impl Receiver {
    pub(super) fn grpc(mode: Mode) -> Receiver {
        Receiver::new(mode, "grpc", |listener, sink| async {
            let service = TraceServiceServer::new(sink);
            let server = tonic::transport::Server::builder().add_service(service);
            let _ = server
                .serve_with_incoming(TcpIncoming::from(listener))
                .await;
        })
    }

    pub(super) fn http(mode: Mode) -> Receiver {
        Receiver::new(mode, "http", |listener, sink| async {
            let router = Router::new().route("/v1/traces", post(over_http));
            let _ = axum::serve(listener, router.with_state(sink)).await;
        })
    }

    fn new<F: Future<Output = ()> + Send + 'static>(
        mode: Mode,
        protocol: &'static str,
        serve: impl FnOnce(tokio::net::TcpListener, Sink) -> F,
    ) -> Receiver {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (sender, exports) = mpsc::channel();
        let bind = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(bind).unwrap();
        let addr = listener.local_addr().unwrap();
        let sink = Sink {
            mode,
            exports: sender,
        };
        runtime.spawn(serve(listener, sink));
        Receiver {
            addr,
            protocol,
            exports,
            seen: Vec::new(),
            _runtime: runtime,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Waits until among the spans that came so far are `count` that fit; gives these.
    pub(super) fn await_spans(&mut self, count: usize, fits: impl Fn(&Got) -> bool) -> Vec<Got> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found: Vec<Got> = self.seen.iter().filter(|got| fits(got)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.exports.recv_timeout(left) {
                Ok(export) => self.seen.extend(spans(export)),
                Err(_) => panic!("only {found:?} of {count} among {:#?}", self.seen),
            }
        }
    }

    /// Everything that came until now.
    pub(super) fn all(&mut self) -> &[Got] {
        while let Ok(export) = self.exports.try_recv() {
            self.seen.extend(spans(export));
        }
        &self.seen
    }
}

fn spans(export: Export) -> Vec<Got> {
    let mut all = Vec::new();
    for of_resource in export.request.resource_spans {
        let resource = of_resource.resource.unwrap_or_default().attributes;
        for of_scope in of_resource.scope_spans {
            all.extend(of_scope.spans.into_iter().map(|span| Got {
                attributes: attributes(&span.attributes),
                span,
                resource: attributes(&resource),
                schemas: [of_resource.schema_url.clone(), of_scope.schema_url.clone()],
                headers: export.headers.clone(),
            }));
        }
    }
    all
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(n)) => n.to_string(),
        other => format!("{other:?}"),
    };
    list.iter()
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}
