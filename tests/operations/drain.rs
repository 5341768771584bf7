//! SIGTERM and SIGINT: the windows of a drain, and what a client is told in each.
//!
//! Windows of an hour stand for "until told otherwise"; SIGINT goes on to the next one.

use crate::support::{Got, Peer, Server, Start};
use mcpd_proto::{Cancel, ErrorCode, Frame};
use std::time::{Duration, Instant};

/// With handlers `echo`, and `heartbeat` that takes an hour.
fn start(delay: &str, spread: &str, finish: &str) -> Start {
    Start::new()
        .set("HANDLERS__MONITOR__TYPE", "delay")
        .set("HANDLERS__MONITOR__LATENCY", "1h")
        .set("DRAIN__DELAY", delay)
        .set("DRAIN__SPREAD", spread)
        .set("DRAIN__FINISH", finish)
}

/// Sends a request that takes an hour, and waits until it is being worked on.
fn begin_long_work(server: &Server, peer: &mut Peer) {
    let before = server.metric("mcpd_requests_in_flight");
    peer.request(1, "heartbeat", b"");
    server.await_metric("mcpd_requests_in_flight", |n| n == before + 1.0);
}

fn is_draining(server: &Server) {
    server.await_metric("mcpd_lifecycle_state{state=\"shutting_down\"}", |n| {
        n == 1.0
    });
}

/// RETRY_AFTER_MS of a GOAWAY.
fn goaway(got: &Got) -> Option<u32> {
    match got.frame() {
        Frame::GoAway(goaway) => goaway.meta.retry_after_ms(),
        other => panic!("a GOAWAY, not {other:?}"),
    }
}

/// Nothing has been sent that was not read: the next thing to come is the answer to this.
fn expect_undisturbed(peer: &mut Peer, seq: u16) {
    peer.expect_alive(seq);
}

/// Expects exit code 0 and one line that sums the drain up; gives that line.
fn expect_summary(server: &mut Server) -> serde_json::Value {
    assert_eq!(server.await_exit(), Some(0));
    let lines = server.output_to_end();
    let drained: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("\"message\":\"drained\""))
        .collect();
    assert_eq!(drained.len(), 1, "{lines:?}");
    serde_json::from_str(drained[0]).unwrap()
}

#[test]
fn during_the_delay_everything_is_as_before_but_for_readiness() {
    let mut server = start("1h", "1h", "1h").spawn();
    let mut peer = server.peer();
    server.signal("TERM");
    is_draining(&server);
    expect_undisturbed(&mut peer, 1);
    expect_undisturbed(&mut server.peer(), 1);
    assert_eq!(server.get("/readyz").0, 503);
    let page = server.get("/readyz?verbose").1;
    assert!(
        page.contains("[-] lifecycle: shutting_down (drain asked for by SIGTERM)"),
        "{page}"
    );
    assert_eq!(server.get("/livez").0, 200);
    assert!(
        server
            .get("/statusz")
            .1
            .contains("\"lifecycle\":\"shutting_down\"")
    );
    // A runtime may send it again.
    server.signal("TERM");
    server.await_log("SIGTERM during the drain is ignored");
    expect_undisturbed(&mut peer, 2);
    server.signal("INT");
    server.await_log("the drain is hastened");
    peer.expect_draining_and_end();
    drop(peer);
    let summary = expect_summary(&mut server);
    assert_eq!(summary["cut"], 0, "{summary}");
    assert_eq!(summary["abandoned"], 0, "{summary}");
}

#[test]
fn kept_readiness_ends_with_the_first_draining() {
    let server = start("1h", "1h", "1h")
        .set("DRAIN__READINESS", "keep")
        .spawn();
    let mut peer = server.peer();
    begin_long_work(&server, &mut peer);
    server.signal("TERM");
    is_draining(&server);
    assert_eq!(server.get("/readyz").0, 200);
    server.signal("INT");
    goaway(&peer.expect());
    peer.request(2, "echo", b"");
    assert_eq!(peer.expect().error(), (2, ErrorCode::DRAINING));
    let page = server.await_get("/readyz?verbose", |status, _| status == 503);
    assert!(
        page.contains("[-] accepting: new requests are refused"),
        "{page}"
    );
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn goaways_are_spread_evenly_and_late_clients_are_told_at_once() {
    const PEERS: u32 = 6;
    let window = Duration::from_millis(1200);
    let server = start("0s", "1200ms", "1h").spawn();
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| server.peer()).collect();
    for peer in &mut peers {
        begin_long_work(&server, peer);
    }
    let began = Instant::now();
    server.signal("TERM");
    is_draining(&server);
    // It is served, and told with its first answer or before it.
    let mut late = server.peer();
    late.request(1, "echo", b"late");
    let (first, second) = (late.expect(), late.expect());
    let (told, answer) = if first.is_response() {
        (second, first)
    } else {
        (first, second)
    };
    assert_eq!(answer.response(), (1, b"late".to_vec()));
    let mut waits = vec![goaway(&told)];
    let told: Vec<_> = peers
        .iter_mut()
        .map(|peer| {
            let got = peer.expect();
            (began.elapsed(), goaway(&got))
        })
        .collect();
    // Read one after the other, so a time is that of the latest so far: none is early.
    waits.extend(told.iter().map(|(_, wait)| *wait));
    assert!(told[told.len() - 1].0 >= window * (PEERS - 1) / PEERS);
    assert!(
        waits.iter().flatten().all(|wait| *wait <= 1000),
        "{waits:?}"
    );
    let different: std::collections::BTreeSet<_> = waits.iter().collect();
    assert!(different.len() > 2, "each its own: {waits:?}");
    assert_eq!(
        server.metric("mcpd_goaways_total{reason=\"draining\"}"),
        f64::from(PEERS) + 1.0
    );
}

/// With a window of an hour the first is told at once, and the others are left in peace.
#[test]
fn who_is_not_due_is_not_told() {
    let server = start("0s", "1h", "1h").spawn();
    let mut peers: Vec<Peer> = (0..4).map(|_| server.peer()).collect();
    for peer in &mut peers {
        peer.expect_alive(1);
    }
    server.signal("TERM");
    server.await_metric("mcpd_goaways_total{reason=\"draining\"}", |n| n == 1.0);
    let mut told = 0;
    for peer in &mut peers {
        peer.request(2, "echo", b"");
        let got = peer.expect();
        if !got.is_response() {
            goaway(&got);
            told += 1;
            assert!(peer.expect().is_response(), "told, and still served");
        }
    }
    assert_eq!(told, 1);
}

#[test]
fn while_work_finishes_new_requests_are_refused_and_then_it_closes() {
    let mut server = start("0s", "0s", "1h").spawn();
    let mut peer = server.peer();
    begin_long_work(&server, &mut peer);
    server.signal("TERM");
    goaway(&peer.expect());
    peer.request(2, "echo", b"");
    assert_eq!(peer.expect().error(), (2, ErrorCode::DRAINING));
    assert_eq!(server.get("/livez").0, 200, "until the end");
    let (seq, meta) = (1, mcpd_proto::Meta::EMPTY);
    peer.frame(Frame::Cancel(Cancel { seq, meta }));
    assert_eq!(peer.expect().error(), (1, ErrorCode::CANCELLED));
    peer.expect_end(ErrorCode::CLOSING);
    // What is sent now is read and dropped: no RST destroys what the client has not read.
    peer.request(3, "echo", b"");
    drop(peer);
    let summary = expect_summary(&mut server);
    assert_eq!(summary["connections"], 1, "{summary}");
    assert_eq!(summary["told"], 1, "{summary}");
    assert_eq!(summary["cut"], 0, "{summary}");
}

#[test]
fn work_that_outlives_the_finish_is_cut_and_answered_before_closing() {
    let mut server = start("0s", "0s", "100ms").spawn();
    let mut peer = server.peer();
    begin_long_work(&server, &mut peer);
    peer.request(2, "heartbeat", b"");
    server.signal("TERM");
    goaway(&peer.expect());
    let mut cut = [peer.expect().error(), peer.expect().error()];
    cut.sort_by_key(|(seq, _)| *seq);
    let code = ErrorCode::DEADLINE_EXCEEDED;
    assert_eq!(cut, [(1, code), (2, code)]);
    peer.expect_end(ErrorCode::CLOSING);
    drop(peer);
    let summary = expect_summary(&mut server);
    assert_eq!(
        (&summary["cut"], &summary["abandoned"]),
        (&1.into(), &0.into()),
        "{summary}"
    );
}

#[test]
fn a_second_interrupt_cuts_what_is_left() {
    let mut server = start("1h", "1h", "1h").spawn();
    let mut peer = server.peer();
    begin_long_work(&server, &mut peer);
    server.signal("INT");
    goaway(&peer.expect());
    server.signal("INT");
    assert_eq!(peer.expect().error(), (1, ErrorCode::DEADLINE_EXCEEDED));
    peer.expect_end(ErrorCode::CLOSING);
    drop(peer);
    expect_summary(&mut server);
}

#[test]
fn an_interrupt_drains_at_once() {
    let mut server = start("1h", "1h", "1h").spawn();
    let mut peers = [server.peer(), server.peer()];
    peers.iter_mut().for_each(|peer| peer.expect_alive(1));
    server.signal("INT");
    for peer in &mut peers {
        let wait = goaway(&peer.expect());
        assert!(
            wait.is_some(),
            "clients are told to come back at different times"
        );
        peer.expect_end(ErrorCode::CLOSING);
    }
    drop(peers);
    expect_summary(&mut server);
}

#[test]
fn without_connections_it_ends_early() {
    let mut server = start("0s", "1h", "1h").spawn();
    server.signal("TERM");
    let summary = expect_summary(&mut server);
    assert_eq!(summary["connections"], 0, "{summary}");
}

#[test]
fn when_the_last_client_has_moved_it_ends_early() {
    let mut server = start("0s", "1h", "1h").spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    server.signal("TERM");
    goaway(&peer.expect());
    peer.expect_alive(2);
    peer.half_close();
    assert_eq!(peer.next(), None);
    expect_summary(&mut server);
}

#[test]
fn a_client_that_does_not_close_is_closed() {
    let mut server = start("0s", "0s", "1h")
        .set("LIMITS__CLOSE_LINGER", "50ms")
        .spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    server.signal("TERM");
    peer.expect_draining_and_end();
    // It keeps its end open, and the server does not wait for it.
    let summary = expect_summary(&mut server);
    assert_eq!(summary["abandoned"], 0, "{summary}");
    drop(peer);
}

#[test]
fn a_client_that_does_not_read_does_not_hold_the_exit_up() {
    let mut server = start("0s", "0s", "100ms")
        .set("LIMITS__CLOSE_LINGER", "50ms")
        .set("DRAIN__FLUSH", "100ms")
        .spawn();
    let peer = server.peer();
    let body = vec![7; 1 << 19];
    // More than all buffers on the way take; the last ones are held back on this side.
    let mut sender = Peer::new(peer.stream.try_clone().unwrap());
    std::thread::spawn(move || {
        use std::io::Write;
        for seq in 1..=60 {
            let (topic, body) = (b"echo".as_slice(), body.as_slice());
            let request = mcpd_proto::Request {
                seq,
                topic,
                body,
                ..Default::default()
            };
            let mut wire = Vec::new();
            Frame::Request(request).encode(&mut wire);
            if sender.stream.write_all(&wire).is_err() {
                return;
            }
        }
    });
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    server.signal("TERM");
    let summary = expect_summary(&mut server);
    assert_eq!(summary["abandoned"], 1, "{summary}");
    drop(peer);
}

/// Late connections are accepted to the very end, and none is forgotten: each is ended in order, or
/// refused by a closed port.
#[test]
fn clients_that_keep_coming_are_ended_in_order() {
    let mut server = start("0s", "100ms", "200ms").spawn();
    // Keeps the drain from ending early, in a moment when nobody is there.
    let mut long = server.peer();
    begin_long_work(&server, &mut long);
    let addr = server.data;
    let comers: Vec<_> = (0..3)
        .map(|_| std::thread::spawn(move || come_until_refused(addr)))
        .collect();
    server.await_metric("mcpd_connections_opened_total", |n| n > 20.0);
    server.signal("TERM");
    let mut ended = 0;
    for comer in comers {
        ended += comer.join().unwrap();
    }
    assert!(ended > 0);
    goaway(&long.expect());
    assert_eq!(long.expect().error(), (1, ErrorCode::DEADLINE_EXCEEDED));
    long.expect_end(ErrorCode::CLOSING);
    drop(long);
    let summary = expect_summary(&mut server);
    assert_eq!(summary["abandoned"], 0, "{summary}");
}

/// Connects again and again, each time until the answer; gives how many were ended with CLOSING.
fn come_until_refused(addr: std::net::SocketAddr) -> u32 {
    let mut ended = 0;
    while let Ok(stream) = std::net::TcpStream::connect(addr) {
        let mut peer = Peer::new(stream);
        let mut wire = Vec::new();
        let (seq, topic) = (1, b"echo".as_slice());
        Frame::Request(mcpd_proto::Request {
            seq,
            topic,
            ..Default::default()
        })
        .encode(&mut wire);
        use std::io::{Read, Write};
        if peer.stream.write_all(&wire).is_err() {
            continue;
        }
        let mut answered = false;
        loop {
            // In the backlog of a port that closes: reset, and never accepted.
            if peer.stream.peek(&mut [0]).is_err() {
                assert!(!answered, "a connection that was served is not reset");
                break;
            }
            match peer.next() {
                None => break,
                Some(got) if got.is_response() => {
                    answered = true;
                    peer.half_close();
                }
                Some(got) => match got.frame() {
                    Frame::GoAway(_) => {}
                    Frame::Error(error) if error.code == ErrorCode::DRAINING => peer.half_close(),
                    Frame::Error(error) => {
                        assert_eq!(error.code, ErrorCode::CLOSING);
                        ended += 1;
                        assert_eq!(peer.stream.read(&mut [0]).unwrap(), 0, "CLOSING is last");
                        break;
                    }
                    other => panic!("{other:?}"),
                },
            }
        }
    }
    ended
}

/// Numbered requests through a real process under SIGTERM: each is answered or refused, or it was
/// sent after the server had read its last.
#[test]
fn under_load_everything_dispatched_is_answered() {
    let mut server = Start::new()
        .set("HANDLERS__MONITOR__TYPE", "delay")
        .set("HANDLERS__MONITOR__MIN", "0s")
        .set("HANDLERS__MONITOR__MAX", "20ms")
        .set("DRAIN__DELAY", "100ms")
        .set("DRAIN__SPREAD", "200ms")
        .set("DRAIN__FINISH", "1h")
        .spawn();
    let clients: Vec<_> = [1, 16, 100, 200]
        .map(|at_once| {
            let peer = server.peer();
            std::thread::spawn(move || load(peer, at_once))
        })
        .into_iter()
        .collect();
    server.await_metric(
        "mcpd_frames_total{direction=\"in\",type=\"request\"}",
        |n| n > 2000.0,
    );
    server.signal("TERM");
    let mut answered = 0;
    for client in clients {
        answered += client.join().unwrap();
    }
    assert!(answered > 1000);
    let summary = expect_summary(&mut server);
    assert_eq!(
        (&summary["connections"], &summary["told"]),
        (&4.into(), &4.into())
    );
    assert_eq!(
        (&summary["cut"], &summary["abandoned"]),
        (&0.into(), &0.into()),
        "{summary}"
    );
}

/// Keeps so many requests open until CLOSING; gives how many were answered.
fn load(mut peer: Peer, at_once: u16) -> u64 {
    use std::io::Write;
    let topics = ["echo", "heartbeat"];
    let send = |peer: &mut Peer, seq: u16| {
        let (topic, body) = (topics[usize::from(seq) % 2].as_bytes(), seq.to_be_bytes());
        let request = mcpd_proto::Request {
            seq,
            topic,
            body: &body,
            ..Default::default()
        };
        let mut wire = Vec::new();
        Frame::Request(request).encode(&mut wire);
        // After CLOSING the server may have gone.
        let _ = peer.stream.write_all(&wire);
    };
    (1..=at_once).for_each(|seq| send(&mut peer, seq));
    let (mut answered, mut told) = (0, 0);
    loop {
        let got = peer.expect();
        match got.frame() {
            Frame::Response(answer) => {
                assert_eq!(answer.body, answer.seq.to_be_bytes());
                answered += 1;
                send(&mut peer, answer.seq);
            }
            Frame::GoAway(_) => told += 1,
            Frame::Error(error) if error.seq == 0 => {
                assert_eq!(error.code, ErrorCode::CLOSING);
                assert_eq!(peer.next(), None, "CLOSING is the last frame");
                assert_eq!(told, 1);
                return answered;
            }
            Frame::Error(error) => {
                assert_eq!(error.code, ErrorCode::DRAINING);
                send(&mut peer, error.seq);
            }
            other => panic!("{other:?}"),
        }
    }
}
