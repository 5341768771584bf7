//! The real thing: Jaeger takes our spans and finds them again by the id that the client knows.

use super::receiver::hex;
use super::{send_traced, start, trace};
use crate::support::PATIENCE;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running Jaeger; ended when dropped.
pub(super) struct Jaeger {
    child: Child,
    pub(super) grpc: SocketAddr,
    http: SocketAddr,
    query: SocketAddr,
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Jaeger {
    pub(super) fn start() -> Jaeger {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/jaeger");
        let built = Command::new(script).stderr(Stdio::inherit()).output();
        let built = built.expect("tests/support/jaeger runs");
        assert!(built.status.success(), "`make jaeger` builds it");
        let program = String::from_utf8(built.stdout).unwrap();
        let [grpc, http, query] = [free(), free(), free()];
        let mut command = Command::new(program.trim());
        for (flag, addr) in [
            ("collector.otlp.grpc.host-port", grpc),
            ("collector.otlp.http.host-port", http),
            ("query.http-server.host-port", query),
            // Ports that would be fixed otherwise.
            ("query.grpc-server.host-port", free()),
            ("admin.http.host-port", free()),
            ("collector.http-server.host-port", free()),
            ("collector.grpc-server.host-port", free()),
        ] {
            command.arg(format!("--{flag}={addr}"));
        }
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.spawn().expect("Jaeger starts");
        let jaeger = Jaeger {
            child,
            grpc,
            http,
            query,
        };
        for port in [grpc, http, query] {
            eventually("Jaeger listens", || TcpStream::connect(port).ok());
        }
        jaeger
    }

    /// What Jaeger has of a trace, once it has `spans` spans.
    pub(super) fn trace(&self, id: &str, spans: usize) -> Value {
        eventually("Jaeger finds the trace", || {
            let found = get(self.query, &format!("/api/traces/{id}"))?;
            let trace = found["data"][0].clone();
            (trace["spans"].as_array()?.len() >= spans).then_some(trace)
        })
    }
}

fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// GET by HTTP/1.0, so that the body is what comes before the end.
fn get(addr: SocketAddr, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}

pub(super) fn tag<'v>(of: &'v Value, key: &str) -> &'v Value {
    let tags = of["tags"].as_array().expect("tags");
    let tag = tags.iter().find(|tag| tag["key"] == key);
    tag.map_or(&Value::Null, |tag| &tag["value"])
}

#[test]
fn jaeger_holds_the_trace_of_a_request_over_grpc_and_over_http() {
    let jaeger = Jaeger::start();
    for (n, protocol, receiver) in [(1, "grpc", jaeger.grpc), (2, "http", jaeger.http)] {
        let start = start(&format!("http://{receiver}"), protocol);
        let server = start
            .with(|command| {
                command.env("K8S_POD_NAME", "mcpd-0");
            })
            .spawn();
        let mut peer = server.peer();
        send_traced(&mut peer, 1, "slow/1", trace(n, 1));
        assert!(peer.expect().is_response());
        let trace = jaeger.trace(&hex(&[n; 16]), 3);
        let spans = trace["spans"].as_array().unwrap();
        let named = |name: &str| {
            let span = spans.iter().find(|span| span["operationName"] == name);
            span.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
        };
        let (own, queue, work) = (named("process slow"), named("queue"), named("handle slow"));
        for child in [queue, work] {
            assert_eq!(child["references"][0]["refType"], "CHILD_OF");
            assert_eq!(child["references"][0]["spanID"], own["spanID"]);
        }
        // In microseconds, each cut off by itself.
        let [whole, waited, worked] =
            [own, queue, work].map(|span| span["duration"].as_u64().unwrap());
        assert!(
            worked >= 40_000 && waited + worked <= whole + 2,
            "{spans:#?}"
        );
        assert_eq!(tag(own, "span.kind"), "server");
        assert_eq!(tag(own, "messaging.destination.name"), "slow/1");
        assert_eq!(tag(own, "mcpd.sampling"), "parent");
        let process = &trace["processes"]["p1"];
        assert_eq!(process["serviceName"], "mcpd");
        assert_eq!(tag(process, "k8s.pod.name"), "mcpd-0");
        assert_eq!(tag(process, "service.version"), env!("CARGO_PKG_VERSION"));
    }
}
