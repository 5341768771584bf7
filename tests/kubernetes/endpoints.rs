//! A handler whose endpoints are those of a Service.

use crate::client::Admin;
use crate::plane::{Namespace, Plane, eventually};
use crate::replica::{start, table};
use crate::slices::{Condition, Endpoint, delete, own_ip, put};
use crate::support::{Peer, Server, Start};
use mcpd_proto::{ErrorCode, Frame};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A server behind the Service, which says who it is.
fn backend(word: &str) -> Server {
    Start::new()
        .listen(SocketAddr::new(own_ip(), 0))
        .set("HANDLERS__ECHO__TYPE", "static")
        .set("HANDLERS__ECHO__BODY", word)
        .spawn()
}

/// A server that hands `echo` on to the Service `orders`, and a client of it.
fn front(namespace: &Namespace) -> (Server, Peer) {
    let orders = "apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n  - {name: orders, type: mcp, \
                  endpoints: {service: orders, port: mcp}}\n";
    namespace.apply("handlers", orders);
    namespace.apply("routes", &table(&["echo"], "orders"));
    let server = start(namespace, "pod-a").spawn();
    let peer = server.peer();
    (server, peer)
}

fn set(namespace: &Namespace, pod: &str, server: &Server, condition: Condition) {
    let endpoint = Endpoint {
        addr: server.data,
        port: "mcp",
        pod,
    };
    put(namespace, "orders", &endpoint, condition);
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

/// Asks until the answers are these and no others.
fn await_answers(peer: &mut Peer, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|word| (*word).to_owned()).collect();
    eventually(&format!("answers of {wanted:?} alone"), || {
        let answers: Result<BTreeSet<String>, _> = (0..40).map(|_| ask(peer)).collect();
        (answers.as_ref() == Ok(&wanted)).then_some(())
    });
}

fn await_nobody(peer: &mut Peer) {
    eventually("answer that nobody is there", || {
        (ask(peer) == Err(ErrorCode::UPSTREAM_UNAVAILABLE)).then_some(())
    });
}

pub(crate) fn follow_the_slices(namespace: &Namespace) {
    let (one, two) = (backend("one"), backend("two"));
    let (front, mut peer) = front(namespace);
    await_nobody(&mut peer);
    set(namespace, "one", &one, Condition::Ready);
    await_answers(&mut peer, &["one"]);
    set(namespace, "two", &two, Condition::Ready);
    await_answers(&mut peer, &["one", "two"]);
    // What terminates is left alone while another is ready, and asked when none is.
    set(namespace, "one", &one, Condition::Terminating);
    await_answers(&mut peer, &["two"]);
    set(namespace, "two", &two, Condition::NotReady);
    await_answers(&mut peer, &["one"]);

    let shown = front.read("handlers/orders").ok();
    assert_eq!(shown["settings"]["endpoints"], "Service orders, port mcp");
    let endpoints = shown["upstream"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1, "{shown}");
    delete(namespace, "one");
    delete(namespace, "two");
    await_nobody(&mut peer);
}

/// While the API server is away, what was known stays; afterwards it goes on.
pub(crate) fn outlive_the_api_server(plane: &mut Plane, namespace: &Namespace) {
    const FAILURES: &str = "mcpd_service_watch_failures_total";
    let (one, two) = (backend("one"), backend("two"));
    let (front, mut peer) = front(namespace);
    set(namespace, "one", &one, Condition::Ready);
    await_answers(&mut peer, &["one"]);
    let failures = front.metric(FAILURES);
    plane.order("stop");
    front.await_metric(FAILURES, |now| now > failures);
    await_answers(&mut peer, &["one"]);
    plane.order("start");
    set(namespace, "two", &two, Condition::Ready);
    set(namespace, "one", &one, Condition::NotReady);
    await_answers(&mut peer, &["two"]);
}
