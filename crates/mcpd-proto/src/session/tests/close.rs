//! How connections end, and what a client may conclude about what is unanswered.

use super::*;

fn goaway(wire: &mut Wire, refuse_in: Duration) -> bool {
    let at = wire.now + refuse_in;
    wire.server(|server, out| server.go_away(GoAwayReason::Draining, "rollout", None, at, out))
}

#[test]
fn goaway_is_said_once_and_serves_on_until_its_time() {
    let mut wire = Wire::plain();
    assert!(goaway(&mut wire, secs(20)));
    wire.request("a").unwrap();
    wire.run(secs(19));
    wire.request("b").unwrap();
    wire.settle();
    assert_eq!(wire.client_saw, ["goaway draining"]);
    assert_eq!(wire.server_saw, ["request 1", "request 2"]);
    assert!(wire.client.is_going_away() && wire.server.is_going_away());
    assert!(!wire.server.is_refusing());
    wire.run(secs(1));
    assert!(wire.server.is_refusing());
}

#[test]
fn a_later_call_only_brings_the_time_forward() {
    let mut wire = Wire::plain();
    assert!(goaway(&mut wire, secs(20)));
    assert!(!goaway(&mut wire, secs(60)));
    wire.run(secs(5));
    assert!(!goaway(&mut wire, secs(5)));
    wire.run(secs(4));
    assert!(!wire.server.is_refusing());
    wire.run(secs(1));
    assert!(wire.server.is_refusing());
    assert_eq!(wire.client_saw, ["goaway draining"]);
}

#[test]
fn a_later_call_does_not_put_the_time_off() {
    let mut wire = Wire::plain();
    goaway(&mut wire, secs(20));
    goaway(&mut wire, secs(60));
    wire.run(secs(20));
    assert!(wire.server.is_refusing());
}

#[test]
fn a_request_that_is_faster_than_the_timer_meets_a_refusing_server() {
    let mut wire = Wire::plain();
    goaway(&mut wire, secs(5));
    // As if the timer's task had not been run yet.
    let (bytes, now) = (request(1, "a"), wire.now + secs(5));
    let mut deframer = crate::Deframer::new();
    let raw = deframer.next(&mut &bytes[..], &wire.server.rules(), now);
    let raw = raw.unwrap().unwrap();
    wire.server.receive(&raw, now, &mut Vec::new()).unwrap();
    assert!(wire.server.is_refusing());
}

#[test]
fn refusing_can_begin_at_once() {
    let mut wire = Wire::plain();
    wire.server.refuse_new();
    assert!(wire.server.is_refusing() && wire.server.is_going_away());
}

/// Three requests: the first answered, the second ACKed, the third not heard of.
fn three() -> Wire {
    let mut wire = Wire::plain();
    wire.latency = Duration::from_millis(5);
    for topic in ["a", "b", "c"] {
        wire.request(topic).unwrap();
    }
    wire.settle();
    wire.answer(1);
    wire.ack(2);
    wire.settle();
    wire
}

fn fates(wire: &mut Wire) -> Vec<(u16, Fate)> {
    let mut fates = wire.client.abandon();
    fates.sort_by_key(|(seq, _)| *seq);
    assert_eq!(wire.client.in_flight(), 0);
    assert!(wire.client.abandon().is_empty());
    fates
}

#[test]
fn closing_says_that_what_is_neither_answered_nor_acked_did_not_run() {
    let mut wire = three();
    wire.fail(Side::Server, 0, ErrorCode::CLOSING);
    wire.settle();
    assert_eq!(wire.client_saw, ["response 1", "ack 2", "closed CLOSING"]);
    assert_eq!(
        fates(&mut wire),
        [(2, Fate::Unknown), (3, Fate::NotExecuted)]
    );
}

#[test]
fn any_other_end_leaves_it_unknown() {
    let others = ErrorCode::ALL
        .iter()
        .filter(|code| code.class() == crate::Class::Connection && **code != ErrorCode::CLOSING);
    for code in others {
        let mut wire = three();
        wire.fail(Side::Server, 0, *code);
        wire.settle();
        assert_eq!(fates(&mut wire), [(2, Fate::Unknown), (3, Fate::Unknown)]);
    }
    // No word at all: the connection broke, or the server died.
    let mut wire = three();
    assert_eq!(fates(&mut wire), [(2, Fate::Unknown), (3, Fate::Unknown)]);
}

#[test]
fn closing_cut_at_any_byte_is_not_closing() {
    let closing = b"\x01\x05\0\0\0\0\0\x02\0\0\x01\x05";
    for cut in 0..closing.len() {
        let mut wire = three();
        wire.transmit(Side::Server, closing[..cut].to_vec());
        wire.settle();
        assert_eq!(fates(&mut wire), [(2, Fate::Unknown), (3, Fate::Unknown)]);
    }
}

#[test]
fn a_client_that_was_told_to_go_says_nothing_more() {
    let mut wire = three();
    wire.fail(Side::Server, 0, ErrorCode::CLOSING);
    wire.settle();
    let said = wire.sent.len();
    wire.transmit(Side::Server, heartbeat(1, None));
    assert_eq!(wire.request("d"), Err(SendError::Closed));
    wire.client(|client, out| client.cancel(3, out));
    wire.hello();
    assert_eq!(wire.client.deadline(), None);
    let much_later = wire.now + secs(1000);
    let report = wire.client(|client, out| client.on_deadline(much_later, out));
    assert_eq!(report, Ok(None));
    wire.settle();
    let by_client = wire.sent[said..]
        .iter()
        .filter(|sent| sent.from == Side::Client);
    assert_eq!(by_client.count(), 0);
    assert!(wire.client.is_going_away());
}

#[test]
fn what_breaks_the_protocol_is_told_to_the_peer_with_its_code() {
    let mut wire = Wire::plain();
    wire.request("a").unwrap();
    wire.transmit(Side::Client, b"GET / HTTP/1.1\r\n\r\n".to_vec());
    wire.settle();
    assert_eq!(wire.server_saw, ["request 1", "ended UNSUPPORTED_VERSION"]);
    assert_eq!(wire.client_saw, ["closed UNSUPPORTED_VERSION"]);
}
