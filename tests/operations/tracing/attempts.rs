//! Spans of attempts: whoever is asked belongs to the one that asked.

use super::receiver::{Mode, Receiver, hex};
use super::{send_traced, trace, trace_of};
use crate::support::{Start, scratch, write_routes};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

/// Answers every request, and tells its `traceparent`.
fn service() -> (std::net::SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\nhello") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let lines = head
                .lines()
                .find_map(|line| line.strip_prefix("traceparent: "));
            let _ = tell.send(lines.unwrap_or_default().to_owned());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            stream.write_all(answer).unwrap();
        }
    });
    (addr, told)
}

#[test]
fn an_attempt_has_a_span_and_the_service_hears_of_it() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let (addr, told) = service();
    let dir = scratch();
    let handlers = dir.path().join("handlers.yaml");
    let entry = format!("{{name: up, type: http, url: \"http://{addr}/\"}}");
    let text = format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{entry}]}}");
    std::fs::write(&handlers, text).unwrap();
    let routes = "{apiVersion: mcpd/v1, kind: RouteTable, routes: [{topic: up, handler: up}]}";
    let routes = write_routes(&dir, routes);
    let server = Start::new()
        .routes(&routes)
        .set("HANDLERS_FILE", handlers.to_str().unwrap())
        .set("TRACING__ENDPOINT", &receiver.url())
        .set("TRACING__INTERVAL", "10ms")
        .set("TRACING__RATIO", "0")
        .spawn();
    let mut peer = server.peer();

    send_traced(&mut peer, 1, "up", trace(7, 1));
    let answer = trace_of(&peer.expect()).expect("TRACE");
    let trace_id = hex(&answer.trace_id);
    let spans = receiver.await_spans(4, |got| got.trace_id() == trace_id);
    let named = |name: &str| {
        let span = spans.iter().find(|got| got.span.name == name);
        span.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    };
    let (handler, attempt) = (named("handle up"), named("attempt"));
    assert_eq!(attempt.parent(), handler.span_id());
    assert_eq!(attempt.span.kind(), SpanKind::Client);
    assert_eq!(attempt.attribute("http.response.status_code"), "200");
    assert_eq!(attempt.attribute("server.port"), addr.port().to_string());
    let parent = format!("00-{trace_id}-{}-01", attempt.span_id());
    assert_eq!(told.recv().unwrap(), parent);

    // What is not sampled is passed on as it came.
    send_traced(&mut peer, 2, "up", trace(8, 0));
    peer.expect();
    let came = format!("00-{}-{}-00", hex(&[8; 16]), hex(&[8 ^ 0xff; 8]));
    assert_eq!(told.recv().unwrap(), came);
}

#[test]
fn a_trace_goes_on_from_server_to_server() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let traced = |start: Start| {
        let start = start.set("TRACING__ENDPOINT", &receiver.url());
        let start = start.set("TRACING__INTERVAL", "10ms");
        start.set("TRACING__RATIO", "0").spawn()
    };
    let next = traced(Start::new());
    let dir = scratch();
    let handlers = dir.path().join("handlers.yaml");
    let entry = format!("{{name: next, type: mcp, endpoints: [\"{}\"]}}", next.data);
    let text = format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{entry}]}}");
    std::fs::write(&handlers, text).unwrap();
    let routes = "{apiVersion: mcpd/v1, kind: RouteTable, routes: [{topic: echo, handler: next}]}";
    let start = Start::new().routes(&write_routes(&dir, routes));
    let front = traced(start.set("HANDLERS_FILE", handlers.to_str().unwrap()));

    let mut peer = front.peer();
    send_traced(&mut peer, 1, "echo", trace(9, 1));
    let answer = trace_of(&peer.expect()).expect("TRACE");
    let trace_id = hex(&answer.trace_id);
    // Four of the first server, three of the next.
    let spans = receiver.await_spans(7, |got| got.trace_id() == trace_id);
    let attempt = spans.iter().find(|got| got.span.name == "attempt");
    let attempt = attempt.expect("a span of the attempt");
    assert_eq!(
        attempt.attribute("server.port"),
        next.data.port().to_string()
    );
    let servers = spans
        .iter()
        .filter(|got| got.span.kind() == SpanKind::Server);
    let parents: Vec<_> = servers.map(|got| got.parent()).collect();
    assert_eq!(parents.len(), 2, "{spans:#?}");
    assert!(parents.contains(&attempt.span_id()), "{spans:#?}");
}
