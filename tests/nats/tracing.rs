//! Spans of messages: whoever is asked belongs to the one that asked.

use crate::receiver::{Got, Mode, Receiver, hex};
use crate::server::{self, NatsServer};
use crate::support::{Peer, Server, Start, scratch, write_routes};
use mcpd_proto::{Frame, MetaBuf, Request, Trace};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// A server whose topics `ask` and `tell` lead to the subjects of their names.
fn front(nats: &NatsServer, receiver: &Receiver) -> (Server, tempfile::TempDir) {
    let dir = scratch();
    let handler = |name: &str, mode: &str| {
        let servers = format!("servers: ['{}']", nats.url());
        format!("{{name: {name}, type: nats, {servers}, subject: 'x.{name}', mode: {mode}}}")
    };
    let list = [handler("ask", "request"), handler("tell", "publish")].join(", ");
    let handlers = dir.path().join("handlers.yaml");
    let text = format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{list}]}}");
    std::fs::write(&handlers, text).unwrap();
    let routes = "{topic: ask, handler: ask}, {topic: tell, handler: tell}";
    let routes = format!("{{apiVersion: mcpd/v1, kind: RouteTable, routes: [{routes}]}}");
    let start = Start::new()
        .routes(&write_routes(&dir, &routes))
        .set("HANDLERS_FILE", handlers.to_str().unwrap())
        .set("TRACING__ENDPOINT", &receiver.url())
        .set("TRACING__INTERVAL", "10ms")
        .set("TRACING__RATIO", "0");
    (start.spawn(), dir)
}

/// Sends a request that is to be recorded; gives the id of its trace.
fn send(peer: &mut Peer, seq: u16, topic: &str) -> String {
    let trace_id = [seq as u8; 16];
    let mut meta = MetaBuf::new();
    meta.set_trace(Trace {
        trace_id,
        span_id: [9; 8],
        flags: 1,
    });
    peer.frame(Frame::Request(Request {
        seq,
        topic: topic.as_bytes(),
        meta: meta.view(),
        ..Request::default()
    }));
    hex(&trace_id)
}

/// The attempt below the span of the handler.
fn attempt(receiver: &mut Receiver, trace_id: &str, handler: &str) -> Got {
    let spans = receiver.await_spans(4, |got| got.trace_id() == trace_id);
    let named = |name: &str| spans.iter().find(|got| got.span.name == name);
    let handler = named(&format!("handle {handler}")).expect("the handler's span");
    let attempt = named("attempt").expect("the attempt's span");
    assert_eq!(attempt.parent(), handler.span_id());
    assert_eq!(attempt.attribute("messaging.system"), "nats");
    attempt.clone()
}

fn is_error(got: &Got) -> bool {
    let status = got.span.status.as_ref();
    status.is_some_and(|status| status.code() == StatusCode::Error)
}

#[test]
fn a_message_has_a_span_and_whoever_gets_it_hears_of_it() {
    let nats = NatsServer::start(&[]);
    let mut receiver = Receiver::grpc(Mode::Take);
    let (front, _dir) = front(&nats, &receiver);
    let mut peer = front.peer();
    let runtime = tokio::runtime::Runtime::new().unwrap();

    // Nobody listens yet.
    let unheard = send(&mut peer, 1, "ask");
    peer.expect().error();
    assert!(is_error(&attempt(&mut receiver, &unheard, "ask")));

    let told = |message: &async_nats::Message| {
        let headers = message.headers.as_ref().unwrap();
        headers.get("traceparent").unwrap().to_string()
    };
    let parent = |trace_id: &str, got: &Got| format!("00-{trace_id}-{}-01", got.span_id());
    let service = runtime.block_on(server::client(&nats));
    let mut subscription = runtime.block_on(server::subscribe(&service, "x.>"));

    let asked = send(&mut peer, 2, "ask");
    let message = runtime.block_on(async {
        let message = server::next(&mut subscription).await;
        let reply = message.reply.clone().unwrap();
        service.publish(reply, "yes".into()).await.unwrap();
        service.flush().await.unwrap();
        message
    });
    assert_eq!(peer.expect().response(), (2, b"yes".to_vec()));
    let span = attempt(&mut receiver, &asked, "ask");
    assert_eq!(told(&message), parent(&asked, &span));
    assert_eq!(span.span.kind(), SpanKind::Client);
    assert_eq!(span.attribute("messaging.destination.name"), "x.ask");
    assert!(!is_error(&span));

    let published = send(&mut peer, 3, "tell");
    let message = runtime.block_on(server::next(&mut subscription));
    assert_eq!(peer.expect().response(), (3, Vec::new()));
    let span = attempt(&mut receiver, &published, "tell");
    assert_eq!(told(&message), parent(&published, &span));
    assert_eq!(span.span.kind(), SpanKind::Producer);
}
