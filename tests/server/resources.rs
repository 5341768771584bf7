//! File descriptors and CPU time.

use crate::support::{Peer, Server, Start};
use crate::tools::{cpu_time, narrow_peer, request, routed, slow};
use mcpd_proto::{ErrorCode, Meta};
use std::io::Write;
use std::time::Duration;

/// CPU time used while nothing happens for a second, in which a busy loop would use all of it.
pub(crate) fn cpu_while_idle(server: &Server) -> Duration {
    let before = cpu_time(server);
    std::thread::sleep(Duration::from_secs(1));
    cpu_time(server) - before
}

/// The most of it that waiting may use.
pub(crate) const IDLE: Duration = Duration::from_millis(200);

#[test]
fn without_free_descriptors_it_serves_those_it_has_and_waits() {
    // Turned-away connections linger, each with a descriptor of its own, until there is none left.
    let start = Start::with_descriptors(64).set("LIMITS__CLOSE_LINGER", "30s");
    let mut server = start.spawn();
    let mut first = server.peer();
    first.expect_alive(1);
    let mut peers: Vec<Peer> = (0..100).map(|_| server.peer()).collect();
    server.await_log("cannot accept connections");
    first.expect_alive(2);
    let used = cpu_while_idle(&server);
    assert!(used < IDLE, "{used:?} of CPU for waiting");
    first.expect_alive(3);
    peers.clear();
    // There are descriptors again, for the sidecar too.
    assert!(server.metric("mcpd_accept_errors_total") > 0.0);
    // Dead connections that waited to be accepted may still take places for a moment.
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let mut next = server.peer();
        next.request(1, "echo", b"");
        if next.expect().is_response() {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no place is free again"
        );
    }
    drop(first);
    server.await_metric("mcpd_connections", |open| open == 0.0);
}

/// Sends until the server stops reading.
fn fill(peer: &mut Peer, topic: &str) {
    let short = Some(Duration::from_millis(100));
    peer.stream.set_write_timeout(short).unwrap();
    for seq in 1.. {
        let wire = request(seq, topic, &[0; 100_000], 0, Meta::EMPTY);
        if peer.stream.write_all(&wire).is_err() {
            return;
        }
    }
}

#[test]
fn connections_that_wait_for_something_use_no_cpu() {
    let start = slow(Start::new(), "10m")
        .set("HEARTBEAT__INTERVAL", "1s")
        .set("LIMITS__MAX_IN_FLIGHT_BYTES", "1MiB")
        .set("LIMITS__CLOSE_LINGER", "30s");
    let server = routed(
        start,
        &["topic: slow, handler: slow", "topic: echo, handler: echo"],
    );
    let _idle: Vec<Peer> = (0..100).map(|_| server.peer()).collect();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut half_closed = server.peer();
        half_closed.request(1, "slow", b"");
        half_closed.half_close();
        let mut lingering = server.peer();
        lingering.send(b"x");
        lingering.expect_end(ErrorCode::UNSUPPORTED_VERSION);
        let mut halfway = server.peer();
        halfway.send(&[1, 1, 0]);
        let (mut busy, mut blocked) = (server.peer(), narrow_peer(&server));
        fill(&mut busy, "slow");
        fill(&mut blocked, "echo");
        // Broken while something waits to be written.
        let mut erring = narrow_peer(&server);
        erring.send(&request(1, "echo", &vec![0; 900_000], 0, Meta::EMPTY));
        waiting.extend([half_closed, lingering, halfway, busy, blocked, erring]);
    }
    server.await_metric("mcpd_backpressure_total", |n| n >= 6.0);
    let used = cpu_while_idle(&server);
    assert!(used < IDLE, "{used:?} of CPU for waiting");
    drop((_idle, waiting));
    // That they are gone is noticed whether they were read or not, and their work stops.
    server.await_metric("mcpd_connections", |open| open == 0.0);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
}
