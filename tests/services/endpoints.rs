//! A handler whose endpoints are those of a Service.

use crate::plane::{Condition, Endpoint, Plane, own_ip};
use crate::support::{PATIENCE, Peer, Server, Start, http, scratch};
use mcpd_proto::{ErrorCode, Frame};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

/// A server behind the Service, which says who it is.
fn backend(word: &str) -> Server {
    Start::new()
        .listen(SocketAddr::new(own_ip(), 0))
        .set("HANDLERS__ECHO__TYPE", "static")
        .set("HANDLERS__ECHO__BODY", word)
        .spawn()
}

/// What one request comes to.
fn ask(peer: &mut Peer) -> Result<String, ErrorCode> {
    peer.request(1, "echo", b"");
    let got = peer.expect();
    match got.frame() {
        Frame::Response(response) => Ok(String::from_utf8(response.body.to_vec()).unwrap()),
        Frame::Error(error) => Err(error.code),
        other => panic!("{other:?}"),
    }
}

/// Asks until the last answers are all of these, and each of them is among them.
fn await_answers(peer: &mut Peer, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|word| (*word).to_owned()).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answers: Result<BTreeSet<String>, _> = (0..40).map(|_| ask(peer)).collect();
        if answers.as_ref() == Ok(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{answers:?} instead of {wanted:?}");
    }
}

fn await_error(peer: &mut Peer, code: ErrorCode) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(peer);
        if answer == Err(code) {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
}

#[test]
fn requests_follow_the_slices_of_a_service() {
    let mut plane = Plane::start();
    let (one, two) = (backend("one"), backend("two"));
    let seed = scratch();
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes: [{topic: echo, handler: orders}]\n";
    std::fs::write(seed.path().join("routes.yaml"), routes).unwrap();
    let handlers = "apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n  - name: orders\n    type: mcp\n    \
                    endpoints: {service: orders, port: mcp}\n";
    std::fs::write(seed.path().join("handlers.yaml"), handlers).unwrap();
    let mut front = plane.server("front");
    front = front.set("KUBERNETES__SEED", seed.path().to_str().unwrap());
    let front = front.spawn();
    let mut peer = front.peer();
    await_error(&mut peer, ErrorCode::UPSTREAM_UNAVAILABLE);

    let put = |plane: &Plane, slice: &str, server: &Server, condition| {
        let endpoint = Endpoint {
            addr: server.data,
            port: "mcp",
            pod: slice,
            condition,
        };
        plane.put(slice, "orders", &endpoint);
    };
    put(&plane, "one", &one, Condition::Ready);
    await_answers(&mut peer, &["one"]);
    put(&plane, "two", &two, Condition::Ready);
    await_answers(&mut peer, &["one", "two"]);
    // What terminates is left alone while another is ready, and asked when none is.
    put(&plane, "one", &one, Condition::Terminating);
    await_answers(&mut peer, &["two"]);
    put(&plane, "two", &two, Condition::NotReady);
    await_answers(&mut peer, &["one"]);

    let (_, _, shown) = http(front.sidecar, "GET", "/admin/v1/handlers/orders");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["settings"]["endpoints"], "Service orders, port mcp");
    let endpoints = shown["upstream"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1, "{shown}");
    assert!(front.metric("mcpd_services_followed") >= 1.0);

    // While the API server is away, what was known stays.
    let failures = front.metric("mcpd_service_watch_failures_total");
    plane.order("stop");
    front.await_metric("mcpd_service_watch_failures_total", |n| n > failures);
    await_answers(&mut peer, &["one"]);
    plane.order("start");
    put(&plane, "two", &two, Condition::Ready);
    await_answers(&mut peer, &["two"]);
    plane.delete("one");
    plane.delete("two");
    await_error(&mut peer, ErrorCode::UPSTREAM_UNAVAILABLE);
}
