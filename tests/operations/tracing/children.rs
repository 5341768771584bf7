//! Spans that a handler's own code makes with `tracing`.

use super::receiver::{Mode, Receiver, hex};
use super::{send_traced, trace, trace_of};
use crate::support::Peer;
use mcpd::conn::{ListenSettings, Listener, Registry, Settings};
use mcpd::dispatch::{BindOptions, Dispatcher, bind};
use mcpd::handler::{Handler, Handlers};
use mcpd::message::{Answer, Call, Outcome};
use mcpd::router::document::{Document, ParseOptions};
use mcpd::router::{handle::Handle, table::Table};
use mcpd::scheduler::Scheduler;
use mcpd::telemetry::{
    ConnMetrics, LogSettings, LogStyle, RouteCatalog, Spans, TraceSettings, init_logs,
};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// Makes spans of its own.
struct Telling;

#[tracing::instrument]
async fn look_up(key: u32) -> u32 {
    tokio::time::sleep(Duration::from_millis(2)).await;
    tracing::info_span!("inner").in_scope(|| key + 1)
}

impl Handler for Telling {
    fn call<'a>(&'a self, _: &Call<'a>) -> Outcome<'a> {
        Outcome::Later(Box::pin(async {
            let found = look_up(6)
                .instrument(tracing::debug_span!("too fine"))
                .await;
            Answer::json(found.to_string().into_bytes())
        }))
    }
}

#[test]
fn they_are_children_of_the_handler_and_cost_nothing_elsewhere() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let mut spans = Spans::new(TraceSettings {
        endpoint: Some(receiver.url()),
        interval: Duration::from_millis(10),
        ..TraceSettings::default()
    });
    let logs = LogSettings {
        style: LogStyle::Json,
        // What is exported does not depend on what is logged.
        filter: "error".to_owned(),
        server_id: "test".to_owned(),
    };
    init_logs(&logs, &spans).unwrap();
    let text =
        b"{apiVersion: mcpd/v1, kind: RouteTable, routes: [{topic: tell, handler: telling}]}";
    let document = Document::parse(text, &ParseOptions::default())
        .unwrap()
        .document;
    let mut handlers = Handlers::new();
    handlers.insert("telling", Arc::new(Telling));
    let catalog = Arc::new(RouteCatalog::default());
    let mut metrics = ConnMetrics::new(Arc::clone(&catalog));
    let (_, started) = spans.start(&mut metrics, &catalog);
    started.unwrap();
    let (scheduler, before) = (Scheduler::default(), Table::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = BindOptions::new(runtime.handle().clone());
    let table = bind(
        &document, &handlers, &scheduler, &catalog, &before, &options,
    )
    .unwrap();
    let listen = ListenSettings {
        addr: "127.0.0.1:0".parse().unwrap(),
        ..ListenSettings::default()
    };
    let settings = Settings {
        listen: Arc::new(listen),
        ..Settings::default()
    };
    let _inside = runtime.enter();
    let listener = Listener::bind(
        tokio::sync::watch::channel(settings).1,
        Dispatcher::new(Handle::new(table)),
        Arc::new(metrics),
        Arc::new(Registry::default()),
        Vec::new(),
    )
    .unwrap();
    let addr = listener.local_addr();
    runtime.spawn(listener.run());
    let mut peer = Peer::new(TcpStream::connect(addr).unwrap());
    send_traced(&mut peer, 1, "tell", trace(1, 0));
    assert_eq!(peer.expect().response(), (1, b"7".to_vec()));
    send_traced(&mut peer, 2, "tell", trace(2, 1));
    let got = peer.expect();
    assert!(trace_of(&got).is_some());
    receiver.await_spans(5, |got| got.trace_id() == hex(&[2; 16]));
    let named = |name: &str, spans: &[super::receiver::Got]| {
        let span = spans.iter().find(|got| got.span.name == name);
        span.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
            .clone()
    };
    let all = receiver.all();
    let (handler, outer, inner) = (
        named("handle telling", all),
        named("look_up", all),
        named("inner", all),
    );
    assert_eq!(outer.parent(), handler.span_id());
    assert_eq!(inner.parent(), outer.span_id());
    assert_eq!(outer.attribute("key"), "6");
    // Neither those of the unsampled request, nor what is finer than information.
    assert_eq!(all.len(), 5, "{all:#?}");
}
