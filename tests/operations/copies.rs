//! A stop and the copies of requests that mirrors have made.

use crate::support::{Server, Start, scratch, write_routes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

/// A service that holds each request until it is told to answer.
struct Service {
    addr: SocketAddr,
    came: mpsc::Receiver<()>,
    answer: mpsc::Sender<()>,
}

impl Service {
    fn new() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, came) = mpsc::channel();
        let (answer, told) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\ncopied") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            tell.send(()).unwrap();
            // Without a word, until the other end has gone.
            if told.recv().is_ok() {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
        });
        Service { addr, came, answer }
    }
}

/// A server that is stopped while a copy of an answered request is with the service, and nobody is connected.
fn stopped(service: &Service, finish: &str) -> Server {
    let dir = scratch();
    let handlers = dir.path().join("handlers.yaml");
    let entry = format!(
        "{{name: shadow, type: http, url: \"http://{}/\"}}",
        service.addr
    );
    let text = format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{entry}]}}");
    std::fs::write(&handlers, text).unwrap();
    let routes = "{apiVersion: mcpd/v1, kind: RouteTable, requires: [mirror], routes: [
        {topic: echo, handler: echo, mirror: {handler: shadow, percent: 100}}]}";
    let server = Start::new()
        .routes(&write_routes(&dir, routes))
        .set("HANDLERS_FILE", handlers.to_str().unwrap())
        .set("DRAIN__SPREAD", "1h")
        .set("DRAIN__FINISH", finish)
        .spawn();
    let mut peer = server.peer();
    peer.request(1, "echo", b"copied");
    assert_eq!(peer.expect().response(), (1, b"copied".to_vec()));
    service.came.recv().unwrap();
    peer.half_close();
    assert_eq!(peer.next(), None);
    server.await_metric("mcpd_connections", |n| n == 0.0);
    server.signal("TERM");
    server
}

fn summary(server: &mut Server) -> serde_json::Value {
    assert_eq!(server.await_exit(), Some(0));
    let mut lines = server.output_to_end().iter();
    let drained = lines.find(|line| line.contains("\"message\":\"drained\""));
    serde_json::from_str(drained.expect("a summary")).unwrap()
}

#[test]
fn a_stop_waits_for_them_when_everybody_has_gone() {
    let service = Service::new();
    let mut server = stopped(&service, "1h");
    // Nobody is left who would have to be told, so the time for finishing has begun.
    server.await_get("/admin/v1/state", |_, body| body.contains("\"finish\""));
    service.answer.send(()).unwrap();
    let summary = summary(&mut server);
    assert_eq!(summary["mirrors_cut"], 0, "{summary}");
}

#[test]
fn a_stop_waits_no_longer_than_for_requests() {
    let service = Service::new();
    let mut server = stopped(&service, "100ms");
    let summary = summary(&mut server);
    assert_eq!(summary["mirrors_cut"], 1, "{summary}");
    drop(service);
}
