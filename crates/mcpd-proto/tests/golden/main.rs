//! The golden frames of the protocol: what every implementation must agree on, byte for byte.

// Always so in this file; it is said for clippy, which lets tests unwrap.
#[cfg(test)]
mod describe;
#[cfg(test)]
mod fixture;

use fixture::{Case, Fixture, ValidCase};
use mcpd_proto::session::{Ended, Server, ServerEvent, ServerSettings};
use mcpd_proto::{Deframer, ErrorCode, Frame, Header, Request};
use std::sync::Arc;
use std::time::Instant;

const MAX: u32 = 1 << 20;

#[test]
fn a_valid_frame_decodes_to_exactly_what_it_says() {
    let fixture = Fixture::load();
    assert!(!fixture.valid.is_empty());
    for case in &fixture.valid {
        let side = describe::receiver(case);
        let (frame, used) = Frame::decode_one(&case.bytes, side, MAX)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(used, case.bytes.len(), "{}", case.name);
        let head = case.bytes.first_chunk().expect("ten bytes");
        let header = Header::parse(head, side, MAX).expect("decoded above");
        assert_eq!(
            describe::frame(&header, &frame),
            case.frame,
            "{}",
            case.name
        );
    }
}

#[test]
fn a_frame_built_from_its_description_encodes_to_exactly_its_bytes() {
    for case in Fixture::load().valid {
        if case.decode_only {
            continue;
        }
        let meta = describe::build_meta(&case.frame.meta);
        let frame = describe::build(&case.frame, meta.view());
        let mut wire = Vec::new();
        frame.encode(&mut wire);
        assert_eq!(
            fixture::to_hex(&wire),
            fixture::to_hex(&case.bytes),
            "{}",
            case.name
        );
        assert_eq!(frame.encoded_len(), wire.len(), "{}", case.name);
    }
}

/// What a server makes of a stream, in order.
#[derive(Debug, PartialEq)]
enum Outcome {
    Admitted(u16),
    Refused(u16, ErrorCode),
    Other,
}

/// Feeds a fresh server, `piece` bytes at a time, as a driver would.
fn serve(stream: &[u8], piece: usize) -> Result<Vec<Outcome>, Ended> {
    let now = Instant::now();
    let mut server = Server::new(Arc::new(ServerSettings::default()), now);
    let mut deframer = Deframer::new();
    let (mut outcomes, mut control) = (Vec::new(), Vec::new());
    for mut input in stream.chunks(piece) {
        server.bytes_received(now);
        while let Some(raw) = deframer.next(&mut input, &server.rules(), now)? {
            outcomes.push(match server.receive(&raw, now, &mut control)? {
                ServerEvent::Request(admitted) => Outcome::Admitted(admitted.request.seq),
                ServerEvent::Refused(request, code, _) => Outcome::Refused(request.seq, code),
                _ => Outcome::Other,
            });
        }
    }
    Ok(outcomes)
}

#[test]
fn a_malformed_frame_ends_the_connection_with_its_code() {
    let fixture = Fixture::load();
    assert!(!fixture.connection_error.is_empty());
    for Case { name, bytes, code } in &fixture.connection_error {
        for piece in [usize::MAX, 1, 7] {
            let ended = serve(bytes, piece).map_err(|ended| ended.code);
            assert_eq!(ended, Err(*code), "{name}, {piece} bytes at a time");
        }
    }
}

#[test]
fn a_bad_request_is_refused_alone_and_the_next_one_is_served() {
    let fixture = Fixture::load();
    assert!(!fixture.request_error.is_empty());
    for Case { name, bytes, code } in &fixture.request_error {
        let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
        let mut stream = bytes.clone();
        let good = Request {
            seq: 9,
            topic: b"echo",
            ..Request::default()
        };
        good.encode(&mut stream);
        let expected = vec![Outcome::Refused(seq, *code), Outcome::Admitted(9)];
        for piece in [usize::MAX, 1, 7] {
            let outcomes = serve(&stream, piece);
            assert_eq!(
                outcomes.as_ref(),
                Ok(&expected),
                "{name}, {piece} bytes at a time"
            );
        }
    }
}

/// Every frame a client may send, in one stream, is understood by a server however it is cut.
#[test]
fn the_valid_frames_of_a_client_are_taken_in_one_stream() {
    let cases = Fixture::load().valid;
    let requests: Vec<&ValidCase> = cases
        .iter()
        .filter(|case| matches!(case.frame.kind.as_str(), "REQUEST" | "CANCEL" | "CONFIRM"))
        .collect();
    let stream: Vec<u8> = requests
        .iter()
        .flat_map(|case| case.bytes.clone())
        .collect();
    let expected: Vec<Outcome> = requests
        .iter()
        .map(|case| match case.frame.kind.as_str() {
            "REQUEST" => Outcome::Admitted(case.frame.seq),
            _ => Outcome::Other,
        })
        .collect();
    for piece in [usize::MAX, 1, 13] {
        assert_eq!(
            serve(&stream, piece).as_ref(),
            Ok(&expected),
            "{piece} bytes at a time"
        );
    }
}

#[test]
#[should_panic(expected = "unknown key")]
fn a_key_this_test_does_not_know_fails_it() {
    Fixture::parse(
        r#"{"note":"","valid":[{"name":"n","hex":"","frame":{"type":"ACK","speed":1}}],"connection_error":[],"request_error":[]}"#,
    );
}

#[test]
#[should_panic(expected = "unknown key")]
fn a_section_this_test_does_not_know_fails_it() {
    Fixture::parse(
        r#"{"note":"","valid":[],"connection_error":[],"request_error":[],"stream_error":[]}"#,
    );
}
