//! Who clients are, and what they may do.

use crate::scheduling::depth;
use crate::support::{Peer, Server, Start, scratch};
use crate::tools::{eventually, hello, request, routed, slow};
use mcpd_proto::{ErrorCode, Frame, GoAwayReason, Meta};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// SHA-256 of `test`.
pub(crate) const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(crate) fn write(dir: &Path, principals: &str) {
    let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: {principals}}}");
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("principals.yaml")).unwrap();
}

fn till(rest: &str) -> String {
    format!("[{{name: till, tokens: [{{name: a, sha256: {HASH}}}], {rest}}}]")
}

pub(crate) fn trusting(start: Start, dir: &Path, principals: &str) -> Start {
    write(dir, principals);
    let file = dir.join("principals.yaml");
    start.set("AUTH__PRINCIPALS", file.to_str().unwrap())
}

fn greet(peer: &mut Peer, token: &[u8], id: &str) {
    peer.send(&hello(|meta| {
        meta.set_auth_token(token).unwrap();
        meta.set_client_id(id).unwrap();
    }));
}

fn welcomed(server: &Server, id: &str) -> Peer {
    let mut peer = server.peer();
    greet(&mut peer, b"test", id);
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer
}

fn refused(peer: &mut Peer, seq: u16, topic: &str) -> ErrorCode {
    peer.request(seq, topic, b"");
    let (of, code) = peer.expect().error();
    assert_eq!(of, seq);
    code
}

#[test]
fn a_known_token_lets_in_and_nothing_else_does() {
    let dir = scratch();
    let server = trusting(Start::new(), dir.path(), &till("allow: [echo]")).spawn();
    let mut known = server.peer();
    let mut all = hello(|meta| meta.set_auth_token(b"test").unwrap());
    all.extend(request(7, "echo", b"hi", 0, Meta::EMPTY));
    known.send(&all);
    assert!(matches!(known.expect().frame(), Frame::Hello(_)));
    assert_eq!(known.expect().response(), (7, b"hi".to_vec()));
    let mut wrong = server.peer();
    greet(&mut wrong, b"guess", "x");
    wrong.expect_end(ErrorCode::UNAUTHENTICATED);
    let mut none = server.peer();
    none.send(&hello(|_| {}));
    none.expect_end(ErrorCode::UNAUTHENTICATED);
    let mut early = server.peer();
    early.request(1, "echo", b"");
    early.expect_end(ErrorCode::UNAUTHENTICATED);
    let closed = "mcpd_connections_closed_total{reason=\"UNAUTHENTICATED\"}";
    server.await_metric(closed, |n| n == 3.0);
}

#[test]
fn a_hello_that_is_late_or_large_is_refused() {
    let dir = scratch();
    let start = Start::new().set("LIMITS__HELLO_TIMEOUT", "300ms");
    let server = trusting(start, dir.path(), &till("allow: [echo]")).spawn();
    server.peer().expect_end(ErrorCode::UNAUTHENTICATED);
    let mut large = server.peer();
    let mut header = hello(|_| {})[..10].to_vec();
    header[4..8].copy_from_slice(&(16 * 1024 + 1_u32).to_be_bytes());
    large.send(&header);
    large.expect_end(ErrorCode::FRAME_TOO_LARGE);
}

#[test]
fn denied_comes_before_no_route_and_the_connection_goes_on() {
    let dir = scratch();
    let rules = "allow: ['own/${client_id}/#', echo], deny: ['own/+/x']";
    let server = trusting(Start::new(), dir.path(), &till(rules)).spawn();
    let mut peer = welcomed(&server, "c7");
    for (topic, code) in [
        ("nowhere", ErrorCode::PERMISSION_DENIED),
        ("own/c8/a", ErrorCode::PERMISSION_DENIED),
        ("own/c7/x", ErrorCode::PERMISSION_DENIED),
        ("own/c7/a", ErrorCode::NO_ROUTE),
    ] {
        assert_eq!(refused(&mut peer, 1, topic), code, "{topic}");
    }
    peer.expect_alive(2);
    let denied = "mcpd_authorizations_total{decision=\"denied\"}";
    server.await_metric(denied, |n| n == 3.0);
    let allowed = "mcpd_authorizations_total{decision=\"allowed\"}";
    server.await_metric(allowed, |n| n == 1.0);
}

#[test]
fn a_change_of_the_document_holds_for_open_connections() {
    let dir = scratch();
    let mut server = trusting(Start::new(), dir.path(), &till("allow: [echo]")).spawn();
    let mut peer = welcomed(&server, "c7");
    peer.expect_alive(1);
    write(dir.path(), &till("allow: [other]"));
    server.await_log("principals are in force");
    eventually("the change holds", || {
        peer.request(2, "echo", b"");
        !peer.expect().is_response()
    });
    // What is no document changes nothing.
    write(dir.path(), "[{name: till}]");
    let problem = server.await_log("principals refused");
    assert!(problem.contains("neither tokens"), "{problem}");
    assert_eq!(refused(&mut peer, 3, "other"), ErrorCode::NO_ROUTE);
    // A token that is withdrawn has its connections come again.
    write(dir.path(), "[{name: till, anonymous: true, allow: [echo]}]");
    match peer.expect().frame() {
        Frame::GoAway(away) => assert_eq!(away.reason, GoAwayReason::Reauthenticate as u16),
        other => panic!("GOAWAY, not {other:?}"),
    }
    // One that is gone may do nothing at once.
    write(dir.path(), "[]");
    eventually("nothing is allowed", || {
        refused_or_answered(&mut peer) == Some(ErrorCode::PERMISSION_DENIED)
    });
}

fn refused_or_answered(peer: &mut Peer) -> Option<ErrorCode> {
    peer.request(9, "echo", b"");
    let got = peer.expect();
    (!got.is_response()).then(|| got.error().1)
}

#[test]
fn limits_of_a_principal_hold_on_all_its_connections_together() {
    let dir = scratch();
    let limits =
        "allow: ['#'], limits: {connections: 2, in_flight: 1, requests_per_second: 1, burst: 4}";
    let start = slow(Start::new(), "1h");
    let start = trusting(start, dir.path(), &till(limits));
    let routes = ["topic: slow, handler: slow", "topic: echo, handler: echo"];
    let server = crate::tools::routed(start, &routes);
    let (mut first, mut second) = (welcomed(&server, "a"), welcomed(&server, "b"));
    let mut third = server.peer();
    greet(&mut third, b"test", "c");
    match third.expect().frame() {
        Frame::Error(error) => {
            assert_eq!(error.code, ErrorCode::TOO_MANY_CONNECTIONS);
            assert!(error.meta.retry_after_ms().is_some());
        }
        other => panic!("an ERROR, not {other:?}"),
    }
    first.request(1, "slow", b"");
    first.expect_alive_behind(&server);
    assert_eq!(
        refused(&mut second, 1, "slow"),
        ErrorCode::TOO_MANY_IN_FLIGHT
    );
    // With the first one gone there is room, and then no more tokens.
    crate::tools::reset(first);
    server.await_metric("mcpd_connections", |n| n == 1.0);
    // So many at once that a slow machine cannot have made them up meanwhile.
    const AT_ONCE: u16 = 40;
    for seq in 10..10 + AT_ONCE {
        second.request(seq, "echo", b"");
    }
    let mut codes = Vec::new();
    for _ in 0..AT_ONCE {
        let got = second.expect();
        if let Frame::Error(error) = got.frame() {
            assert!(error.meta.retry_after_ms().is_some());
            codes.push(error.code);
        }
    }
    assert!(
        (1..usize::from(AT_ONCE)).contains(&codes.len()),
        "{codes:?}"
    );
    assert!(codes.iter().all(|code| *code == ErrorCode::RATE_LIMITED));
}

impl Peer {
    /// Waits until a request that is not answered is counted as being under way.
    fn expect_alive_behind(&self, server: &Server) {
        server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    }
}

#[test]
fn who_has_an_expired_token_is_asked_to_show_another() {
    let dir = scratch();
    let at = humantime(SystemTime::now() + Duration::from_secs(2));
    let entry = format!(
        "[{{name: till, tokens: [{{name: a, sha256: {HASH}, expires: '{at}'}}], allow: [echo]}}]"
    );
    let start = Start::new().set("GOAWAY__GRACE", "0s");
    let server = trusting(start, dir.path(), &entry).spawn();
    let mut peer = welcomed(&server, "a");
    peer.expect_alive(1);
    match peer.expect().frame() {
        Frame::GoAway(away) => assert_eq!(away.reason, GoAwayReason::Reauthenticate as u16),
        other => panic!("GOAWAY, not {other:?}"),
    }
    peer.expect_end(ErrorCode::CLOSING);
    let mut again = server.peer();
    greet(&mut again, b"test", "a");
    again.expect_end(ErrorCode::UNAUTHENTICATED);
}

fn humantime(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[test]
fn bytes_that_are_over_wait_for_their_turn() {
    let dir = scratch();
    let limits = "allow: [echo], limits: {bytes_per_second: 1000, bytes_burst: 2000}";
    let server = trusting(Start::new(), dir.path(), &till(limits)).spawn();
    let mut peer = welcomed(&server, "a");
    // More than a burst passes once, and is paid for.
    peer.request(1, "echo", &[0; 50_000]);
    assert_eq!(peer.expect().response().0, 1);
    peer.request(2, "echo", b"");
    match peer.expect().frame() {
        Frame::Error(error) => {
            assert_eq!(error.code, ErrorCode::RATE_LIMITED);
            let wait = error.meta.retry_after_ms().unwrap();
            assert!((1..=48_010).contains(&wait), "{wait}");
        }
        other => panic!("an ERROR, not {other:?}"),
    }
}

#[test]
fn decisions_are_told_when_somebody_asks() {
    let dir = scratch();
    let rules = "allow: ['own/${client_id}/#', echo], deny: ['own/+/x']";
    let start = Start::new().set("LOG__FILTER", "info,mcpd::auth=debug");
    let mut server = trusting(start, dir.path(), &till(rules)).spawn();
    let mut peer = welcomed(&server, "c7");
    server.await_log("\"result\":\"ok\"");
    for (topic, decision, rule) in [
        ("echo", "allowed", "echo"),
        ("own/c7/a", "allowed", "own/${client_id}/#"),
        ("own/c7/x", "denied", "own/+/x"),
    ] {
        peer.request(1, topic, b"");
        peer.expect();
        let line = server.await_log(&format!("\"topic\":\"{topic}\""));
        for part in [
            format!("\"decision\":\"{decision}\""),
            format!("\"rule\":\"{rule}\""),
            "\"principal\":\"till\"".to_owned(),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
    }
    // However many a client causes, there are so many lines and a count of the others.
    for seq in 1..=1000 {
        peer.request(seq, "echo", b"");
    }
    for _ in 1..=1000 {
        peer.expect();
    }
    eventually("lines are left out", || {
        peer.request(1, "echo", b"");
        peer.expect();
        let lines = server.output().iter();
        let mut lines = lines.filter(|line| line.contains("a request was judged"));
        lines.any(|line| !line.contains("\"suppressed\":0"))
    });
}

#[test]
fn nobody_is_more_urgent_than_their_principal_may_be() {
    let dir = scratch();
    let start = slow(Start::new(), "10m").set("HANDLERS__SLOW__CONCURRENCY", "1");
    let rest = till("allow: [slow], priority: {max: 2}");
    let start = trusting(start, dir.path(), &rest);
    let server = routed(start, &["topic: slow, handler: slow"]);
    let mut peer = welcomed(&server, "a");
    // One runs, the others wait with the priority that they get.
    for (seq, priority) in [(1, 7), (2, 7), (3, 1)] {
        peer.send(&request(seq, "slow", b"", priority, Meta::EMPTY));
    }
    server.await_metric(&depth(2), |n| n == 1.0);
    server.await_metric(&depth(1), |n| n == 1.0);
    assert_eq!(server.metric(&depth(7)), 0.0);
}

#[test]
fn a_document_that_is_refused_shows_where_people_look() {
    let dir = scratch();
    let mut server = trusting(Start::new(), dir.path(), &till("allow: [echo]")).spawn();
    let told = server.get("/readyz?verbose").1;
    let taken = "mcpd_principals_reloads_total{result=\"ok\"}";
    server.await_metric(taken, |n| n == 2.0);
    let lines = server.output().iter();
    let lines = lines.filter(|line| line.contains("principals are in force"));
    assert_eq!(
        lines.count(),
        1,
        "the first look finds what the start has read"
    );
    assert!(
        told.contains("[+] principals: 1 principals, from"),
        "{told}"
    );
    let huge = format!("[{}]", "{name: a, anonymous: true},".repeat(50_000));
    write(dir.path(), &huge);
    let told = server.await_get("/readyz?verbose", |status, body| {
        status == 200 && body.contains("the newest is refused")
    });
    assert!(told.contains("1 principals"), "{told}");
    let refused = "mcpd_principals_reloads_total{result=\"refused\"}";
    server.await_metric(refused, |n| n == 1.0);
    welcomed(&server, "a").expect_alive(1);
}

#[test]
fn without_a_good_document_nobody_is_served() {
    let dir = scratch();
    let mut server = trusting(Start::new(), dir.path(), "[{name: till}]").spawn_unready();
    let why = server.await_get("/readyz?verbose", |status, body| {
        status == 503 && body.contains("auth.principals")
    });
    assert!(why.contains("neither tokens"), "{why}");
    write(dir.path(), &till("allow: [echo]"));
    server.await_data();
    welcomed(&server, "a").expect_alive(1);
}
