//! Which requests have spans.

use super::receiver::{Mode, Receiver, hex};
use super::{await_exported, send_traced, start, trace, trace_of};
use crate::support::Peer;
use mcpd_proto::{ErrorCode, Frame, Hello, MetaBuf};

#[test]
fn a_trace_that_is_not_recorded_or_over_the_budget_is_not_sampled() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let start = start(&receiver.url(), "grpc").set("TRACING__PARENT_PER_SECOND", "2");
    let server = start.spawn();
    let mut peer = server.peer();
    // In one read, so that no second goes by between them.
    send_traced(&mut peer, 1, "echo", trace(1, 0));
    for n in 2..=6 {
        send_traced(&mut peer, n, "echo", trace(n as u8, 1));
    }
    let flags: Vec<u8> = (1..=6)
        .map(|_| trace_of(&peer.expect()).unwrap().flags)
        .collect();
    assert_eq!(flags[0], 0);
    let sampled = flags.iter().filter(|flags| **flags == 1).count();
    assert!((2..5).contains(&sampled), "{flags:?}");
    await_exported(&server, 3.0 * sampled as f64);
    let spans = receiver.await_spans(sampled, |got| got.span.name == "process echo");
    let exported: Vec<String> = spans.iter().map(|got| got.trace_id()).collect();
    let told = (1..=6u8).zip(&flags).filter(|(_, flags)| **flags == 1);
    let told: Vec<String> = told.map(|(n, _)| hex(&[n; 16])).collect();
    assert_eq!(exported, told, "exactly those whose answers say so");
}

/// SHA-256 of `test`.
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn one_principal_leaves_the_others_their_share() {
    let receiver = Receiver::grpc(Mode::Take);
    let dir = crate::support::scratch();
    let principals = dir.path().join("principals.yaml");
    let list = format!(
        "{{name: busy, tokens: [{{name: a, sha256: {HASH}}}], allow: [echo]}}, {{name: other, anonymous: true, allow: [echo]}}"
    );
    let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: [{list}]}}");
    std::fs::write(&principals, text).unwrap();
    let server = start(&receiver.url(), "grpc")
        .set("AUTH__PRINCIPALS", principals.to_str().unwrap())
        .set("TRACING__PARENT_PER_PRINCIPAL", "1")
        .spawn();
    let busy = || {
        let mut peer = server.peer();
        let mut meta = MetaBuf::new();
        meta.set_auth_token(b"test").unwrap();
        peer.frame(Frame::Hello(Hello {
            seq: 1,
            reply: false,
            meta: meta.view(),
        }));
        peer.expect();
        peer
    };
    let sampled = |peer: &mut Peer| {
        for n in 1..=20 {
            send_traced(peer, n, "echo", trace(n as u8, 1));
        }
        let flags = (1..=20).map(|_| trace_of(&peer.expect()).unwrap().flags);
        flags.filter(|flags| *flags == 1).count()
    };
    // Once a second, however many connections it has.
    let counts = [sampled(&mut busy()), sampled(&mut busy())];
    assert!((1..10).contains(&(counts[0] + counts[1])), "{counts:?}");
    assert!(sampled(&mut server.peer()) >= 1);
}

#[test]
fn without_a_receiver_nothing_is_sampled() {
    let server = crate::support::Start::new()
        .set("TRACING__RATIO", "1")
        .spawn();
    let mut peer = server.peer();
    send_traced(&mut peer, 1, "echo", trace(1, 1));
    let answer = trace_of(&peer.expect()).unwrap();
    assert_eq!((answer.trace_id, answer.flags), ([1; 16], 0));
    assert_ne!(answer.span_id, trace(1, 1).span_id);
    assert_eq!(server.metric("mcpd_spans_exported_total"), 0.0);
}

#[test]
fn a_ratio_samples_requests_without_trace_and_a_reload_changes_it() {
    let mut receiver = Receiver::http(Mode::Take);
    let dir = crate::support::scratch();
    let file = dir.path().join("mcpd.yaml");
    std::fs::write(&file, "tracing: {ratio: 1, control_ratio: 1}\n").unwrap();
    let start = start(&receiver.url(), "http").arg("--config").arg(&file);
    let start = start.with(|command| {
        command.env_remove("MCPD__TRACING__RATIO");
    });
    let mut server = start.spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    let spans = receiver.await_spans(1, |got| got.span.name == "process echo");
    assert_eq!(spans[0].attribute("mcpd.sampling"), "ratio");
    assert_eq!(spans[0].parent(), "");
    std::fs::write(&file, "tracing: {ratio: 0}\n").unwrap();
    server.signal("HUP");
    let line = server.await_log("configuration reloaded");
    assert!(
        line.contains("tracing.ratio tracing.control_ratio"),
        "{line}"
    );
    for seq in 2..100 {
        peer.expect_alive(seq);
    }
    // The next one is sampled, so all before it would have been here by then.
    send_traced(&mut peer, 100, "echo", trace(9, 1));
    receiver.await_spans(3, |got| got.trace_id() == hex(&[9; 16]));
    let mut count = |name: &str| {
        let spans = receiver.all().iter();
        spans.filter(|got| got.span.name == name).count()
    };
    assert_eq!(count("process echo"), 2);
}

#[test]
fn an_unsampled_request_that_fails_has_one_late_span_and_a_log_line() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let mut server = start(&receiver.url(), "grpc").spawn();
    let mut peer = server.peer();
    send_traced(&mut peer, 1, "failing", trace(1, 0));
    let got = peer.expect();
    assert_eq!(got.error(), (1, ErrorCode::HANDLER_ERROR));
    let answer = trace_of(&got).unwrap();
    let late = receiver.await_spans(1, |_| true);
    assert_eq!(late[0].span.name, "process failing");
    assert_eq!(late[0].attribute("mcpd.sampling"), "late");
    assert_eq!(late[0].attribute("error.type"), "HANDLER_ERROR");
    assert_eq!(
        late[0].span_id(),
        hex(&answer.span_id),
        "as the answer told"
    );
    assert_eq!(late[0].parent(), hex(&trace(1, 0).span_id));
    let line = server.await_log("a request failed");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["trace_id"], hex(&[1; 16]));
    assert_eq!(line["span_id"], hex(&answer.span_id));
    // A client's own mistake is nobody's trace.
    peer.request(2, "nowhere", b"");
    assert_eq!(peer.expect().error(), (2, ErrorCode::NO_ROUTE));
    for seq in 3..103 {
        peer.request(seq, "failing", b"");
    }
    for _ in 3..103 {
        peer.expect();
    }
    server.await_log("a request failed");
    server.signal("TERM");
    peer.expect_draining_and_end();
    assert_eq!(server.await_exit(), Some(0));
    let late = receiver.all().len();
    assert!((2..40).contains(&late), "about ten a second: {late}");
    assert!(
        receiver
            .all()
            .iter()
            .all(|got| got.span.name == "process failing")
    );
}

#[test]
fn an_unsampled_request_that_is_slow_has_a_late_span() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let start = start(&receiver.url(), "grpc").set("TRACING__SLOW", "10ms");
    let server = start.spawn();
    let mut peer = server.peer();
    peer.request(1, "slow/1", b"");
    assert!(peer.expect().is_response());
    let late = receiver.await_spans(1, |got| got.span.name == "process slow");
    assert_eq!(late[0].attribute("mcpd.sampling"), "late");
    assert_eq!(late[0].attribute("mcpd.code"), "OK");
    assert_eq!(late[0].attribute("messaging.destination.name"), "slow/1");
}
