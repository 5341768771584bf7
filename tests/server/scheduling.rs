//! More work than places: who runs, who waits, who is turned away.

use crate::support::{Got, Peer, Server, Start};
use crate::tools::{cancel, request, routed, slow, timeout_ms};
use mcpd_proto::{Class, ErrorCode, Frame, Meta};

const SLOW: &str = "topic: slow, handler: slow";
const OTHER: &str = "topic: other, handler: other";
const ECHO: &str = "topic: echo, handler: echo";

/// A handler with this many places and as many that may wait; it answers when it is told to, if ever.
fn served(places: &str, queue: &str, latency: &str) -> Server {
    let start = slow(Start::new(), latency)
        .set("HANDLERS__SLOW__CONCURRENCY", places)
        .set("HANDLERS__SLOW__QUEUE", queue);
    routed(start, &[SLOW, ECHO])
}

fn send(peer: &mut Peer, seq: u16, topic: &str, priority: u8) {
    peer.send(&request(seq, topic, b"", priority, Meta::EMPTY));
}

/// The `seq_id` of an answer, and its code unless it is a RESPONSE.
fn outcome(got: &Got) -> (u16, Option<ErrorCode>) {
    match got.frame() {
        Frame::Error(error) => (error.seq, Some(error.code)),
        _ => (got.response().0, None),
    }
}

/// Whether an ERROR says when to come again.
fn wait_advised(got: &Got) -> bool {
    match got.frame() {
        Frame::Error(error) => error.meta.retry_after_ms().is_some_and(|ms| ms > 0),
        _ => false,
    }
}

pub(crate) fn depth(priority: u8) -> String {
    format!("mcpd_queue_depth{{priority=\"{priority}\"}}")
}

fn shed(priority: u8, reason: &str) -> String {
    format!("mcpd_shed_total{{priority=\"{priority}\",reason=\"{reason}\"}}")
}

#[test]
fn the_urgent_overtake_those_that_wait() {
    let server = served("1", "10", "50ms");
    let mut peer = server.peer();
    for (seq, priority) in [(1, 0), (2, 0), (3, 0), (4, 3), (5, 7)] {
        send(&mut peer, seq, "slow", priority);
    }
    let order: Vec<u16> = (0..5).map(|_| peer.expect().response().0).collect();
    assert_eq!(order, [1, 5, 4, 2, 3]);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
    assert_eq!(server.metric(&depth(0)), 0.0);
    let waited = |priority| {
        let name = "mcpd_queue_wait_seconds_count";
        server.metric(&format!("{name}{{priority=\"{priority}\"}}"))
    };
    assert_eq!([0, 3, 7, 1].map(waited), [3.0, 1.0, 1.0, 0.0]);
}

#[test]
fn when_there_is_no_room_the_lowest_is_told_when_to_come_again() {
    let server = served("1", "2", "10m");
    let mut peer = server.peer();
    for seq in 1..=3 {
        send(&mut peer, seq, "slow", 1);
    }
    server.await_metric(&depth(1), |n| n == 2.0);
    // One that is as urgent finds no room, one that is more urgent takes the place of the newest.
    send(&mut peer, 4, "slow", 1);
    let got = peer.expect();
    assert_eq!(outcome(&got), (4, Some(ErrorCode::OVERLOADED)));
    assert!(wait_advised(&got));
    send(&mut peer, 5, "slow", 2);
    let got = peer.expect();
    assert_eq!(outcome(&got), (3, Some(ErrorCode::OVERLOADED)));
    assert!(wait_advised(&got));
    assert_eq!(server.metric(&shed(1, "full")), 1.0);
    assert_eq!(server.metric(&shed(1, "displaced")), 1.0);
    // What is answered in place does not mind.
    peer.expect_alive(9);
}

#[test]
fn the_priority_that_counts_is_the_one_within_the_bounds_of_the_route() {
    let start = slow(Start::new(), "50ms").set("HANDLERS__SLOW__CONCURRENCY", "1");
    let low = "topic: low, handler: slow, priority: {max: 1}";
    let high = "topic: high, handler: slow, priority: {min: 6}";
    let server = routed(start, &[low, high, ECHO]);
    let mut peer = server.peer();
    for (seq, topic, priority) in [(1, "low", 0), (2, "low", 7), (3, "high", 0)] {
        send(&mut peer, seq, topic, priority);
    }
    let order: Vec<u16> = (0..3).map(|_| peer.expect().response().0).collect();
    assert_eq!(order, [1, 3, 2]);
}

#[test]
fn patience_counts_the_time_in_the_queue() {
    let server = served("1", "10", "10m");
    let mut peer = server.peer();
    send(&mut peer, 1, "slow", 0);
    let brief = timeout_ms(50);
    peer.send(&request(2, "slow", b"", 0, brief.view()));
    let (seq, code) = outcome(&peer.expect());
    // It is certain that it has not run.
    assert_eq!((seq, code), (2, Some(ErrorCode::EXPIRED)));
    assert_eq!(code.map(ErrorCode::class), Some(Class::NotExecuted));
    assert_eq!(server.metric(&shed(0, "expired")), 1.0);
    assert_eq!(server.metric(&depth(0)), 0.0);
}

#[test]
fn who_waits_can_be_cancelled_or_go_away_and_leaves_the_queue() {
    let server = served("1", "10", "10m");
    let (mut peer, mut other) = (server.peer(), server.peer());
    send(&mut peer, 1, "slow", 0);
    server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    send(&mut peer, 2, "slow", 0);
    send(&mut other, 1, "slow", 5);
    server.await_metric(&depth(0), |n| n == 1.0);
    server.await_metric(&depth(5), |n| n == 1.0);
    peer.send(&cancel(2));
    assert_eq!(outcome(&peer.expect()), (2, Some(ErrorCode::CANCELLED)));
    assert_eq!(server.metric(&depth(0)), 0.0);
    crate::tools::reset(other);
    server.await_metric(&depth(5), |n| n == 0.0);
    // The place that is freed is there for the next one.
    peer.send(&cancel(1));
    assert_eq!(outcome(&peer.expect()), (1, Some(ErrorCode::CANCELLED)));
    send(&mut peer, 3, "slow", 0);
    server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    assert_eq!(server.metric(&depth(0)), 0.0);
}

#[test]
fn the_whole_server_has_a_limit_too_but_not_for_answers_in_place() {
    let start = slow(Start::new(), "10m")
        .set("HANDLERS__OTHER__TYPE", "delay")
        .set("HANDLERS__OTHER__LATENCY", "10m")
        .set("SCHEDULER__MAX_RUNNING", "2")
        .set("SCHEDULER__MAX_WAITING", "1");
    let server = routed(start, &[SLOW, OTHER, ECHO]);
    let mut peer = server.peer();
    send(&mut peer, 1, "slow", 0);
    send(&mut peer, 2, "other", 0);
    send(&mut peer, 3, "slow", 0);
    server.await_metric(&depth(0), |n| n == 1.0);
    send(&mut peer, 4, "other", 0);
    assert_eq!(outcome(&peer.expect()), (4, Some(ErrorCode::OVERLOADED)));
    peer.expect_alive(9);
}

/// The handler's queue comes before the server's places: else those who wait for a slow handler would
/// take them all, and with them everybody else's.
#[test]
fn who_waits_for_a_slow_handler_holds_up_no_other() {
    let start = slow(Start::new(), "10m")
        .set("HANDLERS__SLOW__CONCURRENCY", "1")
        .set("HANDLERS__OTHER__TYPE", "delay")
        .set("SCHEDULER__MAX_RUNNING", "2");
    let server = routed(start, &[SLOW, OTHER, ECHO]);
    let mut peer = server.peer();
    for seq in 1..=3 {
        send(&mut peer, seq, "slow", 7);
    }
    server.await_metric(&depth(7), |n| n == 2.0);
    send(&mut peer, 4, "other", 0);
    assert_eq!(outcome(&peer.expect()), (4, None));
}

/// At the end of a drain what runs is cut off; what waits is said not to have run.
#[test]
fn what_waits_at_the_end_of_a_drain_has_not_run() {
    cut_off_while_two_of_three_wait(SLOW);
}

/// Nor has it when its rate limit has let it pass already, and it waits for its place.
#[test]
fn what_waits_behind_a_leaky_bucket_at_the_end_of_a_drain_has_not_run() {
    let limit = "rate_limit: {per_second: 100, burst: 3, algorithm: leaky_bucket}";
    cut_off_while_two_of_three_wait(&format!("{SLOW}, {limit}"));
}

#[track_caller]
fn cut_off_while_two_of_three_wait(route: &str) {
    let start = slow(Start::new(), "10m")
        .set("HANDLERS__SLOW__CONCURRENCY", "1")
        .set("DRAIN__FINISH", "200ms");
    let mut server = routed(start, &[route, ECHO]);
    let mut peer = server.peer();
    for seq in 1..=3 {
        send(&mut peer, seq, "slow", 0);
    }
    server.await_metric(&depth(0), |n| n == 2.0);
    server.signal("TERM");
    assert!(matches!(peer.expect().frame(), Frame::GoAway(_)));
    let mut got: Vec<_> = (0..3).map(|_| outcome(&peer.expect())).collect();
    got.sort_by_key(|(seq, _)| *seq);
    let codes = [
        ErrorCode::DEADLINE_EXCEEDED,
        ErrorCode::DRAINING,
        ErrorCode::DRAINING,
    ];
    let expected: Vec<_> = (1..=3).zip(codes.map(Some)).collect();
    assert_eq!(got, expected);
    peer.expect_end(ErrorCode::CLOSING);
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn a_leaky_bucket_spreads_a_burst_and_refuses_what_is_over_it() {
    let even = "topic: even, handler: echo, \
                rate_limit: {per_second: 10, burst: 3, algorithm: leaky_bucket}";
    let server = routed(Start::new(), &[even, ECHO]);
    let mut peer = server.peer();
    let began = std::time::Instant::now();
    let all: Vec<u8> = (1..=4)
        .flat_map(|seq| request(seq, "even", &[seq as u8], 0, Meta::EMPTY))
        .collect();
    peer.send(&all);
    let got: Vec<_> = (0..4).map(|_| outcome(&peer.expect())).collect();
    let refused = (4, Some(ErrorCode::RATE_LIMITED));
    assert!(got.contains(&refused), "{got:?}");
    let ran: Vec<_> = got.into_iter().filter(|got| *got != refused).collect();
    assert_eq!(ran, [(1, None), (2, None), (3, None)]);
    // The third had to wait for two intervals; less would be no limit.
    assert!(began.elapsed() >= std::time::Duration::from_millis(200));
    // Nobody is made to wait in vain.
    let brief = timeout_ms(20);
    let two: Vec<u8> = (5..=6)
        .flat_map(|seq| request(seq, "even", b"", 0, brief.view()))
        .collect();
    peer.send(&two);
    let got: Vec<_> = (0..2).map(|_| outcome(&peer.expect())).collect();
    assert!(got.contains(&(6, Some(ErrorCode::RATE_LIMITED))), "{got:?}");
}
