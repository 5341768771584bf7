//! Whatever is done to two ends in whatever order, some things stay true.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Debug, Clone)]
enum Op {
    Hello,
    Request(u8),
    Cancel(u16),
    Answer(u8),
    Fail(u8),
    Ack(u8),
    GoAway(u8),
    Closing,
    Pause(bool),
    Wait(u16),
    Hang(Option<bool>),
    Piece(u8),
    TimersFirst(bool),
    Raw(bool, Vec<u8>),
    EarlyTimers,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Hello),
        8 => any::<u8>().prop_map(Op::Request),
        3 => (0u16..20).prop_map(Op::Cancel),
        6 => any::<u8>().prop_map(Op::Answer),
        3 => any::<u8>().prop_map(Op::Fail),
        3 => any::<u8>().prop_map(Op::Ack),
        1 => (0u8..100).prop_map(Op::GoAway),
        1 => Just(Op::Closing),
        2 => any::<bool>().prop_map(Op::Pause),
        8 => (0u16..400).prop_map(Op::Wait),
        1 => prop::option::of(any::<bool>()).prop_map(Op::Hang),
        1 => (1u8..20).prop_map(Op::Piece),
        1 => any::<bool>().prop_map(Op::TimersFirst),
        1 => (any::<bool>(), noise()).prop_map(|(client, bytes)| Op::Raw(client, bytes)),
        2 => Just(Op::EarlyTimers),
    ]
}

/// Bytes that are often a frame.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (0u16..20).prop_map(cancel),
        (0u16..20, prop::option::of(1u64..600))
            .prop_map(|(seq, announces)| heartbeat(seq, announces.map(secs))),
        (1u16..20).prop_map(|seq| request(seq, "raw")),
        Just(IGNORABLE.to_vec()),
        Just(hello(Meta::EMPTY)),
    ]
}

/// The requests that the server has taken and not answered, oldest first.
#[derive(Default)]
struct Work {
    open: Vec<u16>,
    seen: usize,
}

impl Work {
    fn look(&mut self, wire: &Wire) {
        let new = wire.server_saw[self.seen..].iter();
        let taken = new.filter_map(|saw| saw.strip_prefix("request "));
        self.open
            .extend(taken.map(|seq| seq.parse::<u16>().unwrap()));
        self.seen = wire.server_saw.len();
    }

    fn pick(&mut self, at: u8) -> Option<u16> {
        let count = self.open.len();
        (count > 0).then(|| self.open[usize::from(at) % count])
    }

    fn take(&mut self, at: u8) -> Option<u16> {
        let count = self.open.len();
        (count > 0).then(|| self.open.remove(usize::from(at) % count))
    }
}

fn apply(wire: &mut Wire, work: &mut Work, op: Op) {
    let now = wire.now;
    match op {
        Op::Hello => wire.hello(),
        Op::Request(topic) => drop(wire.request(&format!("t/{topic}"))),
        Op::Cancel(seq) => wire.client(|client, out| client.cancel(seq, out)),
        Op::Answer(at) => {
            if let Some(seq) = work.take(at) {
                wire.answer(seq);
            }
        }
        Op::Fail(at) => {
            if let Some(seq) = work.take(at) {
                wire.fail(Side::Server, seq, ErrorCode::OVERLOADED);
                assert!(wire.server.finish(seq));
            }
        }
        Op::Ack(at) => {
            if let Some(seq) = work.pick(at) {
                wire.ack(seq);
            }
        }
        Op::GoAway(after) => {
            let at = now + secs(after.into());
            wire.server(|server, out| server.go_away(GoAwayReason::MaxAge, "", None, at, out));
        }
        Op::Closing => wire.fail(Side::Server, 0, ErrorCode::CLOSING),
        Op::Pause(true) => wire.server.pause_reading(now),
        Op::Pause(false) => wire.server.resume_reading(now),
        Op::Wait(seconds) => wire.run(secs(seconds.into())),
        Op::Hang(side) => {
            wire.hung = side.map(|client| if client { Side::Client } else { Side::Server });
        }
        Op::Piece(bytes) => wire.piece = bytes.into(),
        Op::TimersFirst(first) => wire.timers_first = first,
        Op::Raw(client, bytes) => {
            let from = if client { Side::Client } else { Side::Server };
            wire.transmit(from, bytes);
        }
        Op::EarlyTimers => {
            // A timer that is run before its time must be harmless.
            if wire.server.deadline().is_some_and(|at| at > now) {
                let early = wire.server(|server, out| server.on_deadline(now, out));
                assert_eq!(early, Ok(None));
            }
            if wire.client.deadline().is_some_and(|at| at > now) {
                let early = wire.client(|client, out| client.on_deadline(now, out));
                assert_eq!(early, Ok(None));
            }
        }
    }
    wire.settle();
    work.look(wire);
}

fn settings(interval: u64, max: u64) -> HeartbeatSettings {
    HeartbeatSettings {
        interval: secs(interval),
        max_interval: secs(interval.max(max)),
    }
}

fn wire(server: (u64, u64), client: (u64, u64), demand: bool, latency: u64) -> Wire {
    let mut wire = Wire::new(
        ServerSettings {
            heartbeat: settings(server.0, server.1),
            max_in_flight: 4,
            control_per_second: 50,
            demand_hello: demand.then(|| secs(10)),
            ..ServerSettings::default()
        },
        ClientSettings {
            heartbeat: settings(client.0, client.1),
            ..ClientSettings::default()
        },
    );
    wire.latency = Duration::from_millis(latency);
    wire
}

/// Final answers that the client saw, by number, against requests the wire carried.
fn answers_fit(wire: &Wire) {
    let mut balance: HashMap<u16, i32> = HashMap::new();
    let requests = wire
        .sent
        .iter()
        .filter(|sent| sent.kind == crate::Kind::Request);
    for sent in requests {
        *balance.entry(sent.seq).or_default() += 1;
    }
    for saw in &wire.client_saw {
        let mut words = saw.split(' ');
        if let (Some("response" | "failed"), Some(seq)) = (words.next(), words.next()) {
            *balance.entry(seq.parse().unwrap()).or_default() -= 1;
        }
    }
    assert!(
        balance.values().all(|left| *left >= 0),
        "{:?}",
        wire.client_saw
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn two_ends_survive_anything(
        ops in prop::collection::vec(op(), 1..60),
        server in (1u64..100, 1u64..600),
        client in (1u64..100, 1u64..600),
        demand in any::<bool>(),
        latency in 0u64..3000,
    ) {
        let mut wire = wire(server, client, demand, latency);
        let mut work = Work::default();
        for op in ops {
            apply(&mut wire, &mut work, op);
            prop_assert!(wire.server.in_flight() <= 4);
            prop_assert_eq!(wire.server.in_flight(), work.open.len());
        }
        // `run` inside fails on a deadline that stays in the past.
        wire.hung = None;
        wire.run(secs(10_000));
        answers_fit(&wire);
        let left = wire.client.in_flight();
        prop_assert_eq!(wire.client.abandon().len(), left);
    }

    #[test]
    fn two_healthy_ends_never_lose_each_other(
        server in (1u64..100, 1u64..600),
        client in (1u64..100, 1u64..600),
        greets in any::<bool>(),
        latency in 0u64..450,
        traffic in prop::collection::vec(0u16..300, 0..20),
        timers_first in any::<bool>(),
    ) {
        let mut wire = wire(server, client, false, latency);
        wire.timers_first = timers_first;
        if greets {
            wire.hello();
        }
        for pause in traffic {
            wire.run(secs(pause.into()));
            if let Ok(seq) = wire.request("a") {
                wire.settle();
                wire.answer(seq);
            }
        }
        wire.run(secs(5000));
        let bad = |saw: &&String| saw.starts_with("ended") || *saw == "Miss";
        prop_assert_eq!(wire.server_saw.iter().find(bad), None);
        prop_assert_eq!(wire.client_saw.iter().find(bad), None);
        // Nobody stretched beyond what it may.
        let (ours, peers) = wire.server.intervals();
        prop_assert!(ours <= secs(server.0).max(peers), "{ours:?} {peers:?}");
// A peer never expects a sign of life sooner than it comes.
        prop_assert!(wire.client.intervals().1 >= ours);
        prop_assert!(wire.server.intervals().1 >= wire.client.intervals().0);
    }
}
