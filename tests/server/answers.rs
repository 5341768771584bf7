//! What an answer repeats of its request and adds to it.

use crate::support::{Got, Server, Start};
use crate::tools::{request, routed, slow, wire};
use mcpd_proto::{ErrorCode, Frame, Meta, MetaBuf, Qos, Request, Trace};

/// Metadata and priority of an answer.
fn told(got: &Got) -> (Meta<'_>, u8) {
    match got.frame() {
        Frame::Response(response) => (response.meta, response.priority),
        Frame::Error(error) => (error.meta, error.priority),
        other => panic!("an answer, not {other:?}"),
    }
}

#[test]
fn an_answer_is_traced_exactly_when_its_request_was() {
    let start = slow(Start::new(), "1ms");
    let server = routed(
        start,
        &["topic: echo, handler: echo", "topic: slow, handler: slow"],
    );
    let mut peer = server.peer();
    let trace = Trace {
        trace_id: [7; 16],
        span_id: [9; 8],
        flags: 1,
    };
    let mut meta = MetaBuf::new();
    meta.set_trace(trace);
    // In place, later, and refused at each stage.
    for topic in ["echo", "slow", "nowhere", "$reserved"] {
        peer.send(&request(1, topic, b"", 5, meta.view()));
        let got = peer.expect();
        let (answer, priority) = told(&got);
        let answered = answer.trace().expect("TRACE on the answer");
        // This server has nowhere to record it.
        assert_eq!((answered.trace_id, answered.flags), ([7; 16], 0));
        assert!(answered.span_id != trace.span_id && answered.span_id != [0; 8]);
        assert_eq!(priority, 5);

        peer.send(&request(2, topic, b"", 3, Meta::EMPTY));
        let got = peer.expect();
        let (answer, priority) = told(&got);
        assert_eq!(answer.trace(), None);
        assert_eq!(priority, 3);
    }
    // All zero counts as absent.
    let mut meta = MetaBuf::new();
    meta.set_trace(Trace {
        trace_id: [0; 16],
        span_id: [0; 8],
        flags: 0,
    });
    peer.send(&request(3, "echo", b"", 0, meta.view()));
    assert_eq!(told(&peer.expect()).0.trace(), None);
}

#[test]
fn answers_tell_the_revision_where_that_is_wanted() {
    let routes = [
        "topic: echo, handler: echo",
        "topic: slow, handler: slow, timeout: 10ms",
        "topic: limited, handler: echo, rate_limit: {per_second: 1, burst: 1}",
    ];
    let start = slow(Start::new(), "1m").set("ROUTES__REVISION_ON_ANSWERS", "true");
    let server = routed(start, &routes);
    let mut peer = server.peer();
    for topic in ["echo", "slow", "nowhere", "limited", "limited"] {
        peer.request(1, topic, b"");
        assert_eq!(told(&peer.expect()).0.route_revision(), Some(7), "{topic}");
    }
    let silent = Server::start();
    let mut peer = silent.peer();
    peer.request(1, "echo", b"");
    assert_eq!(told(&peer.expect()).0.route_revision(), None);
}

#[test]
fn more_delivery_than_the_route_gives_is_refused() {
    let server = Server::start();
    let mut peer = server.peer();
    for (seq, qos) in [(1, Qos::AtLeastOnce), (2, Qos::EffectivelyOnce)] {
        let topic = b"echo";
        peer.send(&wire(Frame::Request(Request {
            seq,
            topic,
            qos,
            ..Request::default()
        })));
        assert_eq!(peer.expect().error(), (seq, ErrorCode::QOS_UNSUPPORTED));
    }
    peer.expect_alive(3);
}

#[test]
fn a_route_over_its_rate_says_how_long_to_wait() {
    let limited = "topic: echo, handler: echo, rate_limit: {per_second: 1, burst: 3}";
    let server = routed(Start::new(), &[limited]);
    let mut peer = server.peer();
    for seq in 1..=3 {
        peer.request(seq, "echo", b"");
        assert_eq!(peer.expect().response().0, seq);
    }
    peer.request(4, "echo", b"");
    let got = peer.expect();
    assert_eq!(got.error(), (4, ErrorCode::RATE_LIMITED));
    let wait = told(&got).0.retry_after_ms().expect("RETRY_AFTER_MS");
    assert!((1..=1000).contains(&wait), "{wait} ms");
}

#[test]
fn the_media_type_of_an_echo_comes_back() {
    let server = Server::start();
    let mut peer = server.peer();
    let mut meta = MetaBuf::new();
    meta.set_content_type("application/json").unwrap();
    peer.send(&request(1, "echo", b"{}", 0, meta.view()));
    let got = peer.expect();
    assert_eq!(told(&got).0.content_type(), Some("application/json"));
}
