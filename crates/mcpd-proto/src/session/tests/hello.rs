//! The greeting: in time, first, once, decided before anything behind it.

use super::*;

fn demanding() -> ServerSettings {
    ServerSettings {
        demand_hello: Some(secs(10)),
        ..ServerSettings::default()
    }
}

fn demanded() -> Wire {
    Wire::new(demanding(), ClientSettings::default())
}

/// A greeting whose payload has exactly this size.
fn hello_of(payload: usize) -> Vec<u8> {
    let mut wire = hello(Meta::EMPTY);
    wire[9] |= crate::Flags::META.bits();
    wire[4..8].copy_from_slice(&u32::try_from(payload).unwrap().to_be_bytes());
    let (block, entry) = (payload - 2, payload - 5);
    wire.extend_from_slice(&u16::try_from(block).unwrap().to_be_bytes());
    wire.push(crate::tag::AUTH_TOKEN);
    wire.extend_from_slice(&u16::try_from(entry).unwrap().to_be_bytes());
    wire.resize(wire.len() + entry, b't');
    wire
}

#[test]
fn both_ends_learn_what_the_other_takes() {
    let settings = ServerSettings {
        max_payload: 3 << 20,
        max_in_flight: 300,
        heartbeat: HeartbeatSettings {
            interval: secs(20),
            max_interval: secs(20),
        },
        ..ServerSettings::default()
    };
    let mut wire = Wire::new(
        settings,
        ClientSettings {
            max_payload: 4 << 20,
            ..ClientSettings::default()
        },
    );
    assert_eq!(wire.client.max_in_flight(), 256);
    wire.hello();
    wire.settle();
    assert_eq!(wire.server_saw, ["hello"]);
    assert_eq!(wire.client_saw, ["welcome"]);
    assert_eq!(
        (wire.client.max_payload(), wire.client.max_in_flight()),
        (3 << 20, 300)
    );
    assert_eq!(wire.server.peer_max_payload(), 4 << 20);
    assert_eq!(wire.client.intervals(), (secs(30), secs(20)));
    assert_eq!(wire.server.intervals(), (secs(20), secs(30)));
}

#[test]
fn a_client_can_always_send_one_request_and_always_has_a_number_left() {
    for (announced, used) in [(0, 1), (u16::MAX, u16::MAX - 1)] {
        let settings = ServerSettings {
            max_in_flight: announced,
            ..ServerSettings::default()
        };
        let mut wire = Wire::new(settings, ClientSettings::default());
        wire.hello();
        wire.settle();
        assert_eq!(wire.client.max_in_flight(), used);
    }
}

#[test]
fn a_second_greeting_or_one_behind_another_frame_ends_the_connection() {
    for first in [
        hello(Meta::EMPTY),
        request(1, "a"),
        heartbeat(1, None),
        IGNORABLE.to_vec(),
    ] {
        let mut wire = Wire::plain();
        wire.transmit(Side::Client, [first, hello(Meta::EMPTY)].concat());
        wire.settle();
        assert_eq!(
            wire.server_saw.last().map(String::as_str),
            Some("ended PROTOCOL_ERROR")
        );
    }
}

#[test]
fn the_client_sends_its_greeting_once() {
    let mut wire = Wire::plain();
    wire.hello();
    wire.hello();
    wire.settle();
    assert_eq!(wire.sent.len(), 2, "one each way: {:?}", wire.sent);
}

#[test]
fn what_is_pipelined_behind_a_greeting_waits_for_its_decision() {
    for piece in [usize::MAX, 1, 3, 11] {
        let mut wire = Wire::plain();
        (wire.piece, wire.welcomes) = (piece, false);
        wire.hello();
        wire.request("a").unwrap();
        wire.request("b").unwrap();
        wire.settle();
        assert_eq!(wire.server_saw, ["hello"]);
        wire.server(|server, out| server.welcome(Welcome::default(), out));
        wire.read(Side::Server, b"");
        wire.settle();
        assert_eq!(wire.server_saw, ["hello", "request 1", "request 2"]);
        assert_eq!(wire.client_saw, ["welcome"]);
    }
}

#[test]
fn a_frame_looked_at_before_the_decision_is_refused_by_the_session() {
    let mut wire = Wire::plain();
    wire.welcomes = false;
    wire.hello();
    wire.settle();
    let now = wire.now;
    let bytes = request(1, "a");
    let mut deframer = crate::Deframer::new();
    let raw = deframer
        .next(&mut &bytes[..], &wire.server.rules(), now)
        .unwrap()
        .unwrap();
    let result = wire.server.receive(&raw, now, &mut Vec::new());
    assert_eq!(result.unwrap_err().code, ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn a_reply_is_the_servers_alone_and_only_to_a_question() {
    let (seq, reply, meta) = (1, true, Meta::EMPTY);
    let answer = encoded(Frame::Hello(Hello { seq, reply, meta }));
    let mut wire = Wire::plain();
    wire.transmit(Side::Client, answer.clone());
    wire.settle();
    assert_eq!(wire.server_saw, ["ended PROTOCOL_ERROR"]);

    let mut wire = Wire::plain();
    wire.transmit(Side::Server, answer.clone());
    wire.settle();
    assert_eq!(wire.client_saw, ["ended PROTOCOL_ERROR"], "not asked for");

    let mut wire = Wire::plain();
    wire.hello();
    wire.settle();
    wire.transmit(Side::Server, answer);
    wire.settle();
    assert_eq!(wire.client_saw, ["welcome", "ended PROTOCOL_ERROR"]);
}

#[test]
fn where_credentials_are_demanded_any_other_first_frame_is_unauthenticated() {
    let error = b"\x01\x05\0\0\0\0\0\x02\0\0\x01\x04".to_vec();
    for first in [
        request(1, "a"),
        heartbeat(1, None),
        cancel(1),
        error,
        IGNORABLE.to_vec(),
    ] {
        let mut wire = demanded();
        wire.transmit(Side::Client, first);
        wire.settle();
        assert_eq!(wire.server_saw, ["ended UNAUTHENTICATED"]);
        assert_eq!(wire.client_saw, ["closed UNAUTHENTICATED"]);
    }
}

#[test]
fn a_demanded_greeting_has_its_time_to_the_last_byte_and_no_longer() {
    for timers_first in [false, true] {
        let mut wire = demanded();
        wire.timers_first = timers_first;
        wire.run(secs(10) - Duration::from_millis(1));
        wire.hello();
        wire.settle();
        assert_eq!(wire.server_saw, ["hello"]);

        let mut wire = demanded();
        wire.timers_first = timers_first;
        wire.run(secs(60));
        assert_eq!(wire.server_saw, ["ended UNAUTHENTICATED"]);
        let ended = wire.sent.last().map(|sent| sent.at);
        assert_eq!(ended, Some(10), "not before, not after");

        // Complete just then: whichever of timer and bytes is looked at first, it is too late.
        let mut wire = demanded();
        wire.timers_first = timers_first;
        wire.latency = secs(10);
        wire.hello();
        wire.run(secs(10));
        assert_eq!(wire.server_saw, ["ended UNAUTHENTICATED"]);
    }
}

#[test]
fn a_byte_now_and_then_does_not_buy_more_time() {
    let mut wire = demanded();
    for byte in hello_of(200) {
        wire.transmit(Side::Client, vec![byte]);
        wire.run(secs(1));
    }
    assert_eq!(wire.server_saw, ["ended UNAUTHENTICATED"]);
    let ended = wire.sent.iter().find(|sent| sent.from == Side::Server);
    assert_eq!(ended.map(|sent| sent.at), Some(10));
}

#[test]
fn a_decision_may_take_longer_than_the_greeting() {
    let mut wire = demanded();
    wire.welcomes = false;
    wire.hello();
    wire.run(secs(20));
    assert_eq!(wire.server_saw, ["hello"]);
    wire.server(|server, out| server.welcome(Welcome::default(), out));
    wire.request("a").unwrap();
    wire.run(secs(20));
    assert_eq!(wire.server_saw, ["hello", "request 1"]);
}

#[test]
fn a_demanded_greeting_is_small_and_the_normal_limit_holds_after_it() {
    let mut wire = demanded();
    wire.transmit(Side::Client, hello_of(16 * 1024));
    wire.transmit(Side::Client, {
        let (topic, body) = (&b"a"[..], &[0; 64 * 1024][..]);
        let large = Request {
            seq: 1,
            topic,
            body,
            ..Request::default()
        };
        encoded(Frame::Request(large))
    });
    wire.settle();
    assert_eq!(wire.server_saw[..2], ["hello", "request 1"]);

    let mut wire = demanded();
    let large = hello_of(16 * 1024 + 1);
    // The header alone is enough.
    wire.transmit(Side::Client, large[..10].to_vec());
    wire.settle();
    assert_eq!(wire.server_saw, ["ended FRAME_TOO_LARGE"]);
}

#[test]
fn welcome_without_a_greeting_says_nothing() {
    let mut wire = Wire::plain();
    wire.server(|server, out| server.welcome(Welcome::default(), out));
    wire.settle();
    assert!(wire.sent.is_empty());
}

#[test]
fn the_answer_carries_what_the_protocol_asks_for() {
    let mut server = Server::new(std::sync::Arc::new(demanding()), Instant::now());
    let bytes = hello(Meta::EMPTY);
    let mut deframer = crate::Deframer::new();
    let mut input = &bytes[..];
    let now = Instant::now();
    let raw = deframer.next(&mut input, &server.rules(), now);
    let raw = raw.unwrap().unwrap();
    server.receive(&raw, now, &mut Vec::new()).unwrap();
    let mut out = Vec::new();
    let dedup_window_s = Some(300);
    server.welcome(Welcome { dedup_window_s }, &mut out);
    let (frame, _) = Frame::decode_one(&out, Side::Client, 1 << 20).unwrap();
    let Frame::Hello(answer) = frame else {
        panic!("{frame:?}")
    };
    assert_eq!((answer.seq, answer.reply), (1, true));
    let meta = answer.meta;
    assert_eq!(meta.server_id(), Some("mcpd"));
    assert_eq!(meta.max_payload(), Some(1 << 20));
    assert_eq!(meta.max_in_flight(), Some(1024));
    assert_eq!(meta.heartbeat(), Some(secs(30)));
    assert_eq!(meta.incarnation(), Some([0; 16]));
    assert_eq!(meta.dedup_window_s(), Some(300));
}
