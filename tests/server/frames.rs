//! Malformed frames, other protocols, and streams chopped into single bytes.

use crate::support::{Peer, Server};
use crate::tools::{dial, request, rest};
use mcpd_proto::{ErrorCode, Frame, Meta, Side};
use serde_json::Value;
use std::io::{Read, Write};

const FIXTURES: &str = include_str!("../../crates/mcpd-proto/tests/fixtures/frames.json");

/// The fixtures of a group: name, bytes, and the entry itself.
fn fixtures(group: &str) -> Vec<(String, Vec<u8>, Value)> {
    let all: Value = serde_json::from_str(FIXTURES).unwrap();
    let entries = all[group].as_array().unwrap().iter();
    let fixtures: Vec<_> = entries
        .map(|entry| {
            let hex = entry["hex"].as_str().unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes = (0..hex.len()).step_by(2).map(byte).collect();
            (
                entry["name"].as_str().unwrap().to_owned(),
                bytes,
                entry.clone(),
            )
        })
        .collect();
    assert!(fixtures.len() > 10);
    fixtures
}

fn code(entry: &Value) -> ErrorCode {
    ErrorCode::new(entry["code"].as_u64().unwrap().try_into().unwrap())
}

/// Sends so that every byte is a segment, and mostly a read, of its own.
fn send_bytewise(peer: &mut Peer, bytes: &[u8]) {
    for byte in bytes {
        // After an error the server may have closed already.
        if peer.stream.write_all(&[*byte]).is_err() {
            break;
        }
    }
}

#[test]
fn a_malformed_frame_gets_one_error_and_the_end() {
    let server = Server::start();
    for (name, bytes, entry) in fixtures("connection_error") {
        for bytewise in [false, true] {
            let mut peer = server.peer();
            peer.request(1, "echo", b"before");
            if bytewise {
                send_bytewise(&mut peer, &bytes);
            } else {
                peer.send(&bytes);
                peer.request(2, "echo", b"behind: never looked at");
            }
            let got = rest(&mut peer);
            assert_eq!(got.len(), 2, "{name}: {got:?}");
            assert_eq!(got[0].response(), (1, b"before".to_vec()), "{name}");
            assert_eq!(got[1].error(), (0, code(&entry)), "{name}");
        }
    }
    server.await_metric("mcpd_connections", |open| open == 0.0);
}

#[test]
fn a_request_that_cannot_be_is_refused_and_the_connection_lives() {
    let server = Server::start();
    for (name, bytes, entry) in fixtures("request_error") {
        for bytewise in [false, true] {
            let mut peer = server.peer();
            if bytewise {
                send_bytewise(&mut peer, &bytes);
            } else {
                peer.send(&bytes);
            }
            let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
            assert_eq!(peer.expect().error(), (seq, code(&entry)), "{name}");
            peer.expect_alive(seq);
        }
    }
}

/// What the server should say to a valid frame: the wire form of an answer is checked by its kind.
fn check_answer(name: &str, bytes: &[u8], peer: &mut Peer) {
    match Frame::decode_one(bytes, Side::Server, u32::MAX) {
        Err(_) => return peer.expect_end(ErrorCode::PROTOCOL_ERROR),
        Ok((Frame::Request(request), _)) if request.topic == b"echo" => {
            let answer = (request.seq, request.body.to_vec());
            assert_eq!(peer.expect().response(), answer, "{name}");
        }
        Ok((Frame::Request(request), _)) => {
            let refusal = (request.seq, ErrorCode::NO_ROUTE);
            assert_eq!(peer.expect().error(), refusal, "{name}");
        }
        Ok((Frame::Heartbeat(beat), _)) if !beat.reply => match peer.expect().frame() {
            Frame::Heartbeat(reply) => {
                assert!(reply.reply && reply.seq == beat.seq && reply.data == beat.data);
            }
            other => panic!("{name}: {other:?}"),
        },
        Ok((Frame::Hello(hello), _)) => match peer.expect().frame() {
            Frame::Hello(reply) => assert!(reply.reply && reply.seq == hello.seq),
            other => panic!("{name}: {other:?}"),
        },
        // Nothing is said to a CANCEL or CONFIRM of what is not there, to a heartbeat's answer that
        // nobody asked for, or to a client's ERROR.
        Ok(_) => {}
    }
    peer.expect_alive(999);
}

#[test]
fn every_valid_frame_is_answered_as_it_should_be() {
    let server = Server::start();
    for (name, bytes, _) in fixtures("valid") {
        for bytewise in [false, true] {
            let mut peer = server.peer();
            if bytewise {
                send_bytewise(&mut peer, &bytes);
            } else {
                peer.send(&bytes);
            }
            check_answer(&name, &bytes, &mut peer);
        }
    }
}

#[test]
fn a_stream_in_single_bytes_is_the_same_stream() {
    let server = Server::start();
    let mut peer = server.peer();
    let stream: Vec<u8> = (1..=20u16)
        .flat_map(|seq| request(seq, "echo", &[b'x'; 30], 0, Meta::EMPTY))
        .collect();
    send_bytewise(&mut peer, &stream);
    peer.half_close();
    let seqs: Vec<u16> = rest(&mut peer).iter().map(|got| got.response().0).collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<u16>>());
}

/// Other protocols are told in a frame that this is MCP, and see no RST before that.
#[test]
fn http_and_tls_are_told_that_this_is_mcp() {
    let server = Server::start();
    let mut client_hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    client_hello.resize(517, 0x5a);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    for bytes in [client_hello, http, b"G".to_vec()] {
        let mut peer = server.peer();
        peer.send(&bytes);
        peer.expect_end(ErrorCode::UNSUPPORTED_VERSION);
    }
    let reason = r#"mcpd_connections_closed_total{reason="UNSUPPORTED_VERSION"}"#;
    server.await_metric(reason, |n| n == 3.0);
}

/// Bytes that nobody read when a socket is closed become an RST, which would destroy the ERROR.
#[test]
fn unread_bytes_do_not_destroy_the_error() {
    let server = Server::start();
    let mut peer = server.peer();
    let answers: u16 = 200;
    for seq in 1..=answers {
        peer.request(seq, "echo", &[7; 1000]);
    }
    peer.send(b"\x09");
    peer.send(&vec![0x2a; 1 << 20]);
    let got = rest(&mut peer);
    let (last, before) = got.split_last().unwrap();
    assert_eq!(before.len(), usize::from(answers));
    assert_eq!(last.error(), (0, ErrorCode::UNSUPPORTED_VERSION));
}

/// The server waits for the peer's end after an error, not for a time.
#[test]
fn the_place_is_free_as_soon_as_the_peer_closes() {
    let server = crate::support::Start::new()
        .set("LIMITS__CLOSE_LINGER", "30s")
        .spawn();
    let mut peer = server.peer();
    peer.send(b"\x09");
    peer.expect_end(ErrorCode::UNSUPPORTED_VERSION);
    drop(peer);
    server.await_metric("mcpd_connections", |open| open == 0.0);
}

#[test]
fn a_payload_over_the_limit_is_refused_by_its_header_alone() {
    let server = Server::start();
    let mut stream = dial(server.data);
    let mut header = vec![1, 1, 0, 1];
    header.extend((1024 * 1024 + 1u32).to_be_bytes());
    header.extend([0, 0]);
    stream.write_all(&header).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let (frame, _) = Frame::decode_one(&answer, Side::Client, u32::MAX).unwrap();
    assert!(matches!(frame, Frame::Error(e) if e.code == ErrorCode::FRAME_TOO_LARGE));

    let mut peer = server.peer();
    let body = vec![1; 1024 * 1024 - 6];
    peer.request(1, "echo", &body);
    assert_eq!(peer.expect().response(), (1, body));
}
