//! Spans: which requests have some, what they tell, and that whoever takes them can do no harm.

mod attempts;
mod children;
mod decisions;
mod faults;
mod jaeger;
mod receiver;
mod shop;
mod telling;
mod tree;

use crate::support::{Got, Peer, Server, Start, scratch, write_routes};
use mcpd_proto::{Frame, MetaBuf, Request, Trace};

const ROUTES: &str = "
apiVersion: mcpd/v1
kind: RouteTable
requires: [rewrite, split]
routes:
  - {topic: echo, handler: echo}
  - {name: any, topic: any/#, handler: echo}
  - {name: slow, topic: slow/+, handler: slow}
  - {name: failing, topic: failing, handler: failing}
  - {name: ordered, topic: ordered, handler: slow, ordered: true}
  - {name: shared, topic: shared/+, rewrite: 'v2/{1}', split: [{handler: echo, weight: 1}, {handler: slow, weight: 1}]}
";

/// A server with routes that are slow or fail, which exports to `url` nearly at once.
fn start(url: &str, protocol: &str) -> Start {
    let dir = scratch();
    let routes = write_routes(&dir, ROUTES);
    // Read once at the start; the directory may go when the test ends.
    std::mem::forget(dir);
    Start::new()
        .routes(&routes)
        .set("TRACING__ENDPOINT", url)
        .set("TRACING__PROTOCOL", protocol)
        .set("TRACING__INTERVAL", "10ms")
        .set("TRACING__RATIO", "0")
        .set("TRACING__SLOW", "0s")
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "40ms")
        .set("HANDLERS__FAILING__TYPE", "delay")
        .set("HANDLERS__FAILING__LATENCY", "0s")
        .set("HANDLERS__FAILING__FAILURE_PERCENT", "100")
}

fn trace(n: u8, flags: u8) -> Trace {
    Trace {
        trace_id: [n; 16],
        span_id: [n ^ 0xff; 8],
        flags,
    }
}

/// Sends a request with TRACE.
fn send_traced(peer: &mut Peer, seq: u16, topic: &str, trace: Trace) {
    let mut meta = MetaBuf::new();
    meta.set_trace(trace);
    peer.frame(Frame::Request(Request {
        seq,
        topic: topic.as_bytes(),
        body: b"hello",
        meta: meta.view(),
        ..Request::default()
    }));
}

/// The TRACE of an answer.
fn trace_of(got: &Got) -> Option<Trace> {
    match got.frame() {
        Frame::Response(response) => response.meta.trace(),
        Frame::Error(error) => error.meta.trace(),
        other => panic!("an answer, not {other:?}"),
    }
}

/// Waits until the server counts so many spans as exported.
fn await_exported(server: &Server, count: f64) {
    server.await_metric("mcpd_spans_exported_total", |n| n >= count);
}
