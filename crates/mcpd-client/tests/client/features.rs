//! What can be switched on: JSON, layers, metrics, the trace of the caller, calls that block.

use crate::support::echo::serve_echo;
use crate::support::net::Net;
use mcpd_client::{Client, ErrorCode, ErrorKind, MetaBuf, Request, Trace};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, context::FutureExt};
use std::time::Duration;
use tower::{Service, ServiceExt};

#[tokio::test(start_paused = true)]
async fn json_both_ways() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    let request = client.request("t").json(&("ada", 7)).unwrap();
    let call = tokio::spawn(request.send());
    let ask = peer.request().await;
    assert_eq!(ask.body, br#"["ada",7]"#);
    assert_eq!(ask.meta().content_type(), Some("application/json"));
    peer.respond(&ask, br#"{"ok":true}"#).await;
    let answer = call.await.unwrap().unwrap();
    let answer: std::collections::BTreeMap<String, bool> = answer.json().unwrap();
    assert!(answer["ok"]);
    // Keys that are no strings are no JSON.
    let bad = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client.request("t").json(&bad).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test(start_paused = true)]
async fn layers_apply() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let timeout = tower::timeout::TimeoutLayer::new(Duration::from_secs(1));
    let limit = tower::limit::ConcurrencyLimitLayer::new(1);
    let stack = tower::Layer::layer(&timeout, tower::Layer::layer(&limit, client.unwrap()));
    let mut service = stack;
    let first = service.ready().await.unwrap().call(Request::new("a"));
    let ask = async {
        let ask = peer.request().await;
        peer.respond(&ask, b"yes").await;
    };
    let (answer, ()) = tokio::join!(first, ask);
    assert_eq!(answer.unwrap().body(), "yes");
    let slow = service.ready().await.unwrap().call(Request::new("b"));
    let (result, _) = tokio::join!(slow, peer.request());
    assert!(result.unwrap_err().is::<tower::timeout::error::Elapsed>());
}

fn caller() -> Context {
    let state = TraceState::from_key_value([("vendor", "x")]).unwrap();
    let span = SpanContext::new(
        TraceId::from_bytes([1; 16]),
        SpanId::from_bytes([2; 8]),
        TraceFlags::SAMPLED,
        true,
        state,
    );
    Context::new().with_remote_span_context(span)
}

#[tokio::test(start_paused = true)]
async fn the_callers_trace_travels_and_the_servers_comes_back() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    let call = tokio::spawn(client.request("t").send().with_context(caller()));
    let ask = peer.request().await;
    let meta = ask.meta();
    let trace = meta.trace().unwrap();
    assert_eq!(
        (trace.trace_id, trace.span_id, trace.flags),
        ([1; 16], [2; 8], 1)
    );
    assert_eq!(meta.tracestate(), Some("vendor=x"));
    let span = Trace {
        span_id: [3; 8],
        ..trace
    };
    let mut back = MetaBuf::new();
    back.set_trace(span);
    peer.respond_with(&ask, b"", &back).await;
    assert_eq!(call.await.unwrap().unwrap().trace(), Some(span));
    // What the caller says outright goes first; without a trace there is none.
    let own = client.request("t").trace(span);
    let call = tokio::spawn(own.send().with_context(caller()));
    assert_eq!(peer.request().await.meta().trace(), Some(span));
    call.abort();
    let call = tokio::spawn(client.request("t").send());
    let ask = loop {
        if let crate::support::Got::Request(ask) = peer.next().await {
            break ask;
        }
    };
    assert_eq!(ask.meta().trace(), None);
    call.abort();
}

#[test]
fn what_happens_is_counted() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let net = Net::default();
            let mut server = net.listen(1);
            let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
            let client = client.unwrap();
            let call = client.request("t").send();
            let serve = async {
                let none = MetaBuf::new();
                let ask = peer.request().await;
                peer.fail(ask.seq, ErrorCode::OVERLOADED, b"", &none).await;
                let ask = peer.request().await;
                peer.fail(ask.seq, ErrorCode::NO_ROUTE, b"", &none).await;
            };
            let (result, ()) = tokio::join!(call, serve);
            assert_eq!(result.unwrap_err().attempts(), 2);
        });
    });
    let snapshot = seen.snapshot().into_vec();
    let value = |name: &str, label: &str| {
        let found = snapshot.iter().find(|(key, ..)| {
            key.key().name() == name && key.key().labels().any(|l| l.value() == label)
        });
        found.map(|(.., value)| match value {
            DebugValue::Counter(count) => *count as f64,
            DebugValue::Gauge(value) => value.0,
            DebugValue::Histogram(values) => values.len() as f64,
        })
    };
    assert_eq!(value("mcpd_client_requests_total", "refused"), Some(1.0));
    assert_eq!(value("mcpd_client_request_seconds", "refused"), Some(1.0));
    assert_eq!(value("mcpd_client_retries_total", "OVERLOADED"), Some(1.0));
    assert_eq!(value("mcpd_client_connects_total", "ok"), Some(1.0));
    assert_eq!(value("mcpd_client_connections", "open"), Some(1.0));
}

#[test]
fn calls_that_block() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = runtime.block_on(serve_echo()).unwrap();
    let client = mcpd_client::blocking::Client::connect(&address).unwrap();
    let threads: Vec<_> = (0..4_u8)
        .map(|n| {
            let client = client.clone();
            std::thread::spawn(move || client.request("t").body(vec![n]).send())
        })
        .collect();
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap().unwrap().body()[..], [n as u8]);
    }
    client.notify(Request::new("t")).unwrap();
    assert!(client.ping().unwrap() < Duration::from_secs(10));
    // Where blocking would hold up others it is refused and does not panic.
    let other = client.clone();
    let error = runtime.block_on(async move { other.request("t").send().unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::Invalid);
    client.close().unwrap();
    assert_eq!(client.ping().unwrap_err().kind(), ErrorKind::Shutdown);
    let (gone, builder) = (Client::builder("127.0.0.1:1"), Client::builder("a:b"));
    let quick = gone.connect_timeout(Duration::from_millis(50));
    assert_eq!(
        quick.build_blocking().unwrap_err().kind(),
        ErrorKind::Connect
    );
    assert_eq!(
        builder.build_blocking().unwrap_err().kind(),
        ErrorKind::Invalid
    );
}
