//! Draining by the admin API: the same as by signals.

use crate::client::{Admin, JSON};
use crate::support::{PATIENCE, Start};
use std::net::TcpListener;
use std::time::Instant;

fn start() -> Start {
    Start::new()
        .set("DRAIN__DELAY", "1h")
        .set("DRAIN__SPREAD", "1h")
        .set("DRAIN__FINISH", "1h")
}

#[test]
fn a_drain_begins_shows_and_is_hastened() {
    let mut server = start().spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    assert!(server.read("state").ok()["drain"].is_null());
    let got = server.admin("POST", "drain", &[], "");
    assert_eq!(got.status, 202, "{got:?}");
    let state = got.json();
    assert_eq!(
        (&state["phase"], &state["ready"]),
        (&"shutting_down".into(), &false.into())
    );
    let drain = &state["drain"];
    assert_eq!(
        (&drain["stage"], &drain["cause"]),
        (&"delay".into(), &"the admin API".into())
    );
    assert_eq!(
        (&drain["connections_at_start"], &drain["told"]),
        (&1.into(), &0.into())
    );
    let history = state["history"].as_array().unwrap();
    assert_eq!(
        history.last().unwrap()["cause"],
        "drain asked for by the admin API"
    );
    peer.expect_alive(2);
    let again = server.admin("POST", "drain", &[JSON], "{}");
    assert_eq!(
        (again.status, &again.json()["drain"]["stage"]),
        (202, &"delay".into())
    );
    // Routes can be put right while it drains.
    server
        .put("routes/late", r#"{"topic": "late", "handler": "echo"}"#)
        .ok();
    peer.expect_alive_on("late");
    let hastened = server.admin("POST", "drain", &[JSON], r#"{"hasten": true}"#);
    assert_eq!(hastened.status, 202);
    peer.expect_draining_and_end();
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn a_first_hasty_drain_goes_past_the_delay() {
    let mut server = start().spawn();
    // Without anybody it would be at its end at once.
    let mut peer = server.peer();
    peer.expect_alive(1);
    let got = server.admin("POST", "drain", &[JSON], r#"{"hasten": true}"#);
    assert_eq!(got.status, 202);
    assert_eq!(got.json()["drain"]["stage"], "finish");
    peer.expect_draining_and_end();
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn a_server_that_cannot_start_can_be_drained() {
    let dir = crate::support::scratch();
    let mut server = start()
        .routes(&dir.path().join("none.yaml"))
        .spawn_unready();
    server.await_log("cannot serve, trying again");
    let state = server.read("state").ok();
    assert_eq!(
        (&state["ready"], &state["routes"]["count"]),
        (&false.into(), &0.into())
    );
    assert_eq!(
        server
            .admin("POST", "drain", &[JSON], r#"{"hasten": true}"#)
            .status,
        202
    );
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn a_drain_is_not_asked_for_by_accident() {
    let server = start().spawn();
    for body in [
        r#"{"hasten": 1}"#,
        r#"{"hastn": true}"#,
        "[]",
        "null",
        r#"{"hasten": true, "hasten": true}"#,
    ] {
        server.admin("POST", "drain", &[JSON], body).problem(422);
    }
    server.admin("POST", "drain", &[JSON], "{").problem(400);
    server.admin("GET", "drain", &[], "").problem(405);
    assert_eq!(server.read("state").ok()["phase"], "running");
}

/// Nobody is connected, and the spans that are left have a receiver that says nothing: the drain is in
/// its last stage long before its time, and who asks for it is told so.
#[test]
fn a_drain_that_waits_for_spans_alone_can_be_asked_for_again() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let server = Start::new()
        .set("DRAIN__SPREAD", "1h")
        .set("TRACING__ENDPOINT", &endpoint)
        .set("TRACING__RATIO", "1")
        .spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    drop(peer);
    server.await_metric("mcpd_connections", |n| n == 0.0);
    assert_eq!(server.admin("POST", "drain", &[], "").status, 202);
    let began = Instant::now();
    while server.read("state").ok()["drain"]["stage"] != "flush" {
        assert!(began.elapsed() < PATIENCE, "it does not get to its end");
        std::thread::yield_now();
    }
    let again = server.admin("POST", "drain", &[JSON], r#"{"hasten": true}"#);
    assert_eq!(
        (again.status, &again.json()["drain"]["stage"]),
        (202, &"flush".into())
    );
}
