//! Peers that say nothing, or just enough to seem alive.

use crate::support::{Server, Start};
use crate::tools::{heartbeat, hello, request, rest, routed, slow};
use mcpd_proto::{ErrorCode, Frame, Meta};
use std::io::Write;
use std::time::Duration;

/// HELLO that promises a sign of life each second.
fn lively_hello() -> Vec<u8> {
    hello(|meta| meta.set_heartbeat(Duration::from_secs(1)))
}

#[test]
fn a_silent_peer_is_asked_once_and_given_up_after_three_intervals() {
    let server = Start::new().set("HEARTBEAT__INTERVAL", "1s").spawn();
    let mut peer = server.peer();
    peer.send(&lively_hello());
    let got = rest(&mut peer);
    let frames: Vec<Frame<'_>> = got.iter().map(|got| got.frame()).collect();
    match frames[..] {
        [Frame::Hello(_), Frame::Heartbeat(beat), Frame::Error(error)] => {
            assert!(!beat.reply);
            assert_eq!((error.seq, error.code), (0, ErrorCode::HEARTBEAT_TIMEOUT));
        }
        _ => panic!("one heartbeat, then the end: {frames:?}"),
    }
    assert_eq!(server.metric("mcpd_heartbeat_misses_total"), 1.0);
}

/// A byte of a frame is a sign of life, however slowly the frame comes.
#[test]
fn single_bytes_are_signs_of_life() {
    let server = Server::start();
    let mut peer = server.peer();
    peer.send(&lively_hello());
    for byte in heartbeat(9) {
        std::thread::sleep(Duration::from_millis(400));
        peer.send(&[byte]);
    }
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    match peer.expect().frame() {
        Frame::Heartbeat(beat) => assert!(beat.reply && beat.seq == 9),
        other => panic!("an answer to the heartbeat, not {other:?}"),
    }
}

/// Sends a byte every 50 ms until the server has had enough.
fn trickle(server: &Server, bytes: &[u8]) -> (u16, ErrorCode) {
    let mut peer = server.peer();
    let mut stream = peer.stream.try_clone().unwrap();
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || {
        for byte in bytes.into_iter().cycle() {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let got = rest(&mut peer);
    drop(peer);
    writing.join().unwrap();
    assert_eq!(got.len(), 1, "{got:?}");
    got[0].error()
}

#[test]
fn a_frame_that_trickles_in_is_cut_off() {
    let start = Start::new()
        .set("LIMITS__FRAME_TIMEOUT", "300ms")
        .set("LIMITS__CLOSE_LINGER", "100ms");
    let server = start.spawn();
    let frame = request(1, "echo", &[b'x'; 4000], 0, Meta::EMPTY);
    let error = trickle(&server, &frame);
    assert_eq!(error, (0, ErrorCode::PROTOCOL_ERROR));
}

/// After its error a peer is read for the linger time, and not a moment longer because it goes on.
#[test]
fn a_peer_that_never_stops_writing_is_closed_all_the_same() {
    let server = Start::new().set("LIMITS__CLOSE_LINGER", "100ms").spawn();
    let mut peer = server.peer();
    peer.send(b"not MCP");
    let mut stream = peer.stream.try_clone().unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while stream.write_all(&[b'x'; 1000]).is_ok() {
        assert!(std::time::Instant::now() < deadline, "still open");
    }
    server.await_metric("mcpd_connections", |open| open == 0.0);
}

#[test]
fn a_demanded_hello_must_be_whole_in_time() {
    let start = Start::new()
        .set("LIMITS__REQUIRE_HELLO", "true")
        .set("LIMITS__HELLO_TIMEOUT", "300ms")
        .set("LIMITS__CLOSE_LINGER", "100ms");
    let server = start.spawn();
    let id = "c".repeat(128);
    let frame = hello(|meta| {
        meta.set_client_id(&id).unwrap();
        meta.set_agent(&id).unwrap();
    });
    let error = trickle(&server, &frame);
    assert_eq!(error, (0, ErrorCode::UNAUTHENTICATED));

    let mut peer = server.peer();
    peer.expect_end(ErrorCode::UNAUTHENTICATED);
    let mut peer = server.peer();
    peer.send(&frame);
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer.expect_alive(1);
}

/// Who has said everything is silent with a right to it: its answer still comes.
#[test]
fn a_half_closed_client_is_not_taken_for_dead() {
    let server = routed(
        slow(Start::new(), "3500ms"),
        &["topic: slow, handler: slow"],
    );
    let mut peer = server.peer();
    peer.send(&lively_hello());
    peer.request(1, "slow", b"late");
    peer.half_close();
    let got = rest(&mut peer);
    let (last, before) = got.split_last().unwrap();
    assert!(
        before
            .iter()
            .all(|got| matches!(got.frame(), Frame::Hello(_) | Frame::Heartbeat(_)))
    );
    assert_eq!(last.response(), (1, b"late".to_vec()));
}

/// What a stopped process has not read is no silence of its peers.
#[test]
fn a_server_that_was_stopped_blames_nobody() {
    let server = Start::new().set("LIMITS__FRAME_TIMEOUT", "1s").spawn();
    let welcomed = || {
        let mut peer = server.peer();
        peer.send(&lively_hello());
        assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
        peer
    };
    let (mut beating, mut quiet, mut writing) = (welcomed(), welcomed(), welcomed());
    let long = request(1, "echo", &[7; 1000], 0, Meta::EMPTY);
    writing.send(&long[..500]);
    // The half frame has been read once this connection's request behind it is answered.
    beating.expect_alive(1);
    server.signal("STOP");
    beating.send(&heartbeat(5));
    // The stop is longer than three of the clients' intervals, and than a frame may take.
    std::thread::sleep(Duration::from_millis(4500));
    server.signal("CONT");
    assert!(matches!(beating.expect().frame(), Frame::Heartbeat(beat) if beat.reply));
    beating.expect_alive(2);
    quiet.expect_alive(1);
    writing.send(&long[500..]);
    assert_eq!(writing.expect().response(), (1, vec![7; 1000]));
}
