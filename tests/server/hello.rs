//! HELLO, credentials, and the PROXY protocol in front of them.

use crate::support::{Peer, Server, Start};
use crate::tools::{dial, hello, proxied, rest};
use mcpd_proto::{ErrorCode, Frame};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
fn the_reply_tells_what_the_server_takes() {
    let server = Start::new()
        .set("SERVER_ID", "pod-3")
        .set("LIMITS__MAX_IN_FLIGHT", "300")
        .set("LIMITS__MAX_PAYLOAD", "2MiB")
        .spawn();
    let incarnation = |peer: &mut Peer| {
        peer.send(&hello(|meta| meta.set_client_id("edge-7").unwrap()));
        match peer.expect().frame() {
            Frame::Hello(reply) => {
                assert!(reply.reply && reply.seq == 1);
                assert_eq!(reply.meta.server_id(), Some("pod-3"));
                assert_eq!(reply.meta.max_payload(), Some(2 << 20));
                assert_eq!(reply.meta.max_in_flight(), Some(300));
                assert_eq!(reply.meta.heartbeat(), Some(Duration::from_secs(30)));
                reply.meta.incarnation().expect("an INCARNATION")
            }
            other => panic!("the answer to HELLO, not {other:?}"),
        }
    };
    let first = incarnation(&mut server.peer());
    assert_eq!(incarnation(&mut server.peer()), first);
    let another = Server::start();
    let mut another = another.peer();
    another.send(&hello(|_| {}));
    assert!(
        matches!(another.expect().frame(), Frame::Hello(h) if h.meta.incarnation() != Some(first))
    );
}

#[test]
fn hello_comes_first_and_once() {
    let server = Server::start();
    let mut twice = server.peer();
    twice.send(&hello(|_| {}));
    twice.send(&hello(|_| {}));
    assert!(matches!(twice.expect().frame(), Frame::Hello(_)));
    twice.expect_end(ErrorCode::PROTOCOL_ERROR);
    let mut late = server.peer();
    late.expect_alive(1);
    late.send(&hello(|_| {}));
    late.expect_end(ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn requests_may_be_pipelined_behind_a_hello() {
    let server = Start::new().set("LIMITS__REQUIRE_HELLO", "true").spawn();
    let mut peer = server.peer();
    let mut all = hello(|meta| meta.set_client_id("edge-7").unwrap());
    all.extend(crate::tools::request(
        5,
        "echo",
        b"5",
        0,
        mcpd_proto::Meta::EMPTY,
    ));
    peer.send(&all);
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    assert_eq!(peer.expect().response(), (5, b"5".to_vec()));
}

#[test]
fn where_a_hello_is_demanded_nothing_else_is_first_and_it_is_small() {
    let server = Start::new().set("LIMITS__REQUIRE_HELLO", "true").spawn();
    let mut peer = server.peer();
    peer.request(1, "echo", b"");
    peer.expect_end(ErrorCode::UNAUTHENTICATED);
    let mut peer = server.peer();
    peer.send(&[1, 6, 0, 1, 0, 0, 0x40, 1, 0, 8]);
    peer.expect_end(ErrorCode::FRAME_TOO_LARGE);
    let mut peer = server.peer();
    peer.send(&hello(|_| {}));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    // The small limit was the HELLO's alone.
    peer.request(1, "echo", &[1; 100_000]);
    assert_eq!(peer.expect().response(), (1, vec![1; 100_000]));
}

fn token_hello() -> Vec<u8> {
    hello(|meta| meta.set_auth_token(b"s3cret").unwrap())
}

fn behind_proxy() -> Start {
    Start::new().set("DATA__PROXY_PROTOCOL", "required")
}

const AFAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

#[test]
fn a_token_over_plaintext_is_taken_from_loopback_only() {
    let mut local = Server::start();
    let mut peer = local.peer();
    peer.send(&token_hello());
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    drop(peer);

    let server = behind_proxy().spawn();
    let mut peer = server.peer();
    peer.send(&[proxied(AFAR), token_hello()].concat());
    peer.expect_end(ErrorCode::UNAUTHENTICATED);
    let mut peer = server.peer();
    peer.send(&[proxied(Ipv4Addr::LOCALHOST), token_hello()].concat());
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));

    let allowing = behind_proxy().set("DATA__ALLOW_PLAINTEXT_TOKEN", "true");
    let server = allowing.spawn();
    let mut peer = server.peer();
    peer.send(&[proxied(AFAR), token_hello()].concat());
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));

    local.signal("TERM");
    local.await_exit();
}

/// On a socket for both families an IPv4 client arrives with an IPv6 form of its address.
#[test]
fn loopback_is_loopback_on_a_socket_for_both_families() {
    let mut server = Start::new().listen("[::]:0").spawn();
    server.data = ([127, 0, 0, 1], server.data.port()).into();
    let mut peer = server.peer();
    peer.send(&token_hello());
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer.request(1, "heartbeat", b"");
    let seen = String::from_utf8(peer.expect().response().1).unwrap();
    assert!(seen.contains(r#""sender":"127.0.0.1:"#), "{seen}");
}

#[test]
fn the_client_is_the_one_that_the_proxy_names() {
    let server = behind_proxy().spawn();
    let mut peer = server.peer();
    let header = proxied(AFAR);
    let (first, second) = header.split_at(7);
    peer.send(first);
    peer.send(second);
    peer.request(1, "heartbeat", b"");
    let seen = String::from_utf8(peer.expect().response().1).unwrap();
    assert!(seen.contains(r#""sender":"203.0.113.9:12345""#), "{seen}");
}

#[test]
fn without_its_proxy_header_a_connection_is_closed_and_counted() {
    let server = behind_proxy().set("LIMITS__HELLO_TIMEOUT", "300ms").spawn();
    let closed = r#"mcpd_connections_closed_total{reason="NO_PROXY_HEADER"}"#;
    let garbage = vec![b'x'; 4000];
    let cases: [&[u8]; 4] = [
        b"",
        b"\r\n\r\n",
        &garbage,
        b"\x01\x03\0\x01\0\0\0\0\0\0......",
    ];
    for (n, bytes) in (1..).zip(cases) {
        let mut stream = dial(server.data);
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // Unread bytes make it an RST; either way not a byte is said.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
        server.await_metric(closed, |closed| closed == f64::from(n));
    }
    server.await_metric("mcpd_connections", |open| open == 0.0);
    let mut peer = server.peer();
    peer.send(&proxied(AFAR));
    peer.half_close();
    assert!(rest(&mut peer).is_empty());
}
