//! What a connection does is the same with TLS under it.

use super::encrypted;
use crate::resources::{IDLE, cpu_while_idle};
use crate::support::tls::{Ca, TlsStream, dial, shake_hands};
use crate::support::{Peer, Start, scratch};
use crate::tools::{hello, narrow_peer, proxied, request, rest};
use mcpd_proto::{ErrorCode, Frame, Meta};
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn closed(reason: &str) -> String {
    format!("mcpd_connections_closed_total{{reason=\"{reason}\"}}")
}

/// The topic `big` answers with this many bytes.
fn big(start: Start, bytes: usize) -> (Start, tempfile::TempDir) {
    let dir = scratch();
    let file = dir.path().join("big");
    std::fs::write(&file, vec![b'b'; bytes]).unwrap();
    let routes = dir.path().join("routes.yaml");
    let text = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes: [{topic: big, handler: big}, {topic: echo, handler: echo}, {topic: slow, handler: slow}]";
    std::fs::write(&routes, text).unwrap();
    let start = start
        .set("HANDLERS__BIG__TYPE", "static")
        .set("HANDLERS__BIG__BODY_FILE", file.to_str().unwrap())
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "10m")
        .routes(&routes);
    (start, dir)
}

fn narrow(server: &crate::support::Server, ca: &Ca) -> Peer<TlsStream> {
    let peer = narrow_peer(server);
    Peer::over(shake_hands(peer.stream, ca.client(None)).unwrap())
}

#[test]
fn both_versions_are_spoken() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    for version in [&TLS12, &TLS13] {
        let mut peer = server.tls_peer(ca.client_of(version));
        assert_eq!(peer.stream.conn.protocol_version(), Some(version.version));
        assert_eq!(peer.stream.conn.alpn_protocol(), Some(&b"mcp/1"[..]));
        peer.expect_alive(1);
    }
}

#[test]
fn large_bodies_and_many_priorities_arrive_whole() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let mut peer = server.tls_peer(ca.client(None));
    let body: Vec<u8> = (0..MIB - 64).map(|at| (at % 251) as u8).collect();
    for seq in 1..=4 {
        peer.request(seq, "echo", &body);
        assert_eq!(peer.expect().response(), (seq, body.clone()));
    }
    let many: Vec<u8> = (1..=200)
        .flat_map(|seq| request(seq, "echo", &[1; 100], (seq % 8) as u8, Meta::EMPTY))
        .collect();
    peer.send(&many);
    let mut seqs: Vec<u16> = (1..=200).map(|_| peer.expect().response().0).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<u16>>());
}

/// What back-pressure has held back is answered, too.
#[test]
fn a_close_notify_is_a_half_close_and_is_answered_by_one() {
    let ca = Ca::new();
    let start = Start::new().set("LIMITS__MAX_OUTBOUND_BYTES", "1MiB");
    let (start, _files) = big(start, 16 * KIB);
    let (server, _dir) = encrypted(&ca, start);
    let mut peer = narrow(&server, &ca);
    let all: Vec<u8> = (1..=1000)
        .flat_map(|seq| request(seq, "big", b"", 0, Meta::EMPTY))
        .collect();
    peer.send(&all);
    peer.close_notify();
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    let answers: Vec<u16> = rest(&mut peer).iter().map(|got| got.response().0).collect();
    assert_eq!(answers, (1..=1000).collect::<Vec<u16>>());
    server.await_metric(&closed("EOF"), |n| n == 1.0);
}

/// Anybody on the way can cut a connection; only its two ends can say that they have said everything.
#[test]
fn an_end_without_close_notify_is_a_broken_connection() {
    let ca = Ca::new();
    let (start, _files) = big(Start::new(), KIB);
    let (server, _dir) = encrypted(&ca, start);
    let mut peer = server.tls_peer(ca.client(None));
    peer.request(1, "slow", b"");
    server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    peer.stream.sock.shutdown(Shutdown::Write).unwrap();
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
    server.await_metric(&closed("RESET"), |n| n == 1.0);
    assert!(peer.stream.read(&mut [0]).is_err());
}

#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let mut peer = server.tls_peer(ca.client(None));
    peer.expect_alive(1);
    peer.stream.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
    peer.stream.sock.write_all(&[7; 40]).unwrap();
    assert!(peer.stream.read(&mut [0]).is_err());
    server.await_metric(&closed("RESET"), |n| n == 1.0);
}

#[test]
fn who_reads_nothing_is_a_slow_consumer_and_learns_it_by_whole_frames() {
    let ca = Ca::new();
    let start = Start::new()
        .set("LIMITS__WRITE_TIMEOUT", "300ms")
        .set("LIMITS__CLOSE_LINGER", "20s");
    let (start, _files) = big(start, 256 * KIB);
    let (server, _dir) = encrypted(&ca, start);
    let mut peer = narrow(&server, &ca);
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

/// One that never wakes up is closed all the same.
#[test]
fn who_never_reads_is_gone_after_the_linger_time() {
    let ca = Ca::new();
    let start = Start::new()
        .set("LIMITS__WRITE_TIMEOUT", "200ms")
        .set("LIMITS__CLOSE_LINGER", "100ms");
    let (start, _files) = big(start, 256 * KIB);
    let (server, _dir) = encrypted(&ca, start);
    let mut peer = narrow(&server, &ca);
    for seq in 1..=200 {
        peer.request(seq, "big", b"");
    }
    server.await_metric(&closed("SLOW_CONSUMER"), |n| n == 1.0);
}

/// The socket turns writable for this reader far later than the write timeout.
#[test]
fn a_slow_but_steady_reader_is_served() {
    let ca = Ca::new();
    let start = Start::new().set("LIMITS__WRITE_TIMEOUT", "400ms");
    let (start, _files) = big(start, MIB - 64);
    let (server, _dir) = encrypted(&ca, start);
    let mut peer = narrow(&server, &ca);
    for seq in 1..=12 {
        peer.request(seq, "big", b"");
    }
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    let mut got = Vec::new();
    for _ in 0..60 {
        let mut piece = [0; 12 * KIB];
        let n = peer.stream.read(&mut piece).unwrap();
        got.extend_from_slice(&piece[..n]);
        std::thread::sleep(Duration::from_millis(30));
    }
    peer.close_notify();
    peer.stream.read_to_end(&mut got).unwrap();
    assert_eq!(
        got.len(),
        12 * (10 + MIB - 64),
        "every answer arrives whole"
    );
    assert_eq!(server.metric("mcpd_slow_consumers_total"), 0.0);
}

#[test]
fn a_drain_ends_with_closing_and_a_close_notify() {
    let ca = Ca::new();
    let (mut server, _dir) = encrypted(&ca, Start::new());
    let mut peer = server.tls_peer(ca.client(None));
    peer.expect_alive(1);
    server.signal("TERM");
    // The end of the stream is an error for this reader, unless a close_notify comes before it.
    peer.expect_draining_and_end();
    peer.close_notify();
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn connections_that_wait_for_something_use_no_cpu() {
    let ca = Ca::new();
    let (start, _files) = big(Start::new().set("LIMITS__CLOSE_LINGER", "30s"), MIB - 64);
    let (server, _dir) = encrypted(&ca, start);
    let dial = || server.tls_peer(ca.client(None));
    let _idle: Vec<_> = (0..20).map(|_| dial()).collect();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut half_closed = dial();
        half_closed.request(1, "slow", b"");
        half_closed.close_notify();
        let mut lingering = dial();
        lingering.send(b"x");
        lingering.expect_end(ErrorCode::UNSUPPORTED_VERSION);
        let mut halfway = dial();
        halfway
            .stream
            .sock
            .write_all(&[23, 3, 3, 0, 40, 1])
            .unwrap();
        let mut blocked = narrow(&server, &ca);
        for seq in 1..=20 {
            blocked.request(seq, "big", b"");
        }
        waiting.extend([half_closed, lingering, halfway, blocked]);
    }
    server.await_metric("mcpd_backpressure_total", |n| n >= 3.0);
    let used = cpu_while_idle(&server);
    assert!(used < IDLE, "{used:?} of CPU for waiting");
    drop((_idle, waiting));
    server.await_metric("mcpd_connections", |open| open == 0.0);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
}

/// A broken frame is answered as over plaintext: the code, the close_notify, the end.
#[test]
fn who_breaks_the_protocol_is_told_so() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let mut peer = server.tls_peer(ca.client(None));
    peer.send(b"GET / HTTP/1.1\r\n\r\n");
    peer.expect_end(ErrorCode::UNSUPPORTED_VERSION);
}

/// The header comes before the handshake, and a token may be shown from wherever that says one is.
#[test]
fn a_token_may_come_from_afar_when_it_is_encrypted() {
    let ca = Ca::new();
    let start = Start::new().set("DATA__PROXY_PROTOCOL", "required");
    let greet = hello(|meta| meta.set_auth_token(b"test").unwrap());

    let (server, _dir) = encrypted(&ca, start);
    let mut stream = TcpStream::connect(server.data).unwrap();
    stream
        .write_all(&proxied(Ipv4Addr::new(10, 1, 2, 3)))
        .unwrap();
    let mut peer = Peer::over(shake_hands(stream, ca.client(None)).unwrap());
    peer.send(&greet);
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer.expect_alive(1);

    let plain = Start::new().set("DATA__PROXY_PROTOCOL", "required").spawn();
    let mut peer = plain.peer();
    peer.send(&proxied(Ipv4Addr::new(10, 1, 2, 3)));
    peer.send(&greet);
    peer.expect_end(ErrorCode::UNAUTHENTICATED);
    // Without the header there is no handshake.
    assert!(dial(server.data, ca.client(None)).is_err());
    server.await_metric(&closed("NO_PROXY_HEADER"), |n| n == 1.0);
}
