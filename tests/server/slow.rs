//! Peers that read slowly or never, and what must not suffer from them.

use crate::support::{Got, PATIENCE, Peer, Server, Start, scratch};
use crate::tools::{heartbeat, narrow_peer, request, resident, rest, routed};
use mcpd_proto::{ErrorCode, Frame, Meta};
use std::io::Write;
use std::time::{Duration, Instant};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A server whose topic `big` answers with this many bytes.
fn with_big_answers(start: Start, bytes: usize) -> Server {
    let dir = scratch();
    let file = dir.path().join("big");
    std::fs::write(&file, vec![b'b'; bytes]).unwrap();
    let start = start
        .set("HANDLERS__BIG__TYPE", "static")
        .set("HANDLERS__BIG__BODY_FILE", file.to_str().unwrap());
    routed(
        start,
        &["topic: echo, handler: echo", "topic: big, handler: big"],
    )
}

/// Sends echoes until the server takes no more, as a peer does that never reads.
fn send_until_stuck(peer: &mut Peer, body: &[u8]) -> u16 {
    peer.stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    for seq in 1..=u16::MAX {
        let wire = request(seq, "echo", body, 0, Meta::EMPTY);
        if peer.stream.write_all(&wire).is_err() {
            return seq;
        }
    }
    panic!("the server takes everything from a peer that reads nothing");
}

#[test]
fn a_peer_that_never_reads_is_stopped_and_closed_and_costs_only_itself() {
    let server = Start::new().set("LIMITS__WRITE_TIMEOUT", "1s").spawn();
    let mut other = server.peer();
    other.expect_alive(1);
    let before = resident(&server);
    let mut stuck = narrow_peer(&server);
    let sent = send_until_stuck(&mut stuck, &[0; 64 * KIB]);
    assert!(sent > 64, "4 MiB of answers may wait");
    assert!(server.metric("mcpd_backpressure_total") > 0.0);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 24 * MIB, "{grown} bytes for one connection");
    other.expect_alive(2);
    server.await_metric("mcpd_slow_consumers_total", |n| n == 1.0);
    let closed = r#"mcpd_connections_closed_total{reason="SLOW_CONSUMER"}"#;
    server.await_metric(closed, |n| n == 1.0);
    other.expect_alive(3);
}

/// To the kernel a closed window is as bad as a lost peer, if it is asked to watch for those.
#[test]
fn the_kernel_does_not_judge_those_that_do_not_read() {
    let server = Start::new()
        .set("DATA__USER_TIMEOUT", "1s")
        .set("LIMITS__WRITE_TIMEOUT", "2s")
        .spawn();
    let mut stuck = narrow_peer(&server);
    send_until_stuck(&mut stuck, &[0; 64 * KIB]);
    let closed = r#"mcpd_connections_closed_total{reason="SLOW_CONSUMER"}"#;
    server.await_metric("mcpd_connections", |open| open == 0.0);
    assert_eq!(server.metric(closed), 1.0);
}

/// A slow consumer that wakes up in time gets whole frames, and is told why there are no more.
#[test]
fn a_slow_consumer_that_wakes_up_learns_why() {
    let start = Start::new()
        .set("LIMITS__WRITE_TIMEOUT", "300ms")
        .set("LIMITS__CLOSE_LINGER", "20s");
    let server = with_big_answers(start, 256 * KIB);
    let mut peer = narrow_peer(&server);
    for seq in 1..=200 {
        peer.request(seq, "big", b"");
    }
    server.await_metric("mcpd_slow_consumers_total", |n| n == 1.0);
    let got = rest(&mut peer);
    let (last, before) = got.split_last().unwrap();
    assert_eq!(last.error(), (0, ErrorCode::SLOW_CONSUMER));
    assert!(before.len() < 200);
    for (seq, got) in (1..).zip(before) {
        assert_eq!(got.response(), (seq, vec![b'b'; 256 * KIB]));
    }
}

/// Only a time without a single byte makes a slow consumer. The kernel calls a socket writable when a
/// third of its buffer is free, which takes this reader far longer than the write timeout.
#[test]
fn a_slow_but_steady_reader_is_served() {
    let server = with_big_answers(Start::new().set("LIMITS__WRITE_TIMEOUT", "300ms"), MIB - 64);
    let mut peer = narrow_peer(&server);
    for seq in 1..=12 {
        peer.request(seq, "big", b"");
    }
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    let mut slowly = Vec::new();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let mut piece = vec![0; 12 * KIB];
        let n = std::io::Read::read(&mut peer.stream, &mut piece).unwrap();
        slowly.extend_from_slice(&piece[..n]);
        std::thread::sleep(Duration::from_millis(30));
    }
    peer.half_close();
    std::io::Read::read_to_end(&mut peer.stream, &mut slowly).unwrap();
    let wire_len = 10 + MIB - 64;
    assert_eq!(slowly.len(), 12 * wire_len, "every answer arrives whole");
    assert_eq!(server.metric("mcpd_slow_consumers_total"), 0.0);
}

/// Requests that back-pressure held back are not lost when the client has nothing more to say.
#[test]
fn what_was_held_back_is_answered_after_a_half_close() {
    let server = with_big_answers(
        Start::new().set("LIMITS__MAX_OUTBOUND_BYTES", "1MiB"),
        16 * KIB,
    );
    let mut peer = narrow_peer(&server);
    let all: Vec<u8> = (1..=3000)
        .flat_map(|seq| request(seq, "big", b"", 0, Meta::EMPTY))
        .collect();
    peer.send(&all);
    peer.half_close();
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    let seqs: Vec<u16> = rest(&mut peer).iter().map(|got| got.response().0).collect();
    assert_eq!(seqs, (1..=3000).collect::<Vec<u16>>());
}

/// A client that is always a little behind keeps its lane from ever running empty.
#[test]
fn a_client_that_is_always_behind_does_not_grow_the_server() {
    const FRAMES: usize = 20_000;
    let server = Server::start();
    let mut peer = narrow_peer(&server);
    let mut writer = peer.stream.try_clone().unwrap();
    let wire = request(1, "echo", &[0; 2 * KIB], 0, Meta::EMPTY);
    let sending = std::thread::spawn(move || {
        let many = wire.repeat(100);
        for _ in 0..FRAMES / 100 {
            writer.write_all(&many).unwrap();
        }
    });
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    let before = resident(&server);
    let mut piece = vec![0; 64 * KIB];
    let mut left = FRAMES * (10 + 2 * KIB);
    let mut most = 0;
    let mut looks = 0;
    while left > 0 {
        left -= std::io::Read::read(&mut peer.stream, &mut piece).unwrap();
        looks += 1;
        // A little slower than the server writes.
        std::thread::sleep(Duration::from_micros(300));
        if looks % 100 == 0 {
            most = most.max(resident(&server));
        }
    }
    sending.join().unwrap();
    let grown = most.saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes for one connection");
}

#[test]
fn the_urgent_overtakes_what_waits() {
    let start = Start::new().set("LIMITS__MAX_OUTBOUND_BYTES", "64MiB");
    let server = with_big_answers(start, 16 * KIB);
    let mut peer = narrow_peer(&server);
    let bulk: u16 = 2000;
    for seq in 1..=bulk {
        peer.request(seq, "big", b"");
    }
    peer.send(&request(9000, "echo", b"urgent", 7, Meta::EMPTY));
    peer.send(&heartbeat(1));
    let beats = r#"mcpd_frames_total{direction="in",type="heartbeat"}"#;
    server.await_metric(beats, |n| n == 1.0);
    peer.half_close();
    let got = rest(&mut peer);
    let at = |wanted: &dyn Fn(&Got) -> bool| got.iter().position(wanted).unwrap();
    let beat = at(&|got| matches!(got.frame(), Frame::Heartbeat(_)));
    let urgent = at(&|got| matches!(got.frame(), Frame::Response(r) if r.seq == 9000));
    assert!(beat < urgent, "control goes first: {beat}, {urgent}");
    assert!(
        urgent < 1500,
        "the answer of priority 7 was number {urgent}"
    );
    let others = got.iter().filter_map(|got| match got.frame() {
        Frame::Response(response) if response.seq != 9000 => Some(response.seq),
        _ => None,
    });
    assert!(others.eq(1..=bulk), "the others keep their order");
}

/// A peer that reads again after a pause shorter than the write timeout has lost nothing.
#[test]
fn reading_goes_on_once_there_is_room() {
    let server = Server::start();
    let mut peer = narrow_peer(&server);
    let stuck_at = send_until_stuck(&mut peer, &[1; 16 * KIB]);
    // The request that got stuck was sent in part; only whole ones are answered.
    for seq in 1..stuck_at {
        assert_eq!(peer.expect().response().0, seq);
    }
    peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.half_close();
    assert_eq!(peer.next(), None);
}

/// A peer that says all it has to say before it reads must not be stuck against a server that has
/// already ended the connection and waits to be read.
#[test]
fn a_peer_that_goes_on_writing_gets_to_the_error() {
    let start = Start::new().set("LIMITS__CLOSE_LINGER", "30s");
    let server = with_big_answers(start, MIB - 64);
    let mut peer = narrow_peer(&server);
    for seq in 1..=4 {
        peer.request(seq, "big", b"");
    }
    peer.send(&vec![9; 32 * MIB]);
    let got = rest(&mut peer);
    assert_eq!(got.len(), 5);
    assert_eq!(got[4].error(), (0, ErrorCode::UNSUPPORTED_VERSION));
}
