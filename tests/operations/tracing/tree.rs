//! The spans of one request, over both protocols.

use super::receiver::{Got, Mode, Receiver, hex};
use super::{send_traced, start, trace, trace_of};
use crate::support::Start;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

fn with_environment(start: Start) -> Start {
    start.with(|command| {
        command
            .env(
                "OTEL_RESOURCE_ATTRIBUTES",
                "k8s.cluster.name=c1,service.version=mine",
            )
            .env("K8S_POD_NAME", "mcpd-7")
            .env("K8S_NAMESPACE", "shop")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=open%20sesame")
            .env("HOSTNAME", "host-1");
    })
}

#[test]
fn a_request_has_a_tree_of_spans_over_grpc() {
    tree(Receiver::grpc(Mode::Take), "grpc");
}

#[test]
fn a_request_has_a_tree_of_spans_over_http() {
    tree(Receiver::http(Mode::Take), "http");
}

fn tree(mut receiver: Receiver, protocol: &str) {
    let mut server = with_environment(start(&receiver.url(), protocol)).spawn();
    let mut peer = server.peer();
    for (n, topic, route, handler) in [
        (1, "echo", "echo", "echo"),
        (2, "slow/7", "slow", "slow"),
        (3, "ordered", "ordered", "slow"),
    ] {
        send_traced(&mut peer, n, topic, trace(n as u8, 1));
        let answer = trace_of(&peer.expect()).expect("TRACE");
        assert_eq!((answer.trace_id, answer.flags), ([n as u8; 16], 1));
        let trace_id = hex(&answer.trace_id);
        let spans = receiver.await_spans(3, |got| got.trace_id() == trace_id);
        let named = |name: &str| {
            let span = spans.iter().find(|got| got.span.name == name);
            span.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
        };
        let own = named(&format!("process {route}"));
        assert_eq!(
            own.span_id(),
            hex(&answer.span_id),
            "the answer names the span"
        );
        assert_eq!(own.parent(), hex(&trace(n as u8, 1).span_id));
        assert_eq!(own.span.kind(), SpanKind::Server);
        let (queue, work) = (named("queue"), named(&format!("handle {handler}")));
        assert_eq!(
            [queue.parent(), work.parent()],
            [own.span_id(), own.span_id()]
        );
        // One after the other, within the whole.
        assert_eq!(
            queue.span.start_time_unix_nano,
            own.span.start_time_unix_nano
        );
        assert_eq!(
            queue.span.end_time_unix_nano,
            work.span.start_time_unix_nano
        );
        assert!(work.span.start_time_unix_nano <= work.span.end_time_unix_nano);
        assert!(work.span.end_time_unix_nano <= own.span.end_time_unix_nano);
        if handler == "slow" {
            let time = work.span.end_time_unix_nano - work.span.start_time_unix_nano;
            assert!(time >= 40_000_000, "the handler's time is its own: {time}");
        }
        describes(own, topic, route);
    }
    // A header is a secret.
    drop(peer);
    let page = server.get("/metrics").1;
    server.signal("TERM");
    let log = server.output_to_end().join("\n");
    assert!(!format!("{page}{log}").contains("sesame"), "{log}");
}

fn describes(own: &Got, topic: &str, route: &str) {
    let attributes = [
        ("messaging.system", "mcp"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", topic),
        ("messaging.message.body.size", "5"),
        ("mcpd.route", route),
        ("mcpd.code", "OK"),
        ("mcpd.sampling", "parent"),
        ("mcpd.connection", "1"),
    ];
    for (key, value) in attributes {
        assert_eq!(own.attribute(key), value, "{key} of {own:#?}");
    }
    let resource = [
        ("service.name", "mcpd"),
        ("service.instance.id", "host-1"),
        ("service.version", "mine"),
        ("k8s.cluster.name", "c1"),
        ("k8s.pod.name", "mcpd-7"),
        ("k8s.namespace.name", "shop"),
    ];
    for (key, value) in resource {
        assert_eq!(
            own.resource.get(key).map(String::as_str),
            Some(value),
            "{key}"
        );
    }
    for schema in &own.schemas {
        assert!(
            schema.starts_with("https://opentelemetry.io/schemas/1."),
            "{schema}"
        );
    }
    assert_eq!(
        own.headers.get("x-token").map(String::as_str),
        Some("open sesame")
    );
}

/// Of a route with several handlers, the span names the one that ran, and the topic is the client's.
#[test]
fn the_handler_of_a_split_is_named_and_the_topic_is_the_clients() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let server = start(&receiver.url(), "grpc").spawn();
    let mut peer = server.peer();
    let mut handlers = Vec::new();
    for n in 1..=2 {
        send_traced(&mut peer, n, "shared/7", trace(n as u8, 1));
        let trace_id = hex(&trace_of(&peer.expect()).expect("TRACE").trace_id);
        let spans = receiver.await_spans(3, |got| got.trace_id() == trace_id);
        let named = |start: &str| spans.iter().find(|got| got.span.name.starts_with(start));
        let own = named("process shared").expect("the span of the request");
        assert_eq!(own.attribute("messaging.destination.name"), "shared/7");
        assert_eq!(own.attribute("messaging.destination.template"), "shared/+");
        handlers.push(
            named("handle ")
                .expect("that of the handler")
                .span
                .name
                .clone(),
        );
    }
    handlers.sort_unstable();
    assert_eq!(handlers, ["handle echo", "handle slow"]);
}
