//! Intervals that grow on a quiet link, and shrink when it is not well.

use super::*;

fn settings(interval: u64, max: u64) -> HeartbeatSettings {
    HeartbeatSettings {
        interval: secs(interval),
        max_interval: secs(max),
    }
}

/// A server that may stretch to `max`, and a client that announces `client`.
fn wire(max: u64, client: u64) -> Wire {
    let mut wire = Wire::new(
        ServerSettings {
            heartbeat: settings(10, max),
            ..ServerSettings::default()
        },
        ClientSettings {
            heartbeat: settings(client, client),
            ..ClientSettings::default()
        },
    );
    wire.hello();
    wire.settle();
    wire
}

fn announced(wire: &Wire) -> Vec<u64> {
    let by_server = wire.sent.iter().filter(|sent| sent.from == Side::Server);
    by_server
        .filter_map(|sent| sent.announces)
        .map(|interval| interval.as_secs())
        .collect()
}

#[test]
fn it_doubles_step_by_step_to_its_maximum_and_the_peer_follows() {
    let mut wire = wire(70, 600);
    wire.run(secs(1500));
    assert_eq!(announced(&wire), [20, 40, 70]);
    assert_eq!(wire.server.intervals().0, secs(70));
    assert_eq!(wire.client.intervals().1, secs(70));
    // Three quiet rounds for each step.
    assert_eq!(wire.pings(Side::Server)[..6], [10, 20, 30, 40, 60, 80]);
    assert!(!wire.client_saw.iter().any(|saw| saw.starts_with("ended")));
}

#[test]
fn it_does_not_go_beyond_what_the_peer_announced() {
    let mut wire = wire(300, 25);
    wire.run(secs(2000));
    assert_eq!(announced(&wire), [20, 25]);
    assert_eq!(wire.server.intervals().0, secs(25));
}

#[test]
fn it_does_not_grow_towards_a_peer_that_announced_nothing() {
    let mut wire = Wire::new(
        ServerSettings {
            heartbeat: settings(10, 300),
            ..ServerSettings::default()
        },
        ClientSettings::default(),
    );
    wire.run(secs(2000));
    assert_eq!(wire.server.intervals().0, secs(10));
    assert!(announced(&wire).is_empty());
}

#[test]
fn it_does_not_grow_while_the_link_is_in_use() {
    let mut wire = wire(300, 600);
    for _ in 0..60 {
        // One request in each interval; the answer comes so late that heartbeats are sent.
        let seq = wire.request("a").unwrap();
        wire.run(secs(11));
        wire.answer(seq);
        wire.run(secs(11));
    }
    assert!(wire.pings(Side::Server).len() > 30);
    assert!(announced(&wire).is_empty());
    assert_eq!(wire.server.intervals().0, secs(10));
}

#[test]
fn after_a_miss_it_falls_back_at_once_and_tells_so() {
    let mut wire = wire(40, 600);
    wire.run(secs(400));
    assert_eq!(wire.server.intervals().0, secs(40));
    assert_eq!(announced(&wire), [20, 40]);
    let missed = |wire: &Wire| wire.server_saw.iter().filter(|saw| *saw == "Miss").count();
    wire.hung = Some(Side::Client);
    while missed(&wire) == 0 {
        wire.run(secs(1));
    }
    assert_eq!(wire.server.intervals().0, secs(10));
    wire.hung = None;
    wire.run(secs(15));
    assert_eq!(announced(&wire), [20, 40, 10]);
    assert_eq!(wire.client.intervals().1, secs(10));
    // And it learns again.
    wire.run(secs(400));
    assert_eq!(announced(&wire), [20, 40, 10, 20, 40]);
    assert_eq!(missed(&wire), 1);
}

#[test]
fn a_step_whose_answer_is_late_is_not_taken() {
    let mut wire = wire(300, 600);
    // The client hangs before it can answer the first longer interval.
    while announced(&wire).is_empty() {
        wire.latency = secs(1);
        wire.run(secs(1));
    }
    wire.hung = Some(Side::Client);
    wire.run(secs(15));
    assert_eq!(wire.server_saw.last().unwrap(), "Miss");
    wire.hung = None;
    wire.run(secs(3));
    assert!(wire.server_saw.last().unwrap().starts_with("RoundTrip"));
    assert_eq!(wire.server.intervals().0, secs(10));
    // The client, which believes in the longer one by now, is told otherwise.
    assert_eq!(announced(&wire), [20, 10]);
    assert_eq!(wire.client.intervals().1, secs(10));
}

#[test]
fn a_peer_that_announces_less_is_followed_down_to_what_is_configured() {
    let mut wire = wire(300, 600);
    wire.run(secs(2000));
    assert_eq!(wire.server.intervals().0, secs(300));
    wire.read(Side::Server, &heartbeat(90, Some(secs(15))));
    assert_eq!(wire.server.intervals(), (secs(15), secs(15)));
    wire.read(Side::Server, &heartbeat(91, Some(secs(5))));
    assert_eq!(wire.server.intervals(), (secs(10), secs(5)));
}

#[test]
fn a_step_that_is_agreed_too_late_stays_within_what_the_peer_announced_meanwhile() {
    let mut wire = wire(300, 600);
    while wire.server.intervals().0 < secs(40) {
        wire.run(secs(1));
    }
    // The next step is on its way when the peer announces less.
    wire.latency = secs(2);
    let steps = announced(&wire).len();
    while announced(&wire).len() == steps {
        wire.run(secs(1));
    }
    wire.read(Side::Server, &heartbeat(90, Some(secs(12))));
    wire.run(secs(6));
    assert_eq!(wire.server.intervals().0, secs(12));
}

#[test]
fn what_cannot_be_announced_is_not_used_either() {
    for (configured, used) in [(0, 1), (700, 600)] {
        let mut wire = Wire::new(
            ServerSettings {
                heartbeat: settings(configured, 10_000),
                ..ServerSettings::default()
            },
            ClientSettings::default(),
        );
        wire.hello();
        wire.settle();
        assert_eq!(wire.server.intervals().0, secs(used));
        assert_eq!(wire.client.intervals().1, secs(used));
    }
}
