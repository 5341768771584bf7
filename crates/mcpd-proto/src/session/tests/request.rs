//! Requests and what is said about them: numbers, refusals, CANCEL, floods.

use super::*;

fn tiny() -> ServerSettings {
    ServerSettings {
        max_in_flight: 2,
        control_per_second: 10,
        ..ServerSettings::default()
    }
}

/// A request with a critical tag that nobody knows.
fn critical(seq: u16, topic: &str) -> Vec<u8> {
    let plain = request(seq, topic);
    let mut wire = plain[..10].to_vec();
    wire[9] |= crate::Flags::META.bits();
    wire[7] += 5;
    wire.extend_from_slice(b"\0\x03\x80\0\0");
    wire.extend_from_slice(&plain[10..]);
    wire
}

#[test]
fn a_number_is_taken_until_its_answer_and_free_after_it() {
    let mut wire = Wire::plain();
    wire.transmit(Side::Client, request(7, "a"));
    wire.settle();
    assert!(wire.server.finish(7));
    assert!(!wire.server.finish(7), "one answer each");
    wire.transmit(Side::Client, request(7, "a"));
    // Time does not free it.
    wire.run(secs(20));
    wire.transmit(Side::Client, request(7, "b"));
    wire.settle();
    assert_eq!(
        wire.server_saw,
        ["request 7", "request 7", "ended PROTOCOL_ERROR"]
    );
}

#[test]
fn reuse_is_judged_before_anything_about_the_request_itself() {
    let mut wire = Wire::plain();
    wire.transmit(Side::Client, [request(7, "a"), request(7, "#")].concat());
    wire.settle();
    assert_eq!(wire.server_saw, ["request 7", "ended PROTOCOL_ERROR"]);
}

#[test]
fn more_than_allowed_are_refused_one_by_one_until_there_is_room() {
    let mut wire = Wire::new(tiny(), ClientSettings::default());
    for seq in 1..=4 {
        wire.transmit(Side::Client, request(seq, "a"));
    }
    wire.settle();
    assert_eq!(wire.server.in_flight(), 2);
    assert!(wire.server.finish(1));
    // A refused number was never taken.
    wire.transmit(Side::Client, request(3, "a"));
    wire.settle();
    assert_eq!(
        wire.server_saw,
        [
            "request 1",
            "request 2",
            "refused 3 TOO_MANY_IN_FLIGHT",
            "refused 4 TOO_MANY_IN_FLIGHT",
            "request 3"
        ]
    );
}

#[test]
fn the_first_thing_wrong_with_a_request_is_the_one_reported() {
    let mut wire = Wire::new(tiny(), ClientSettings::default());
    let all = [
        request(1, "a"),
        request(2, "a"),
        critical(3, "#"),
        critical(4, "a"),
        request(5, "a"),
    ];
    wire.transmit(Side::Client, all.concat());
    wire.settle();
    assert_eq!(
        wire.server_saw[2..],
        [
            "refused 3 INVALID_REQUEST",
            "refused 4 UNSUPPORTED",
            "refused 5 TOO_MANY_IN_FLIGHT"
        ]
    );
}

#[test]
fn the_servers_own_topics_are_not_for_clients() {
    let mut wire = Wire::plain();
    wire.transmit(Side::Client, request(1, "$sys/x"));
    wire.transmit(Side::Client, request(2, "a/$b"));
    wire.settle();
    assert_eq!(wire.server_saw, ["refused 1 INVALID_REQUEST", "request 2"]);
}

#[test]
fn cancel_is_passed_on_only_while_there_is_something_to_cancel() {
    let mut wire = Wire::plain();
    wire.transmit(Side::Client, cancel(9));
    let seq = wire.request("a").unwrap();
    wire.client(|client, out| client.cancel(seq, out));
    wire.settle();
    assert_eq!(wire.server_saw, ["request 1", "cancel 1"]);
    assert_eq!(wire.client.in_flight(), 1, "the answer still comes");
    wire.fail(Side::Server, seq, ErrorCode::CANCELLED);
    assert!(wire.server.finish(seq));
    // On its way while the answer is: too late, and ignored.
    wire.client(|client, out| client.cancel(seq, out));
    wire.settle();
    wire.client(|client, out| client.cancel(seq, out));
    wire.settle();
    assert_eq!(wire.server_saw, ["request 1", "cancel 1"]);
    assert_eq!(wire.client_saw, ["failed 1 CANCELLED"]);
    assert_eq!(wire.client.in_flight(), 0);
}

#[test]
fn an_answer_that_nobody_waits_for_ends_the_connection() {
    for answers in [1, 2] {
        let mut wire = Wire::plain();
        wire.request("a").unwrap();
        for _ in 0..answers {
            let response = Response {
                seq: answers,
                ..Response::default()
            };
            wire.transmit(Side::Server, encoded(Frame::Response(response)));
        }
        wire.settle();
        let last = wire.client_saw.last().unwrap();
        let expected = if answers == 1 {
            "response 1"
        } else {
            "ended PROTOCOL_ERROR"
        };
        assert_eq!(last, expected);
    }
    let mut wire = Wire::plain();
    wire.fail(Side::Server, 3, ErrorCode::NO_ROUTE);
    wire.settle();
    assert_eq!(wire.client_saw, ["ended PROTOCOL_ERROR"]);
}

#[test]
fn an_ack_keeps_the_number_and_a_stray_one_is_ignored() {
    let mut wire = Wire::plain();
    wire.ack(4);
    let seq = wire.request("a").unwrap();
    wire.settle();
    wire.ack(seq);
    wire.settle();
    assert_eq!(wire.client_saw, ["ack 1"]);
    assert_eq!(wire.client.in_flight(), 1);
}

#[test]
fn the_client_refuses_what_the_server_would_refuse() {
    let mut wire = Wire::new(tiny(), ClientSettings::default());
    wire.hello();
    wire.settle();
    assert!(matches!(wire.request("a/#"), Err(SendError::Topic(_))));
    let body = vec![0; 1 << 20];
    let large = Request {
        topic: b"a",
        body: &body,
        ..Request::default()
    };
    let refused = wire.client(|client, out| client.request(&large, out));
    assert_eq!(
        refused,
        Err(SendError::TooLarge {
            len: (1 << 20) + 3,
            max: 1 << 20
        })
    );
    wire.request("a").unwrap();
    wire.request("a").unwrap();
    assert_eq!(wire.request("a"), Err(SendError::TooManyInFlight(2)));
    wire.settle();
    wire.answer(2);
    wire.settle();
    assert_eq!(wire.request("a"), Ok(3));
    wire.settle();
    assert_eq!(
        wire.server_saw,
        ["hello", "request 1", "request 2", "request 3"]
    );
}

#[test]
fn numbers_wrap_around_those_that_are_taken() {
    let mut client = Client::new(ClientSettings::default(), Instant::now());
    let request = Request {
        topic: b"a",
        ..Request::default()
    };
    let (mut out, now) = (Vec::new(), Instant::now());
    assert_eq!(client.request(&request, &mut out), Ok(1));
    for expected in (2..=u16::MAX).chain(2..5) {
        let seq = client.request(&request, &mut out);
        assert_eq!(seq, Ok(expected), "1 is never answered");
        let answer = encoded(Frame::Response(Response {
            seq: expected,
            ..Response::default()
        }));
        let mut deframer = crate::Deframer::new();
        let raw = deframer.next(&mut &answer[..], &client.rules(), now);
        let raw = raw.unwrap().unwrap();
        client.receive(&raw, now, &mut out).unwrap();
        out.clear();
    }
}

#[test]
fn a_flood_of_control_frames_ends_the_connection_and_requests_do_not_count() {
    let error = b"\x01\x05\0\0\0\0\0\x02\0\0\x01\x04".to_vec();
    for frame in [heartbeat(1, None), cancel(3), IGNORABLE.to_vec(), error] {
        let mut wire = Wire::new(tiny(), ClientSettings::default());
        for seq in 1..=100 {
            wire.transmit(Side::Client, request(seq, "#"));
        }
        wire.transmit(Side::Client, frame.repeat(10));
        wire.settle();
        assert!(!wire.server_saw.iter().any(|saw| saw.starts_with("ended")));
        // A second later there is room for as many.
        wire.run(secs(1));
        wire.transmit(Side::Client, frame.repeat(10));
        wire.settle();
        assert!(!wire.server_saw.iter().any(|saw| saw.starts_with("ended")));
        wire.transmit(Side::Client, frame);
        wire.settle();
        assert_eq!(wire.server_saw.last().unwrap(), "ended CALM_DOWN");
    }
}

#[test]
fn confirmations_and_a_clients_errors_are_passed_on() {
    let mut wire = Wire::plain();
    let mut meta = MetaBuf::new();
    meta.set_message_id([5; 16]);
    let meta = meta.view();
    wire.transmit(
        Side::Client,
        encoded(Frame::Confirm(crate::Confirm { meta })),
    );
    wire.fail(Side::Client, 0, ErrorCode::SLOW_CONSUMER);
    wire.request("a").unwrap();
    wire.settle();
    assert_eq!(
        wire.server_saw,
        ["confirm 5", "peer error SLOW_CONSUMER", "request 1"]
    );
    assert!(wire.client_saw.is_empty(), "not answered");
}

#[test]
fn a_conversation_is_the_same_wherever_it_is_cut() {
    let talk = |piece: usize| {
        let mut wire = Wire::plain();
        wire.piece = piece;
        wire.hello();
        let frames = [
            request(1, "a"),
            IGNORABLE.to_vec(),
            heartbeat(5, None),
            cancel(1),
            request(2, "#"),
        ];
        wire.transmit(Side::Client, frames.concat());
        wire.transmit(
            Side::Server,
            [IGNORABLE.to_vec(), heartbeat(1, None)].concat(),
        );
        wire.settle();
        (wire.server_saw, wire.client_saw, wire.sent.len())
    };
    let whole = talk(usize::MAX);
    assert_eq!(
        whole.0,
        [
            "hello",
            "request 1",
            "cancel 1",
            "refused 2 INVALID_REQUEST"
        ]
    );
    for piece in 1..40 {
        assert_eq!(talk(piece), whole, "{piece} bytes at a time");
    }
}
