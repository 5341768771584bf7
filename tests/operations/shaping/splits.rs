//! Which handler gets a request, and what topic it sees.

use super::{Does, Noting, Shaped, ask, document, header, hello, nothing, send};
use crate::embedded::Embedded;
use crate::support::Peer;
use mcpd::handler::Handler;
use mcpd::message::{Call, Outcome};
use mcpd_proto::ErrorCode;
use std::net::TcpStream;
use std::sync::Arc;

/// Requests of one write.
const BURST: u16 = 100;

const ALL: [(&str, Does); 3] = [
    ("stable", Does::Answers),
    ("canary", Does::Answers),
    ("beta", Does::Answers),
];

/// Sends so many requests by two connections at a time.
fn load(shaped: &Shaped, bursts: usize) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut peer = shaped.peer();
                for _ in 0..bursts / 2 {
                    (1..=BURST).for_each(|seq| peer.request(seq, "t/x", b""));
                    (0..BURST).for_each(|_| drop(peer.expect().response()));
                }
            });
        }
    });
}

#[test]
fn a_split_of_90_to_10_holds_over_100_000_requests() {
    let split = "split: [{handler: stable, weight: 90}, {handler: canary, weight: 10}]";
    let shaped = Shaped::start(split, &ALL);
    load(&shaped, 1000);
    let counts = ["stable", "canary"].map(|name| shaped.handler(name).count());
    // ±1 % is what is promised; a counter makes it exact.
    assert_eq!(counts, [90_000, 10_000]);
    for (handler, count) in [("stable", 90_000), ("canary", 10_000)] {
        let series = format!("mcpd_route_choices_total{{route=\"r\",handler=\"{handler}\"}}");
        assert_eq!(shaped.metric(&series), count);
    }
}

#[test]
fn a_weight_of_nothing_gets_nothing_and_a_new_table_counts_at_once() {
    let split = |a, b| {
        document(&format!(
            "split: [{{handler: stable, weight: {a}}}, {{handler: canary, weight: {b}}}]"
        ))
    };
    let shaped = Shaped::start("handler: stable", &ALL);
    shaped.server.swap(&split(1, 0));
    load(&shaped, 4);
    assert_eq!(shaped.handler("canary").count(), 0);
    shaped.server.swap(&split(0, 1));
    load(&shaped, 4);
    assert_eq!(shaped.handler("stable").count(), 400);
    assert_eq!(shaped.handler("canary").count(), 400);
}

/// Half of a round before and half after: if the turns began anew, the small share would be missed.
#[test]
fn turns_go_on_where_they_were_when_another_route_changes() {
    let split = "split: [{handler: stable, weight: 3}, {handler: canary, weight: 1}]";
    let shaped = Shaped::start(split, &ALL);
    let mut peer = shaped.peer();
    for n in 0..40 {
        ask(&mut peer, "t/x", nothing);
        shaped
            .server
            .swap(&document(&format!("{split}, timeout: {}s", n + 1)));
    }
    assert_eq!(shaped.handler("canary").count(), 10);
    assert_eq!(shaped.handler("stable").count(), 30);
}

#[test]
fn a_client_stays_with_its_handler_on_every_connection() {
    let split =
        "split: [{handler: stable, weight: 1}, {handler: canary, weight: 1}], sticky: client_id";
    let shaped = Shaped::start(split, &ALL);
    let mut of_all = Vec::new();
    for client in 0..20 {
        let mut taken = Vec::new();
        for _ in 0..3 {
            let mut peer = shaped.peer();
            hello(&mut peer, &format!("client-{client}"));
            taken.extend([(); 3].map(|()| ask(&mut peer, "t/x", nothing)));
        }
        assert!(taken.iter().all(|name| *name == taken[0]), "{taken:?}");
        of_all.push(taken[0].clone());
    }
    for name in ["stable", "canary"] {
        assert!(of_all.iter().any(|taken| taken == name), "{of_all:?}");
    }
}

#[test]
fn a_header_keeps_a_session_and_who_has_none_takes_turns() {
    let split = "split: [{handler: stable, weight: 1}, {handler: canary, weight: 1}], \
                 sticky: {header: session}";
    let shaped = Shaped::start(split, &ALL);
    let (mut one, mut other) = (shaped.peer(), shaped.peer());
    let first = ask(&mut one, "t/x", header("session", "s-1"));
    for peer in [&mut other, &mut one] {
        assert_eq!(ask(peer, "t/x", header("session", "s-1")), first);
    }
    let turns = [(); 4].map(|()| ask(&mut one, "t/x", nothing));
    assert_eq!(
        turns.iter().filter(|name| *name == "canary").count(),
        2,
        "{turns:?}"
    );
}

#[test]
fn the_first_match_that_holds_decides_and_else_the_route() {
    let keys = "handler: stable, match: [\
                {header: {tenant: acme, plan: \"pro-*\"}, handler: beta}, \
                {header: {tenant: acme}, handler: canary}, \
                {client_id: \"edge-*\", handler: beta}, \
                {principal: \"*\", handler: canary}]";
    let shaped = Shaped::start(keys, &ALL);
    let (mut core, mut edge) = (shaped.peer(), shaped.peer());
    hello(&mut edge, "edge-7");
    assert_eq!(ask(&mut core, "t/x", nothing), "stable");
    assert_eq!(ask(&mut core, "t/x", header("tenant", "acme2")), "stable");
    assert_eq!(ask(&mut core, "t/x", header("tenant", "acme")), "canary");
    assert_eq!(ask(&mut core, "t/x", header("plan", "pro-1")), "stable");
    let both = |meta: &mut _| {
        header("plan", "pro-1")(meta);
        header("tenant", "acme")(meta);
    };
    assert_eq!(ask(&mut core, "t/x", both), "beta");
    // A key may come more than once; one of them will do.
    let twice = |meta: &mut _| {
        header("tenant", "other")(meta);
        header("tenant", "acme")(meta);
    };
    assert_eq!(ask(&mut core, "t/x", twice), "canary");
    assert_eq!(ask(&mut edge, "t/x", nothing), "beta");
    assert_eq!(ask(&mut edge, "t/x", header("tenant", "acme")), "canary");
    let series = "mcpd_route_choices_total{route=\"r\",handler=\"stable\"}";
    assert_eq!(shaped.metric(series), 3);
}

#[test]
fn the_handler_sees_the_topic_that_the_route_makes() {
    for does in [Does::Answers, Does::AnswersLater] {
        let shaped = Shaped::start(
            "handler: stable, rewrite: \"{1}/v2/{1}\"",
            &[("stable", does)],
        );
        let mut peer = shaped.peer();
        assert_eq!(ask(&mut peer, "t/eu", nothing), "stable");
        assert_eq!(shaped.handler("stable").seen()[0].topic, "eu/v2/eu");

        // What makes no topic is refused, and the connection goes on.
        for topic in ["t/", &format!("t/{}", "x".repeat(130))] {
            send(&mut peer, 2, topic, nothing);
            assert_eq!(peer.expect().error(), (2, ErrorCode::INVALID_REQUEST));
        }
        assert_eq!(ask(&mut peer, "t/us", nothing), "stable");
        assert_eq!(shaped.handler("stable").count(), 2);
    }
}

/// The topic is made anew after a wait, too, and what is ordered is so by the client's topic.
#[test]
fn a_topic_is_made_behind_a_leaky_bucket_and_on_an_ordered_route() {
    let keys = "handler: stable, rewrite: \"v2/{1}\", ordered: true, \
                rate_limit: {per_second: 500, burst: 100, algorithm: leaky_bucket}";
    let shaped = Shaped::start(keys, &[("stable", Does::AnswersLater)]);
    let mut peer = shaped.peer();
    for seq in 1..=20 {
        send(&mut peer, seq, &format!("t/{seq}"), nothing);
    }
    for _ in 0..20 {
        assert_eq!(peer.expect().response().1, b"stable");
    }
    let mut topics: Vec<_> = shaped
        .handler("stable")
        .seen()
        .into_iter()
        .map(|seen| seen.topic)
        .collect();
    topics.sort_by_key(|topic| topic.trim_start_matches("v2/").parse::<u16>().unwrap());
    let due: Vec<String> = (1..=20).map(|n| format!("v2/{n}")).collect();
    assert_eq!(topics, due);
}

/// Who does not say who it is shares a bucket with all others who do not.
#[test]
fn a_rate_for_each_client_is_each_clients_own() {
    let keys = "handler: stable, rate_limit: {per_second: 1, burst: 300, per: client_id}";
    let shaped = Shaped::start(keys, &ALL);
    let over = ["a", "b", "a", "", ""].map(|client| {
        let mut peer = shaped.peer();
        if !client.is_empty() {
            hello(&mut peer, client);
        }
        (1..=300).for_each(|seq| peer.request(seq, "t/x", b""));
        (1..=300).filter(|_| !peer.expect().is_response()).count()
    });
    // One a second is let through meanwhile, however slow this machine is.
    let much = |over: usize| over > 100;
    assert_eq!(
        over.map(much),
        [false, false, true, false, true],
        "{over:?}"
    );
    assert_eq!((over[0], over[1], over[3]), (0, 0, 0), "{over:?}");
}

/// Hands on to other servers, or would.
struct Forwarding(Arc<Noting>);

impl Handler for Forwarding {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        self.0.call(call)
    }

    fn forwards(&self) -> bool {
        true
    }
}

/// Where only some handlers forward, the others may take what has no HOPS left.
#[test]
fn hops_are_needed_where_every_handler_forwards() {
    let onward = || -> Arc<dyn Handler> { Arc::new(Forwarding(Noting::new("on", Does::Answers))) };
    let here: Arc<dyn Handler> = Noting::new("here", Does::Answers);
    let handlers = vec![("on", onward()), ("off", onward()), ("here", here)];
    let split = |other: &str| {
        document(&format!(
            "split: [{{handler: on, weight: 0}}, {{handler: {other}, weight: 1}}]"
        ))
    };
    let server = Embedded::start(handlers, &split("here"));
    let mut peer = Peer::new(TcpStream::connect(server.addr).expect("it accepts"));
    assert_eq!(ask(&mut peer, "t/x", |meta| meta.set_hops(0)), "here");
    server.swap(&split("off"));
    send(&mut peer, 2, "t/x", |meta| meta.set_hops(0));
    assert_eq!(peer.expect().error(), (2, ErrorCode::HOP_LIMIT));
    assert_eq!(ask(&mut peer, "t/x", |meta| meta.set_hops(1)), "on");
}
