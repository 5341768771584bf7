//! What spans tell of requests that failed, of those that found no route, and of other frames; and that
//! nothing a client sends makes them large.

use super::receiver::{Got, Mode, Receiver, hex};
use super::{send_traced, start, trace, trace_of};
use crate::support::{PATIENCE, Peer, Server};
use mcpd_proto::{Frame, Heartbeat, Hello, MetaBuf};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::io::{Read, Write};
use std::net::TcpStream;

/// What docs/tracing.md lists, at most.
const ATTRIBUTES: usize = 16;

fn hello(peer: &mut Peer, client_id: &str) {
    let mut meta = MetaBuf::new();
    meta.set_client_id(client_id).unwrap();
    peer.frame(Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta: meta.view(),
    }));
    peer.expect();
}

/// A sampled request for `topic`, and its `count` spans.
fn sampled(receiver: &mut Receiver, peer: &mut Peer, n: u8, topic: &str, count: usize) -> Vec<Got> {
    send_traced(peer, n.into(), topic, trace(n, 1));
    assert_eq!(trace_of(&peer.expect()).map(|trace| trace.flags), Some(1));
    receiver.await_spans(count, |got| got.trace_id() == hex(&[n; 16]))
}

fn process(spans: &[Got]) -> &Got {
    let named = |got: &&Got| got.span.name.starts_with("process ");
    spans.iter().find(named).expect("the span of the request")
}

#[test]
fn a_failed_request_says_so_with_its_code_and_who_asked() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let server = start(&receiver.url(), "grpc").spawn();
    let mut peer = server.peer();
    hello(&mut peer, "till-7");
    let spans = sampled(&mut receiver, &mut peer, 2, "failing", 3);
    let own = process(&spans);
    assert_eq!(own.attribute("error.type"), "HANDLER_ERROR");
    assert_eq!(own.attribute("mcpd.code"), "HANDLER_ERROR");
    assert_eq!(own.attribute("messaging.client.id"), "till-7");
    let status = own.span.status.as_ref().expect("a status");
    assert_eq!(status.code(), StatusCode::Error);
}

#[test]
fn a_request_that_reaches_no_handler_has_no_span_of_one() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let server = start(&receiver.url(), "grpc").spawn();
    let mut peer = server.peer();
    let spans = sampled(&mut receiver, &mut peer, 2, "nowhere", 2);
    assert_eq!(process(&spans).span.name, "process _none");
    assert_eq!(process(&spans).attribute("mcpd.code"), "NO_ROUTE");
    // The spans of the next request come after all of this one's.
    sampled(&mut receiver, &mut peer, 3, "echo", 3);
    let of_first = |got: &&Got| got.trace_id() == hex(&[2; 16]);
    let names: Vec<&str> = receiver
        .all()
        .iter()
        .filter(of_first)
        .map(|got| got.span.name.as_str())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with("handle")));
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn what_a_client_chooses_does_not_make_spans_larger_than_its_limits() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let server = start(&receiver.url(), "grpc").spawn();
    let mut peer = server.peer();
    let client = "c".repeat(128);
    hello(&mut peer, &client);
    // Everything that may be in a topic, as long as it may be.
    let mut topic = "any/\"}{\\\u{202e}\u{10ffff}".to_owned();
    topic.push_str(&"t".repeat(255 - topic.len()));
    let spans = sampled(&mut receiver, &mut peer, 2, &topic, 3);
    let own = process(&spans);
    assert_eq!(own.attribute("messaging.destination.name"), topic);
    assert_eq!(own.attribute("messaging.client.id"), client);
    for got in &spans {
        assert!(got.attributes.len() <= ATTRIBUTES, "{got:#?}");
        assert!(!got.span.name.contains("ttt"), "{got:#?}");
        assert!(got.span.events.is_empty() && got.span.links.is_empty());
    }
}

#[test]
fn frames_that_are_no_requests_have_one_span_each_when_asked_for() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let start = start(&receiver.url(), "grpc").set("TRACING__CONTROL_RATIO", "1");
    let server = start.spawn();
    let mut peer = server.peer();
    hello(&mut peer, "till-7");
    peer.frame(Frame::Heartbeat(Heartbeat {
        seq: 2,
        reply: false,
        ..Heartbeat::default()
    }));
    let spans = receiver.await_spans(2, |got| !got.attribute("mcpd.frame").is_empty());
    for (got, name) in spans.iter().zip(["hello", "heartbeat"]) {
        assert_eq!(got.span.name.to_lowercase(), name);
        assert_eq!(got.attribute("mcpd.frame"), got.span.name);
        assert_eq!(got.parent(), "");
    }
    // Requests have a ratio of their own, which is 0 here.
    peer.expect();
    peer.expect_alive(3);
    sampled(&mut receiver, &mut peer, 4, "echo", 3);
    let echoes = receiver.all().iter();
    let echoes = echoes.filter(|got| got.span.name == "process echo");
    assert_eq!(echoes.count(), 1);
}

fn put_sampling(server: &Server, body: &str) {
    let mut stream = TcpStream::connect(server.sidecar).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "PUT /admin/v1/sampling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_ratio_for_one_route_holds_from_the_next_request_on() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let server = start(&receiver.url(), "grpc").spawn();
    let mut peer = server.peer();
    let mut ask = |seq: u16, topic: &str| {
        peer.request(seq, topic, b"");
        assert_eq!(peer.expect().response().0, seq);
    };
    ask(1, "echo");
    put_sampling(&server, r#"{"routes": {"echo": 1}}"#);
    ask(2, "echo");
    ask(3, "any/other");
    let spans = receiver.await_spans(3, |_| true);
    assert_eq!(process(&spans).span.name, "process echo");
    assert_eq!(process(&spans).attribute("mcpd.sampling"), "ratio");
    put_sampling(&server, r#"{"ratio": 1, "routes": {"echo": 0}}"#);
    ask(4, "echo");
    ask(5, "any/other");
    receiver.await_spans(1, |got| got.span.name == "process any");
    let names = receiver.all().iter().map(|got| got.span.name.as_str());
    let requests: Vec<&str> = names.filter(|name| name.starts_with("process")).collect();
    assert_eq!(requests, ["process echo", "process any"]);
}
