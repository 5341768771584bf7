//! Copies, of which the client must notice nothing.

use super::{Does, Shaped, ask, eventually, nothing, send};
use mcpd::dispatch::{MIRROR_HEADER, MirrorLimits};
use mcpd::scheduler::Limits;
use mcpd_proto::{Cancel, ErrorCode, Frame, Meta, MetaBuf, Request};
use std::collections::BTreeMap;

const ANSWERED: &str = "mcpd_route_mirrors_total{route=\"r\",outcome=\"answered\"}";
const FAILED: &str = "mcpd_route_mirrors_total{route=\"r\",outcome=\"failed\"}";
const CUT: &str = "mcpd_route_mirrors_total{route=\"r\",outcome=\"cut\"}";
const DROPPED: &str = "mcpd_route_mirrors_total{route=\"r\",outcome=\"dropped\"}";

fn start(percent: u8, main: Does, shadow: Does) -> Shaped {
    let keys = format!("handler: main, mirror: {{handler: shadow, percent: {percent}}}");
    Shaped::start(&keys, &[("main", main), ("shadow", shadow)])
}

#[test]
fn a_copy_is_the_request_with_a_mark_and_without_urgency() {
    let shaped = start(100, Does::Answers, Does::AnswersLater);
    let mut peer = shaped.peer();
    let mut meta = MetaBuf::new();
    meta.set_content_type("text/plain").unwrap();
    meta.add_header("tenant", b"acme").unwrap();
    peer.frame(Frame::Request(Request {
        seq: 1,
        topic: b"t/x",
        body: b"body",
        priority: 6,
        meta: meta.view(),
        ..Request::default()
    }));
    assert_eq!(peer.expect().response(), (1, b"main".to_vec()));
    shaped.await_metric(ANSWERED, 1);
    let (main, copy) = (
        shaped.handler("main").seen(),
        shaped.handler("shadow").seen(),
    );
    assert_eq!((main[0].priority, copy[0].priority), (6, 0));
    let mark = (MIRROR_HEADER.to_owned(), b"r".to_vec());
    let mut marked = main[0].clone();
    marked.priority = 0;
    marked.headers.push(mark);
    assert_eq!(copy, [marked]);
}

#[test]
fn a_part_of_them_is_copied_and_none_at_nothing() {
    let shaped = start(10, Does::Answers, Does::Answers);
    let mut peer = shaped.peer();
    (0..1000).for_each(|_| assert_eq!(ask(&mut peer, "t/x", nothing), "main"));
    shaped.await_metric(ANSWERED, 100);
    assert_eq!(shaped.handler("shadow").count(), 100);

    let shaped = start(0, Does::Answers, Does::Answers);
    let mut peer = shaped.peer();
    (0..100).for_each(|_| assert_eq!(ask(&mut peer, "t/x", nothing), "main"));
    assert_eq!(shaped.handler("shadow").count(), 0);
}

#[test]
fn a_mirror_that_hangs_or_panics_is_nobodys_business() {
    for shadow in [Does::Hangs, Does::Panics] {
        let shaped = start(100, Does::AnswersLater, shadow);
        let mut peer = shaped.peer();
        for _ in 0..50 {
            assert_eq!(ask(&mut peer, "t/x", nothing), "main");
        }
        if matches!(shadow, Does::Panics) {
            shaped.await_metric(FAILED, 50);
        }
    }
}

#[test]
fn copies_are_bounded_by_number_and_by_bytes() {
    let shaped = start(100, Does::Answers, Does::Hangs);
    let mut peer = shaped.peer();
    let limit = |copies, bytes| {
        shaped
            .server
            .options
            .mirrors
            .set_limits(MirrorLimits { copies, bytes })
    };
    limit(2, 1 << 20);
    (0..5).for_each(|_| assert_eq!(ask(&mut peer, "t/x", nothing), "main"));
    shaped.await_metric(DROPPED, 3);
    eventually("two copies", || shaped.handler("shadow").count() == 2);
    // Eight bytes of bodies are held by those two.
    limit(1000, 12);
    (0..3).for_each(|_| assert_eq!(ask(&mut peer, "t/x", nothing), "main"));
    shaped.await_metric(DROPPED, 5);
    eventually("three copies", || shaped.handler("shadow").count() == 3);
}

/// The room of a copy is free again however the copy ends.
#[test]
fn room_is_given_back() {
    for shadow in [Does::Answers, Does::AnswersLater, Does::Panics] {
        let shaped = start(100, Does::Answers, shadow);
        let copies = MirrorLimits {
            copies: 1,
            bytes: 4,
        };
        shaped.server.options.mirrors.set_limits(copies);
        let mut peer = shaped.peer();
        for n in 1..=10 {
            assert_eq!(ask(&mut peer, "t/x", nothing), "main");
            let done = || shaped.metric(ANSWERED) + shaped.metric(FAILED) + shaped.metric(DROPPED);
            eventually("it is done", || done() == n);
        }
        assert_eq!(shaped.metric(DROPPED), 0);
    }
}

#[test]
fn a_cancel_is_for_the_request_and_not_for_its_copy() {
    let keys = "handler: main, mirror: {handler: shadow, percent: 100}";
    let shaped = Shaped::start(keys, &[("main", Does::Hangs), ("shadow", Does::Hangs)]);
    let mut peer = shaped.peer();
    send(&mut peer, 1, "t/x", nothing);
    let hanging = || ["main", "shadow"].map(|name| shaped.handler(name).hanging());
    eventually("both run", || hanging() == [1, 1]);
    peer.frame(Frame::Cancel(Cancel {
        seq: 1,
        meta: Meta::EMPTY,
    }));
    assert_eq!(peer.expect().error(), (1, ErrorCode::CANCELLED));
    eventually("the request has stopped", || hanging() == [0, 1]);
    drop(peer);
    let mut other = shaped.peer();
    send(&mut other, 1, "t/x", nothing);
    eventually("another request has come", || hanging() == [1, 2]);
}

/// What a stop does to copies that do not end.
#[test]
fn copies_that_are_cut_off_are_counted_and_no_more_are_made() {
    let shaped = start(100, Does::Answers, Does::Hangs);
    let mut peer = shaped.peer();
    (0..3).for_each(|_| assert_eq!(ask(&mut peer, "t/x", nothing), "main"));
    eventually("they run", || shaped.handler("shadow").hanging() == 3);
    let mirrors = std::sync::Arc::clone(&shaped.server.options.mirrors);
    assert_eq!(mirrors.cut(), 3);
    shaped.server.runtime.block_on(mirrors.done());
    assert_eq!((shaped.metric(CUT), shaped.metric(FAILED)), (3, 0));
    assert_eq!(shaped.handler("shadow").hanging(), 0);
    assert_eq!(ask(&mut peer, "t/x", nothing), "main");
    assert_eq!(shaped.metric(DROPPED), 1);
}

#[test]
fn a_copy_ends_with_the_time_of_its_request() {
    let shaped = start(100, Does::Answers, Does::Hangs);
    let mut peer = shaped.peer();
    let answer = ask(&mut peer, "t/x", |meta| meta.set_timeout_ms(50));
    assert_eq!(answer, "main");
    shaped.await_metric(FAILED, 1);
}

#[test]
fn copies_pass_the_gates_of_their_handler() {
    let shaped = start(100, Does::Answers, Does::Hangs);
    let limits = Limits {
        running: 1,
        waiting: 1,
    };
    let handlers = BTreeMap::from([("shadow".to_owned(), limits)]);
    let server = Limits {
        running: 1000,
        waiting: 1000,
    };
    shaped.server.scheduler.configure(server, &handlers);
    let keys = "handler: main, mirror: {handler: shadow, percent: 100}";
    shaped.server.swap(&super::document(keys));
    let mut peer = shaped.peer();
    (0..5).for_each(|_| assert_eq!(ask(&mut peer, "t/x", nothing), "main"));
    // One runs, one waits, the others find no place.
    shaped.await_metric(FAILED, 3);
    let load = shaped.server.scheduler.load_of("shadow").unwrap();
    assert_eq!((load.running, load.waiting), (1, 1));
}

/// A copy that could not be told from a request would do what only a request may.
#[test]
fn what_cannot_be_marked_is_not_copied() {
    let shaped = start(100, Does::Answers, Does::Answers);
    let mut peer = shaped.peer();
    let full = |meta: &mut MetaBuf| {
        (0..64).for_each(|n| meta.add_header(&format!("h{n}"), b"x").unwrap());
    };
    assert_eq!(ask(&mut peer, "t/x", full), "main");
    shaped.await_metric(DROPPED, 1);
    assert_eq!(shaped.handler("shadow").count(), 0);
}
