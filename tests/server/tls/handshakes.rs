//! Handshakes that fail, stall, or come in floods.

use super::{encrypted, handshakes};
use crate::support::tls::{Ca, TlsStream, dial, expired, params, params_of_uri};
use crate::support::{PATIENCE, Peer, Server, Start, scratch};
use rustls::ClientConfig;
use std::io::{Read, Write};
use std::net::TcpStream;

/// With TLS 1.3 the client is done before the server has judged its certificate: it hears with its
/// first read.
pub(super) fn is_let_in(server: &Server, config: ClientConfig) -> bool {
    let Ok(stream) = dial(server.data, config) else {
        return false;
    };
    let mut peer: Peer<TlsStream> = Peer::over(stream);
    let wire = crate::tools::request(1, "echo", b"", 0, mcpd_proto::Meta::EMPTY);
    peer.stream.write_all(&wire).is_ok() && peer.stream.read(&mut [0; 10]).is_ok_and(|n| n > 0)
}

#[test]
fn alpn_is_mcp_1_or_nothing() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let mut config = ca.client(None);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let refused = dial(server.data, config.clone()).unwrap_err();
    assert!(
        refused.to_string().contains("NoApplicationProtocol"),
        "{refused}"
    );
    server.await_metric(&handshakes("protocol"), |n| n == 1.0);
    config.alpn_protocols.clear();
    assert!(is_let_in(&server, config.clone()));
    config.alpn_protocols = vec![b"h2".to_vec(), b"mcp/1".to_vec()];
    assert!(is_let_in(&server, config));
    server.await_metric(&handshakes("ok"), |n| n == 2.0);
}

#[test]
fn a_client_that_must_show_a_certificate_shows_a_good_one() {
    let (ca, other) = (Ca::new(), Ca::new());
    let dir = scratch();
    let start = Start::new().client_ca("DATA", dir.path(), &ca);
    let (server, _dir) = encrypted(&ca, start);
    let params = || params_of_uri("spiffe://example.org/till");
    let good = ca.issue(params());
    assert!(is_let_in(&server, ca.client(Some(&good))));
    let bad = [
        None,
        Some(other.issue(params())),
        Some(ca.issue(expired(params()))),
    ];
    for (at, bad) in (1..).zip(&bad) {
        assert!(!is_let_in(&server, ca.client(bad.as_ref())), "number {at}");
        server.await_metric(&handshakes("client_certificate"), |n| n == f64::from(at));
    }
    let closed = "mcpd_connections_closed_total{reason=\"NO_HANDSHAKE\"}";
    server.await_metric(closed, |n| n == 3.0);
}

#[test]
fn a_client_that_may_show_a_certificate_shows_none_or_a_good_one() {
    let (ca, other) = (Ca::new(), Ca::new());
    let dir = scratch();
    let start = Start::new().client_ca("DATA", dir.path(), &ca);
    let (server, _dir) = encrypted(&ca, start.set("DATA__TLS__CLIENT_AUTH", "optional"));
    let params = || params(&["till.example.org"]);
    assert!(is_let_in(&server, ca.client(None)));
    assert!(is_let_in(&server, ca.client(Some(&ca.issue(params())))));
    assert!(!is_let_in(&server, ca.client(Some(&other.issue(params())))));
    // A client that would resume is asked again, because nothing of it is kept.
    let config = ca.client(Some(&ca.issue(params())));
    for _ in 0..2 {
        let mut peer = server.tls_peer(config.clone());
        peer.expect_alive(1);
        let kind = peer.stream.conn.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn who_shows_no_certificate_may_resume() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let config = ca.client(None);
    let kinds = [0, 1].map(|_| {
        let mut peer = server.tls_peer(config.clone());
        peer.expect_alive(1);
        peer.stream.conn.handshake_kind().unwrap()
    });
    let expected = [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed];
    assert_eq!(kinds, expected);
}

#[test]
fn plaintext_is_answered_by_an_alert_and_the_end() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let request = crate::tools::request(1, "echo", b"hello", 0, mcpd_proto::Meta::EMPTY);
    for (at, bytes) in (1..).zip([&request[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100]]) {
        let mut stream = TcpStream::connect(server.data).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
        server.await_metric(&handshakes("not_tls"), |n| n == f64::from(at));
    }
}

#[test]
fn a_handshake_that_stalls_or_breaks_off_is_ended_and_counted() {
    let ca = Ca::new();
    let start = Start::new().set("DATA__TLS__HANDSHAKE_TIMEOUT", "200ms");
    let (server, _dir) = encrypted(&ca, start);
    let mut stalled = TcpStream::connect(server.data).unwrap();
    stalled.set_read_timeout(Some(PATIENCE)).unwrap();
    stalled.write_all(&[22, 3, 1, 2]).unwrap();
    assert_eq!(stalled.read(&mut [0]).unwrap_or(0), 0);
    server.await_metric(&handshakes("timeout"), |n| n == 1.0);
    drop(TcpStream::connect(server.data).unwrap());
    server.await_metric(&handshakes("gone"), |n| n == 1.0);
    server.await_metric("mcpd_connections", |open| open == 0.0);
}

#[test]
fn a_flood_of_half_open_handshakes_leaves_those_alone_who_are_there() {
    let ca = Ca::new();
    let start = Start::new()
        .set("DATA__TLS__MAX_HANDSHAKES", "16")
        .set("DATA__TLS__HANDSHAKE_TIMEOUT", "60s");
    let (server, _dir) = encrypted(&ca, start);
    let mut there = server.tls_peer(ca.client(None));
    there.expect_alive(1);
    let mut flood: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(server.data).unwrap())
        .collect();
    let rejected = "mcpd_connections_rejected_total{reason=\"handshakes\"}";
    server.await_metric(rejected, |n| n == 84.0);
    for seq in 2..200 {
        there.expect_alive(seq);
    }
    assert!(dial(server.data, ca.client(None)).is_err());
    // Once they are gone there is room for others.
    flood.clear();
    server.await_metric(&handshakes("gone"), |n| n == 16.0);
    server.tls_peer(ca.client(None)).expect_alive(1);
    there.expect_alive(1);
}

#[test]
fn handshakes_of_a_second_are_bounded() {
    let ca = Ca::new();
    let start = Start::new().set("DATA__TLS__HANDSHAKES_PER_SECOND", "1");
    let (server, _dir) = encrypted(&ca, start);
    let many: Vec<_> = (0..200).map(|_| TcpStream::connect(server.data)).collect();
    let rejected = "mcpd_connections_rejected_total{reason=\"handshake_rate\"}";
    server.await_metric(rejected, |n| n > 0.0);
    drop(many);
}

/// The drain's own windows are far longer than this test is patient.
#[test]
fn a_drain_does_not_wait_for_handshakes() {
    let ca = Ca::new();
    let start = Start::new()
        .set("DATA__TLS__HANDSHAKE_TIMEOUT", "60s")
        .set("DRAIN__FINISH", "10m");
    let (mut server, _dir) = encrypted(&ca, start);
    let _half_open = TcpStream::connect(server.data).unwrap();
    server.await_metric("mcpd_connections", |open| open == 1.0);
    server.signal("TERM");
    assert_eq!(server.await_exit(), Some(0));
}
