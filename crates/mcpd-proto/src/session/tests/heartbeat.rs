//! Signs of life: when they are sent, and when their absence ends a connection.

use super::*;

/// Both ends with the same fixed interval.
fn every(seconds: u64) -> Wire {
    let heartbeat = HeartbeatSettings {
        interval: secs(seconds),
        max_interval: secs(seconds),
    };
    Wire::new(
        ServerSettings {
            heartbeat,
            ..ServerSettings::default()
        },
        ClientSettings {
            heartbeat,
            ..ClientSettings::default()
        },
    )
}

#[test]
fn one_is_sent_only_when_nothing_was_sent_for_the_interval() {
    let mut wire = every(30);
    wire.run(secs(20));
    wire.request("a").unwrap();
    wire.run(secs(25));
    // The server was silent since the start, the client since 20 s; its answer counts as well.
    assert_eq!(wire.pings(Side::Server), [30]);
    assert_eq!(wire.pings(Side::Client), []);
    wire.run(secs(20));
    assert_eq!(wire.pings(Side::Server), [30, 60]);
    assert_eq!(wire.pings(Side::Client), [60]);
}

#[test]
fn any_traffic_makes_them_needless() {
    let mut wire = every(30);
    for _ in 0..100 {
        let seq = wire.request("a").unwrap();
        wire.settle();
        wire.answer(seq);
        wire.run(secs(10));
    }
    assert!(wire.pings(Side::Client).is_empty() && wire.pings(Side::Server).is_empty());
}

#[test]
fn a_minimal_client_that_only_answers_is_kept_alive_by_the_defaults() {
    let mut wire = every(30);
    wire.run(secs(900));
    assert_eq!(wire.server.intervals(), (secs(30), secs(30)));
    assert!(!wire.server_saw.iter().any(|saw| saw.starts_with("ended")));
    assert!(
        wire.server_saw
            .iter()
            .any(|saw| saw.starts_with("RoundTrip"))
    );
    // Nothing was announced to somebody who may not know the word.
    assert!(wire.sent.iter().all(|sent| sent.announces.is_none()));
}

#[test]
fn a_configured_interval_below_the_default_is_kept_without_a_greeting() {
    let mut wire = every(10);
    // The client's own would answer for both.
    wire.hung = Some(Side::Client);
    for round in 1..=6 {
        wire.run(secs(10));
        assert_eq!(wire.pings(Side::Server).len(), round);
        let seq = u16::try_from(round).unwrap();
        let reply = Heartbeat {
            seq,
            reply: true,
            ..Heartbeat::default()
        };
        wire.read(Side::Server, &encoded(Frame::Heartbeat(reply)));
        assert_eq!(wire.server.intervals().0, secs(10));
    }
    assert_eq!(wire.pings(Side::Server), [10, 20, 30, 40, 50, 60]);
}

#[test]
fn the_answer_has_the_same_number_and_bytes_and_goes_to_the_control_buffer() {
    let mut wire = Wire::plain();
    let data = &b"12345678"[..];
    let beat = Heartbeat {
        seq: 0,
        data,
        ..Heartbeat::default()
    };
    let bytes = encoded(Frame::Heartbeat(beat));
    let mut out = Vec::new();
    let mut deframer = crate::Deframer::new();
    let raw = deframer.next(&mut &bytes[..], &wire.server.rules(), wire.now);
    let raw = raw.unwrap().unwrap();
    wire.server.receive(&raw, wire.now, &mut out).unwrap();
    let (answer, _) = Frame::decode_one(&out, Side::Client, 100).unwrap();
    assert_eq!(
        answer,
        Frame::Heartbeat(Heartbeat {
            reply: true,
            ..beat
        })
    );
}

#[test]
fn at_most_one_is_unanswered() {
    let mut wire = every(10);
    wire.hung = Some(Side::Client);
    // The peer shows life but never answers.
    for _ in 0..30 {
        wire.run(secs(5));
        wire.read(Side::Server, IGNORABLE);
    }
    assert_eq!(wire.pings(Side::Server), [10]);
    assert_eq!(wire.server_saw, ["Miss"]);
}

#[test]
fn the_dead_are_noticed_after_exactly_three_silent_intervals() {
    for side in [Side::Client, Side::Server] {
        for timers_first in [false, true] {
            let mut wire = Wire::plain();
            wire.timers_first = timers_first;
            wire.request("a").unwrap();
            wire.run(secs(7));
            wire.transmit(Side::Client, heartbeat(9, None));
            wire.settle();
            wire.hung = Some(side);
            // Both heard each other at 7 s.
            wire.run(secs(90) - Duration::from_millis(1));
            let ended = |saw: &Vec<String>| saw.iter().any(|saw| saw == "ended HEARTBEAT_TIMEOUT");
            let is_over = |wire: &Wire| match side {
                Side::Client => ended(&wire.server_saw),
                Side::Server => ended(&wire.client_saw),
            };
            assert!(!is_over(&wire), "{side:?} hangs");
            wire.run(Duration::from_millis(1));
            assert!(is_over(&wire), "{side:?} hangs");
        }
    }
}

#[test]
fn any_byte_is_a_sign_of_life_even_one_of_an_unfinished_frame() {
    let mut wire = every(30);
    wire.hung = Some(Side::Client);
    for byte in request(1, "topic") {
        wire.run(secs(89));
        wire.read(Side::Server, &[byte]);
    }
    assert!(!wire.server_saw.iter().any(|saw| saw.starts_with("ended")));
    wire.run(secs(90));
    assert_eq!(wire.server_saw.last().unwrap(), "ended HEARTBEAT_TIMEOUT");
}

#[test]
fn the_silence_clock_stops_while_this_side_does_not_read() {
    let mut wire = Wire::plain();
    wire.hung = Some(Side::Client);
    wire.run(secs(80));
    let before = wire.server_saw.clone();
    let now = wire.now;
    wire.server.pause_reading(now);
    wire.server.pause_reading(now + secs(1));
    wire.run(secs(1000));
    assert_eq!(wire.server_saw, before, "no death, no miss");
    let now = wire.now;
    wire.server.resume_reading(now);
    wire.server.resume_reading(now);
    wire.run(secs(9));
    assert_eq!(wire.server_saw, before);
    wire.run(secs(1));
    assert_eq!(wire.server_saw.last().unwrap(), "ended HEARTBEAT_TIMEOUT");
}

#[test]
fn the_clients_silence_clock_stops_as_well() {
    let mut wire = Wire::plain();
    wire.hung = Some(Side::Server);
    let now = wire.now;
    wire.client.pause_reading(now);
    wire.run(secs(500));
    wire.client.resume_reading(wire.now);
    wire.run(secs(89));
    assert!(!wire.client_saw.iter().any(|saw| saw.starts_with("ended")));
    wire.run(secs(1));
    assert_eq!(wire.client_saw.last().unwrap(), "ended HEARTBEAT_TIMEOUT");
}

#[test]
fn an_answer_that_waited_unread_is_not_a_miss() {
    let mut wire = every(30);
    wire.run(secs(29));
    wire.latency = secs(2);
    wire.run(secs(1));
    assert_eq!(wire.pings(Side::Server), [30]);
    // The server stops reading for a minute, with the answer in its socket.
    let now = wire.now;
    wire.server.pause_reading(now);
    let held = (wire.hung, wire.now);
    wire.hung = Some(Side::Server);
    wire.run(secs(60));
    wire.hung = held.0;
    wire.server.resume_reading(wire.now);
    // The timer is looked at first, and finds nothing to complain about.
    wire.timers_first = true;
    wire.run(secs(1));
    assert!(
        !wire.server_saw.iter().any(|saw| saw == "Miss"),
        "{:?}",
        wire.server_saw
    );
    assert!(
        wire.server_saw
            .iter()
            .any(|saw| saw.starts_with("RoundTrip"))
    );
}

#[test]
fn reading_while_paused_does_not_put_life_into_the_future() {
    let mut wire = Wire::plain();
    wire.hung = Some(Side::Client);
    let now = wire.now;
    wire.server.pause_reading(now);
    wire.run(secs(100));
    wire.server.bytes_received(wire.now);
    wire.run(secs(10));
    wire.server.resume_reading(wire.now);
    wire.run(secs(91));
    assert_eq!(wire.server_saw.last().unwrap(), "ended HEARTBEAT_TIMEOUT");
}

#[test]
fn an_announced_interval_takes_effect_when_it_is_received() {
    let mut wire = Wire::plain();
    wire.hung = Some(Side::Client);
    wire.run(secs(85));
    wire.read(Side::Server, &heartbeat(1, Some(secs(100))));
    wire.run(secs(299));
    assert!(!wire.server_saw.iter().any(|saw| saw.starts_with("ended")));
    // A shorter one as well.
    wire.read(Side::Server, &heartbeat(2, Some(secs(1))));
    wire.run(Duration::from_millis(2999));
    assert!(!wire.server_saw.iter().any(|saw| saw.starts_with("ended")));
    wire.run(Duration::from_millis(1));
    assert_eq!(wire.server_saw.last().unwrap(), "ended HEARTBEAT_TIMEOUT");
}

#[test]
fn timers_that_are_run_early_do_nothing_and_never_fail() {
    let mut wire = Wire::new(
        ServerSettings {
            demand_hello: Some(secs(10)),
            ..ServerSettings::default()
        },
        ClientSettings::default(),
    );
    let now = wire.now;
    for _ in 0..3 {
        assert_eq!(
            wire.server(|server, out| server.on_deadline(now, out)),
            Ok(None)
        );
        assert_eq!(
            wire.client(|client, out| client.on_deadline(now, out)),
            Ok(None)
        );
    }
    assert!(wire.sent.is_empty());
    assert_eq!(wire.server.deadline(), Some(now + secs(10)));
}
