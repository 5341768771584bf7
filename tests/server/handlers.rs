//! Handlers that break and handlers that are stopped, put together through the library.

use crate::support::Peer;
use crate::tools::{cancel, eventually, request, reset, timeout_ms};
use mcpd::conn::{ListenSettings, Listener, Order, Registry, Settings};
use mcpd::dispatch::{BindOptions, Dispatcher, bind};
use mcpd::handler::{Echo, Handler, Handlers};
use mcpd::message::{Answer, Call, Hosted, Outcome, Work};
use mcpd::router::document::{Document, RouteSpec};
use mcpd::router::{handle::Handle, table::Table};
use mcpd::scheduler::{Places, Scheduler};
use mcpd::telemetry::{ConnMetrics, RouteCatalog};
use mcpd_proto::topic::Pattern;
use mcpd_proto::{ErrorCode, Frame};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Breaks where its body says.
struct Brittle;

impl Handler for Brittle {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        match call.body {
            b"in place" => panic!("in place"),
            b"later" => Outcome::Later(Box::pin(async {
                tokio::task::yield_now().await;
                panic!("later")
            })),
            b"work" => Outcome::Later(Box::pin(work())),
            b"here" => here(false, async { panic!("here") }),
            b"here, later" => here(false, async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                panic!("here, later")
            }),
            b"hosted work" => here(false, work()),
            body => Outcome::Now(Answer::bytes(body)),
        }
    }
}

async fn work() -> Answer<'static> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    Answer::bytes(b"done")
}

/// Work for the connection to host.
fn here(
    stays: bool,
    work: impl Future<Output = Answer<'static>> + Send + 'static,
) -> Outcome<'static> {
    let work = Box::pin(work);
    Outcome::Here(Box::pin(Guest {
        work,
        stays,
        places: Places::default(),
    }))
}

struct Guest {
    work: Work,
    /// It goes on when it is cancelled.
    stays: bool,
    places: Places,
}

impl Future for Guest {
    type Output = Answer<'static>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<'static>> {
        self.work.as_mut().poll(cx)
    }
}

impl Hosted for Guest {
    fn cancel(self: Pin<&mut Self>) -> bool {
        self.stays
    }

    fn places(self: Pin<&mut Self>) -> &mut Places {
        &mut self.get_mut().places
    }
}

/// Never answers, and counts its work for as long as that exists.
#[derive(Default)]
struct Endless {
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Endless {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&self.running));
        let work = async move {
            std::future::pending::<()>().await;
            drop(running);
            Answer::bytes(b"")
        };
        match call.body {
            b"hosted" => here(false, work),
            b"stays" => here(true, work),
            _ => Outcome::Later(Box::pin(work)),
        }
    }
}

fn document() -> Document {
    let route =
        |topic: &str, handler: &str| RouteSpec::new(Pattern::parse(topic).unwrap(), handler);
    let mut ordered = route("o", "brittle");
    ordered.ordered = true;
    Document {
        routes: vec![
            route("echo", "echo"),
            route("endless", "endless"),
            route("brittle", "brittle"),
            ordered,
        ],
        ..Document::default()
    }
}

fn settings() -> Settings {
    let listen = ListenSettings {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ListenSettings::default()
    };
    Settings {
        listen: Arc::new(listen),
        ..Settings::default()
    }
}

/// A listener with the brittle handler; it lives as long as its runtime.
fn listen() -> (Runtime, SocketAddr, Arc<AtomicUsize>) {
    let (runtime, addr, running, _) = listen_and_order();
    (runtime, addr, running)
}

fn listen_and_order() -> (Runtime, SocketAddr, Arc<AtomicUsize>, Arc<Registry>) {
    let endless = Endless::default();
    let running = Arc::clone(&endless.running);
    let mut handlers = Handlers::new();
    handlers.insert("echo", Arc::new(Echo));
    handlers.insert("brittle", Arc::new(Brittle));
    handlers.insert("endless", Arc::new(endless));
    let catalog = Arc::new(RouteCatalog::default());
    let scheduler = Scheduler::default();
    let before = Table::default();
    let runtime = Runtime::new().unwrap();
    let options = BindOptions::new(runtime.handle().clone());
    let table = bind(
        &document(),
        &handlers,
        &scheduler,
        &catalog,
        &before,
        &options,
    )
    .unwrap();
    let _inside = runtime.enter();
    let (_, settings) = watch::channel(settings());
    let registry = Arc::new(Registry::default());
    let listener = Listener::bind(
        settings,
        Dispatcher::new(Handle::new(table)),
        Arc::new(ConnMetrics::new(catalog)),
        Arc::clone(&registry),
        Vec::new(),
    )
    .unwrap();
    let addr = listener.local_addr();
    runtime.spawn(listener.run());
    drop(_inside);
    (runtime, addr, running, registry)
}

#[test]
fn a_panic_is_the_end_of_its_request_alone() {
    let (_runtime, addr, _) = listen();
    let dial = || Peer::new(TcpStream::connect(addr).unwrap());
    let (mut peer, mut other) = (dial(), dial());
    other.request(1, "brittle", b"work");
    for topic in ["brittle", "o"] {
        for body in ["in place", "later", "here", "here, later"] {
            peer.request(1, topic, body.as_bytes());
            assert_eq!(
                peer.expect().error(),
                (1, ErrorCode::INTERNAL),
                "{topic} {body}"
            );
            peer.expect_alive(1);
        }
    }
    assert_eq!(other.expect().response(), (1, b"done".to_vec()));
    other.expect_alive(2);
}

/// Those that wait behind a request that breaks get their turn.
#[test]
fn the_order_goes_on_behind_a_panic() {
    let (_runtime, addr, _) = listen();
    let mut peer = Peer::new(TcpStream::connect(addr).unwrap());
    let bodies: [&[u8]; 10] = [
        b"work",
        b"in place",
        b"later",
        b"at once",
        b"later",
        b"work",
        b"here, later",
        b"hosted work",
        b"here",
        b"at once",
    ];
    for (seq, body) in (1..).zip(bodies) {
        peer.request(seq, "o", body);
    }
    let broke = ErrorCode::INTERNAL;
    assert_eq!(peer.expect().response(), (1, b"done".to_vec()));
    assert_eq!(peer.expect().error(), (2, broke));
    assert_eq!(peer.expect().error(), (3, broke));
    assert_eq!(peer.expect().response(), (4, b"at once".to_vec()));
    assert_eq!(peer.expect().error(), (5, broke));
    assert_eq!(peer.expect().response(), (6, b"done".to_vec()));
    assert_eq!(peer.expect().error(), (7, broke));
    assert_eq!(peer.expect().response(), (8, b"done".to_vec()));
    assert_eq!(peer.expect().error(), (9, broke));
    assert_eq!(peer.expect().response(), (10, b"at once".to_vec()));
}

/// CANCELLED and DEADLINE_EXCEEDED say that the work has stopped, so it has when they arrive.
#[test]
fn work_has_stopped_when_its_end_is_told() {
    let (_runtime, addr, running) = listen();
    let running = || running.load(Ordering::SeqCst);
    let mut peer = Peer::new(TcpStream::connect(addr).unwrap());
    for body in [&b"beside"[..], b"hosted"] {
        peer.request(1, "endless", body);
        peer.expect_alive(2);
        assert_eq!(running(), 1);
        peer.send(&cancel(1));
        assert_eq!(peer.expect().error(), (1, ErrorCode::CANCELLED));
        assert_eq!(running(), 0);
        let meta = timeout_ms(30);
        peer.send(&request(1, "endless", body, 0, meta.view()));
        assert_eq!(peer.expect().error(), (1, ErrorCode::DEADLINE_EXCEEDED));
        assert_eq!(running(), 0);
    }
}

/// Hosted work may wait for what it has begun elsewhere when it is cancelled, but not beyond its time, and not
/// when the server cannot wait.
#[test]
fn cancelled_work_that_goes_on_ends_in_its_time_or_with_the_server() {
    let (_runtime, addr, running, registry) = listen_and_order();
    let running = || running.load(Ordering::SeqCst);
    let mut peer = Peer::new(TcpStream::connect(addr).unwrap());
    let meta = timeout_ms(200);
    peer.send(&request(1, "endless", b"stays", 0, meta.view()));
    peer.send(&cancel(1));
    peer.expect_alive(2);
    assert_eq!(running(), 1);
    assert_eq!(peer.expect().error(), (1, ErrorCode::DEADLINE_EXCEEDED));
    assert_eq!(running(), 0);
    peer.request(1, "endless", b"stays");
    peer.send(&cancel(1));
    peer.expect_alive(2);
    registry.order_all(&Order::Cut);
    assert_eq!(peer.expect().error(), (1, ErrorCode::DEADLINE_EXCEEDED));
    assert_eq!(running(), 0);
}

#[test]
fn hosted_work_is_answered_before_a_connection_ends_in_order() {
    let (_runtime, addr, _, registry) = listen_and_order();
    let mut peer = Peer::new(TcpStream::connect(addr).unwrap());
    peer.request(1, "brittle", b"hosted work");
    peer.expect_alive(2);
    registry.order_all(&Order::Finish);
    assert!(matches!(peer.expect().frame(), Frame::GoAway(_)));
    assert_eq!(peer.expect().response(), (1, b"done".to_vec()));
    peer.expect_end(ErrorCode::CLOSING);
}

#[test]
fn work_stops_when_its_client_is_gone() {
    let (_runtime, addr, running) = listen();
    let running = || running.load(Ordering::SeqCst);
    let dial = || Peer::new(TcpStream::connect(addr).unwrap());
    let (mut broken, mut erring) = (dial(), dial());
    broken.request(1, "endless", b"hosted");
    broken.expect_alive(2);
    erring.request(1, "endless", b"");
    erring.expect_alive(2);
    assert_eq!(running(), 2);
    reset(broken);
    eventually("the work of a broken connection stops", || running() == 1);
    erring.send(b"nonsense");
    erring.expect_end(ErrorCode::UNSUPPORTED_VERSION);
    eventually("the work behind an error stops", || running() == 0);
}
