//! Work that takes its time: order, cancelling, deadlines, and clients that go away.

use crate::support::{Peer, Server, Start};
use crate::tools::{cancel, request, reset, rest, routed, slow, timeout_ms};
use mcpd_proto::{ErrorCode, Meta};

const ORDERED: &str = "topic: o/+, handler: slow, ordered: true";
const FREE: &str = "topic: slow, handler: slow";
const ECHO: &str = "topic: echo, handler: echo";

fn served(latency: &str) -> Server {
    routed(slow(Start::new(), latency), &[ORDERED, FREE, ECHO])
}

/// The `seq_id`s and codes of the next answers, 0 for a RESPONSE.
fn answers(peer: &mut Peer, n: usize) -> Vec<(u16, u16)> {
    let answer = |got: crate::support::Got| match got.frame() {
        mcpd_proto::Frame::Error(error) => (error.seq, error.code.get()),
        _ => (got.response().0, 0),
    };
    (0..n).map(|_| answer(peer.expect())).collect()
}

const CANCELLED: u16 = ErrorCode::CANCELLED.get();
const EXPIRED: u16 = ErrorCode::EXPIRED.get();
const LATE: u16 = ErrorCode::DEADLINE_EXCEEDED.get();

#[test]
fn an_ordered_topic_is_answered_in_sending_order_whatever_the_priority() {
    let start = Start::new()
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__MIN", "0s")
        .set("HANDLERS__SLOW__MAX", "20ms");
    let server = routed(start, &[ORDERED]);
    let mut peer = server.peer();
    let all: Vec<u8> = (1..=60)
        .flat_map(|seq| request(seq, "o/a", b"", (seq % 8) as u8, Meta::EMPTY))
        .collect();
    peer.send(&all);
    peer.half_close();
    let seqs: Vec<u16> = rest(&mut peer).iter().map(|got| got.response().0).collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<u16>>());
}

/// One after the other these would take longer than the tests' patience.
#[test]
fn other_topics_and_connections_do_not_wait() {
    let server = served("800ms");
    let mut peers = [server.peer(), server.peer()];
    for peer in &mut peers {
        for seq in 1..=40 {
            peer.request(seq, &format!("o/{seq}"), b"");
        }
    }
    for peer in &mut peers {
        let mut seqs: Vec<u16> = (0..40).map(|_| peer.expect().response().0).collect();
        seqs.sort();
        assert_eq!(seqs, (1..=40).collect::<Vec<u16>>());
    }
}

#[test]
fn waiting_requests_can_be_cancelled_and_expire() {
    let server = served("300ms");
    let mut peer = server.peer();
    peer.request(1, "o/a", b"");
    peer.request(2, "o/a", b"");
    let short = timeout_ms(50);
    peer.send(&request(3, "o/a", b"", 0, short.view()));
    peer.request(4, "o/a", b"");
    peer.send(&cancel(2));
    let expected = [(2, CANCELLED), (1, 0), (3, EXPIRED), (4, 0)];
    assert_eq!(answers(&mut peer, 4), expected);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
    peer.request(2, "o/a", b"free again");
    assert_eq!(answers(&mut peer, 1), [(2, 0)]);
}

#[test]
fn cancelling_the_one_that_runs_lets_the_next_one_run() {
    let server = served("300ms");
    let mut peer = server.peer();
    for seq in 1..=3 {
        peer.request(seq, "o/a", b"");
    }
    peer.send(&cancel(1));
    peer.send(&cancel(1));
    assert_eq!(answers(&mut peer, 3), [(1, CANCELLED), (2, 0), (3, 0)]);
}

#[test]
fn cancel_stops_the_work_and_frees_the_slot() {
    let server = served("10m");
    let mut peer = server.peer();
    peer.send(&cancel(77));
    peer.expect_alive(1);
    peer.send(&cancel(1));
    for seq in 1..=3 {
        peer.request(seq, "slow", b"");
    }
    server.await_metric("mcpd_requests_in_flight", |n| n == 3.0);
    peer.send(&cancel(2));
    assert_eq!(answers(&mut peer, 1), [(2, CANCELLED)]);
    assert_eq!(server.metric("mcpd_requests_in_flight"), 2.0);
    peer.expect_alive(2);
    // Those that still run keep theirs.
    peer.request(3, "echo", b"");
    peer.expect_end(ErrorCode::PROTOCOL_ERROR);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
}

#[test]
fn patience_ends_before_and_during_the_work() {
    let routes = [
        "topic: slow, handler: slow",
        "topic: brief, handler: slow, timeout: 100ms",
    ];
    let server = routed(slow(Start::new(), "10m"), &routes);
    let mut peer = server.peer();
    for (seq, ms) in [(1, 0), (2, 50)] {
        let meta = timeout_ms(ms);
        peer.send(&request(seq, "slow", b"", 0, meta.view()));
    }
    assert_eq!(answers(&mut peer, 2), [(1, EXPIRED), (2, LATE)]);
    // The route's own patience is the longest there is.
    let meta = timeout_ms(600_000);
    peer.send(&request(3, "brief", b"", 0, meta.view()));
    assert_eq!(answers(&mut peer, 1), [(3, LATE)]);
}

#[test]
fn latency_is_counted_to_the_answer() {
    let server = served("300ms");
    let mut peer = server.peer();
    peer.request(1, "slow", b"");
    assert_eq!(answers(&mut peer, 1), [(1, 0)]);
    let page = server.get("/metrics").1;
    let sum = page
        .lines()
        .find(|line| line.starts_with("mcpd_request_duration_seconds_sum") && line.contains("slow"))
        .unwrap_or_else(|| panic!("no duration of the route in\n{page}"));
    let seconds: f64 = sum.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(seconds >= 0.3, "{sum}");
}

/// Whoever breaks the connection has nobody left to answer.
#[test]
fn a_broken_connection_stops_its_work() {
    let server = served("10m");
    let (mut peer, mut erring) = (server.peer(), server.peer());
    for seq in 1..=5 {
        peer.request(seq, "slow", b"");
        peer.request(seq + 5, "o/a", b"");
        erring.request(seq, "slow", b"");
    }
    server.await_metric("mcpd_requests_in_flight", |n| n == 15.0);
    reset(peer);
    server.await_metric("mcpd_requests_in_flight", |n| n == 5.0);
    erring.send(b"nonsense");
    erring.expect_end(ErrorCode::UNSUPPORTED_VERSION);
    drop(erring);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
    server.await_metric("mcpd_connections", |n| n == 0.0);
    let closed = |reason: &str| {
        server.metric(&format!(
            r#"mcpd_connections_closed_total{{reason="{reason}"}}"#
        ))
    };
    assert_eq!((closed("RESET"), closed("UNSUPPORTED_VERSION")), (1.0, 1.0));
}

/// Half a frame in front of the end is no reason to give up what came whole.
#[test]
fn what_came_whole_is_answered_although_the_end_cuts_a_frame() {
    let start = slow(Start::new(), "600ms").set("LIMITS__FRAME_TIMEOUT", "200ms");
    let server = routed(start, &[FREE]);
    let mut peer = server.peer();
    peer.request(1, "slow", b"whole");
    peer.send(&[1, 1, 0, 2]);
    peer.half_close();
    let got = rest(&mut peer);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].response(), (1, b"whole".to_vec()));
}

/// At the end of a drain work is cut off, and may have had an effect. What waited for its turn has not.
#[test]
fn what_never_had_its_turn_is_refused_when_a_drain_ends() {
    let start = slow(Start::new(), "10m").set("DRAIN__FINISH", "200ms");
    let mut server = routed(start, &[ORDERED]);
    let mut peer = server.peer();
    for seq in 1..=3 {
        peer.request(seq, "o/a", b"");
    }
    server.await_metric("mcpd_requests_in_flight", |n| n == 3.0);
    server.signal("TERM");
    assert!(matches!(
        peer.expect().frame(),
        mcpd_proto::Frame::GoAway(_)
    ));
    let mut got = answers(&mut peer, 3);
    got.sort();
    let refused = ErrorCode::DRAINING.get();
    assert_eq!(got, [(1, LATE), (2, refused), (3, refused)]);
    peer.expect_end(ErrorCode::CLOSING);
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn time_runs_on_while_a_request_is_held_back() {
    let start = slow(Start::new(), "300ms").set("LIMITS__MAX_IN_FLIGHT_BYTES", "1MiB");
    let server = routed(start, &[FREE, ECHO]);
    let mut peer = server.peer();
    let large = |seq| request(seq, "slow", &[0; 600_000], 0, Meta::EMPTY);
    let patience = timeout_ms(100);
    let all = [
        large(1),
        large(2),
        request(3, "echo", b"", 0, patience.view()),
        request(4, "echo", b"", 0, Meta::EMPTY),
    ]
    .concat();
    // The end of the second request, which fills the room, comes in one read with those behind it.
    let (first, last) = all.split_at(all.len() - 200);
    peer.send(first);
    let read = |bytes: f64| bytes >= first.len() as f64;
    server.await_metric("mcpd_frame_bytes_total{direction=\"in\"}", read);
    peer.send(last);
    let mut got = answers(&mut peer, 4);
    got.sort();
    assert_eq!(got, [(1, 0), (2, 0), (3, EXPIRED), (4, 0)]);
}
