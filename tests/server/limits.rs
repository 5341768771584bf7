//! Limits: each refuses with its code, is counted, and lets go again.

use crate::support::{Peer, Server, Start};
use crate::tools::{cancel, dial, heartbeat, hello, rest, routed, slow, wire};
use mcpd_proto::{ErrorCode, ErrorFrame, Frame, GoAwayReason, Meta, Side};
use std::io::Read;
use std::net::TcpStream;

/// Connections held open while others keep trying.
const PLACES: usize = 1_000;
/// Attempts on top of them.
const ATTEMPTS: usize = 20_000;

/// What a connection without a place is told, if it is told anything.
fn is_turned_away(stream: TcpStream) -> bool {
    let mut answer = Vec::new();
    if { stream }.read_to_end(&mut answer).is_err() || answer.is_empty() {
        return true;
    }
    match Frame::decode_one(&answer, Side::Client, u32::MAX) {
        Ok((Frame::Error(error), n)) => {
            n == answer.len()
                && (error.seq, error.code) == (0, ErrorCode::TOO_MANY_CONNECTIONS)
                && error.meta.retry_after_ms().is_some()
        }
        _ => false,
    }
}

#[test]
fn twenty_thousand_attempts_against_a_thousand_places() {
    let server = Start::new()
        .set("DATA__MAX_CONNECTIONS", "1000")
        .set("DATA__ACCEPTS_PER_SECOND", "0")
        .spawn();
    let mut inside: Vec<Peer> = (0..PLACES).map(|_| server.peer()).collect();
    server.await_metric("mcpd_connections", |open| open == PLACES as f64);
    let data = server.data;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..ATTEMPTS / 4 {
                    assert!(is_turned_away(dial(data)));
                }
            });
        }
        for (seq, peer) in (1..).zip(&mut inside) {
            peer.expect_alive(seq);
        }
    });
    let rejected = r#"mcpd_connections_rejected_total{reason="limit"}"#;
    assert_eq!(server.metric(rejected), ATTEMPTS as f64);
    assert_eq!(
        server.metric("mcpd_connections_opened_total"),
        PLACES as f64
    );
    inside.truncate(PLACES - 10);
    server.await_metric("mcpd_connections", |open| open == (PLACES - 10) as f64);
    let mut newcomers: Vec<Peer> = (0..10).map(|_| server.peer()).collect();
    newcomers.iter_mut().for_each(|peer| peer.expect_alive(1));
    assert!(is_turned_away(dial(server.data)));
    drop((inside, newcomers));
    server.await_metric("mcpd_connections", |open| open == 0.0);
}

#[test]
fn accepts_beyond_the_rate_are_turned_away_and_counted() {
    let server = Start::new().set("DATA__ACCEPTS_PER_SECOND", "5").spawn();
    // However seconds fall, 40 at once are more than two of them allow.
    let streams: Vec<TcpStream> = (0..40).map(|_| dial(server.data)).collect();
    let rejected = r#"mcpd_connections_rejected_total{reason="rate"}"#;
    server.await_metric("mcpd_connections_opened_total", |n| n >= 5.0);
    server.await_metric(rejected, |n| n >= 20.0);
    drop(streams);
    crate::tools::eventually("a place in a later second", || {
        let mut peer = server.peer();
        let code = ErrorCode::TOO_MANY_CONNECTIONS;
        !matches!(first_answer(&mut peer), Some(Frame::Error(e)) if e.code == code)
    });
}

/// Half-closes and gives the only frame there is.
fn first_answer(peer: &mut Peer) -> Option<Frame<'static>> {
    let _ = peer.stream.shutdown(std::net::Shutdown::Write);
    let got = peer.next()?;
    let frame: &'static crate::support::Got = Box::leak(Box::new(got));
    Some(frame.frame())
}

#[test]
fn a_slot_is_free_after_its_answer() {
    let start = slow(Start::new(), "400ms").set("LIMITS__MAX_IN_FLIGHT", "256");
    let server = routed(
        start,
        &["topic: slow, handler: slow", "topic: echo, handler: echo"],
    );
    let mut peer = server.peer();
    for seq in 1..=257 {
        peer.request(seq, "slow", b"");
    }
    assert_eq!(peer.expect().error(), (257, ErrorCode::TOO_MANY_IN_FLIGHT));
    assert_eq!(server.metric("mcpd_requests_in_flight"), 256.0);
    let (freed, _) = peer.expect().response();
    peer.request(freed, "slow", b"again");
    let answers: Vec<_> = (0..256).map(|_| peer.expect().response()).collect();
    assert_eq!(answers.last(), Some(&(freed, b"again".to_vec())));
}

#[test]
fn bytes_in_flight_stop_the_reading_until_they_are_answered() {
    let start = slow(Start::new(), "100ms").set("LIMITS__MAX_IN_FLIGHT_BYTES", "1MiB");
    let server = routed(start, &["topic: slow, handler: slow"]);
    let mut peer = server.peer();
    let mut writer = Peer::new(peer.stream.try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        for seq in 1..=40 {
            writer.request(seq, "slow", &[0; 256 * 1024]);
        }
        writer.half_close();
    });
    let (mut most, mut answered) = (0.0_f64, 0);
    while let Some(got) = peer.next() {
        assert_eq!(got.response().1.len(), 256 * 1024);
        most = most.max(server.metric("mcpd_requests_in_flight"));
        answered += 1;
    }
    sending.join().unwrap();
    assert_eq!(answered, 40);
    assert!(most <= 5.0, "{most} requests of 256 KiB at once");
    assert!(server.metric("mcpd_backpressure_total") > 0.0);
}

#[test]
fn an_answer_larger_than_the_client_takes_is_an_error_of_its_own() {
    let server = Server::start();
    let mut peer = server.peer();
    peer.send(&hello(|meta| meta.set_max_payload(200)));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer.request(1, "echo", &[0; 201]);
    assert_eq!(peer.expect().error(), (1, ErrorCode::RESULT_TOO_LARGE));
    peer.request(2, "echo", &[0; 200]);
    assert_eq!(peer.expect().response(), (2, vec![0; 200]));
}

#[test]
fn what_is_wrong_is_told_in_the_space_that_the_client_has() {
    let server = Start::new().set("DRAIN__DELAY", "0s").spawn();
    let error = |peer: &mut Peer| match peer.expect().frame() {
        Frame::Error(error) => {
            assert!(error.encoded_len() <= 10 + 25, "{error:?}");
            (error.seq, error.code, error.text().to_owned())
        }
        other => panic!("an ERROR, not {other:?}"),
    };
    let mut peer = server.peer();
    peer.send(&hello(|meta| meta.set_max_payload(25)));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer.request(1, "echo", &[0; 26]);
    let (seq, code, _) = error(&mut peer);
    assert_eq!((seq, code), (1, ErrorCode::RESULT_TOO_LARGE));
    // What is left ends between two characters.
    peer.request(2, "aä/ö", b"");
    let told = (2, ErrorCode::NO_ROUTE, "no route for topic \"aä".into());
    assert_eq!(error(&mut peer), told);
    peer.request(0, "echo", b"");
    let (seq, code, _) = error(&mut peer);
    assert_eq!((seq, code), (0, ErrorCode::PROTOCOL_ERROR));
    assert!(peer.next().is_none());

    let mut peer = server.peer();
    peer.send(&hello(|meta| meta.set_max_payload(25)));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    server.signal("TERM");
    match peer.expect().frame() {
        Frame::GoAway(goaway) => assert!(goaway.encoded_len() <= 10 + 25, "{goaway:?}"),
        other => panic!("a GOAWAY, not {other:?}"),
    }
    let (seq, code, _) = error(&mut peer);
    assert_eq!((seq, code), (0, ErrorCode::CLOSING));
}

#[test]
fn control_frames_over_the_budget_end_the_connection() {
    let server = Start::new()
        .set("LIMITS__CONTROL_FRAMES_PER_SECOND", "100")
        .spawn();
    let ignored = [1, 0x33, 0, 7, 0, 0, 0, 3, 0, 0x10, b'x', b'y', b'z'].to_vec();
    let floods = [heartbeat(3), cancel(3), ignored];
    for flood in floods {
        let mut peer = server.peer();
        peer.expect_alive(1);
        peer.send(&flood.repeat(100));
        peer.expect_alive_after_replies(2);
        peer.send(&flood.repeat(1000));
        let got = rest(&mut peer);
        assert_eq!(got.last().unwrap().error(), (0, ErrorCode::CALM_DOWN));
    }
    let closed = r#"mcpd_connections_closed_total{reason="CALM_DOWN"}"#;
    server.await_metric(closed, |n| n == 3.0);
}

impl Peer {
    /// Like [`Peer::expect_alive`], behind any number of heartbeat answers.
    fn expect_alive_after_replies(&mut self, seq: u16) {
        self.request(seq, "echo", b"alive?");
        loop {
            let got = self.expect();
            if !matches!(got.frame(), Frame::Heartbeat(beat) if beat.reply) {
                return assert_eq!(got.response(), (seq, b"alive?".to_vec()));
            }
        }
    }
}

#[test]
fn an_old_connection_is_asked_to_move_and_ends_in_order() {
    let start = slow(Start::new(), "1500ms")
        .set("LIMITS__MAX_AGE", "1s")
        .set("GOAWAY__GRACE", "1s");
    let server = routed(
        start,
        &["topic: slow, handler: slow", "topic: echo, handler: echo"],
    );
    let (mut peer, mut idle) = (server.peer(), server.peer());
    match peer.expect().frame() {
        Frame::GoAway(goaway) => assert_eq!(goaway.reason(), GoAwayReason::MaxAge),
        other => panic!("a GOAWAY, not {other:?}"),
    }
    peer.request(1, "slow", b"begun in the grace");
    peer.expect_alive(2);
    // Until the grace is over others are served too, then they are refused.
    let mut seq = 3;
    loop {
        peer.request(seq, "echo", b"");
        let got = peer.expect();
        match got.frame() {
            Frame::Response(response) => assert_eq!(response.seq, seq),
            Frame::Error(error) => {
                assert_eq!((error.seq, error.code), (seq, ErrorCode::DRAINING));
                break;
            }
            other => panic!("{other:?}"),
        }
        seq = seq % 60_000 + 3;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(peer.expect().response().0, 1);
    peer.expect_end(ErrorCode::CLOSING);
    // One that has nothing to do ends as well.
    assert!(matches!(idle.expect().frame(), Frame::GoAway(_)));
    idle.expect_end(ErrorCode::CLOSING);
    drop((peer, idle));
    server.await_metric(r#"mcpd_goaways_total{reason="max_age"}"#, |n| n == 2.0);
    server.await_metric(r#"mcpd_connections_closed_total{reason="CLOSING"}"#, |n| {
        n == 2.0
    });
}

/// What a client reports is worth a line of the log, not one for every control frame it may send.
#[test]
fn a_client_that_complains_does_not_fill_the_log() {
    let mut server = Server::start();
    let mut peer = server.peer();
    let complaint = wire(Frame::Error(ErrorFrame {
        seq: 0,
        priority: 0,
        code: ErrorCode::CALM_DOWN,
        detail: b"line\nbreak",
        meta: Meta::EMPTY,
    }));
    peer.send(&complaint.repeat(200));
    peer.expect_alive(1);
    drop(peer);
    server.signal("TERM");
    let lines: Vec<&String> = server
        .output_to_end()
        .iter()
        .filter(|line| line.contains("the client reports"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("CALM_DOWN") && lines[0].contains("break"));
}
