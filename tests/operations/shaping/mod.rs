//! Routes that lead to more than one handler, with handlers that note everything they get.

mod faults;
mod mirrors;
mod splits;

use crate::embedded::Embedded;
use crate::support::{PATIENCE, Peer};
use mcpd::handler::Handler;
use mcpd::message::{Answer, Body, Call, Outcome};
use mcpd::router::document::{Document, ParseOptions};
use mcpd_proto::{Frame, Hello, MetaBuf, Request};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A call as a handler saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    topic: String,
    body: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    content_type: Option<String>,
    priority: u8,
}

/// What a handler does with a call once it has noted it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// Answers with its name.
    Answers,
    /// The same, as work that is done elsewhere.
    AnswersLater,
    /// Never answers.
    Hangs,
    Panics,
}

/// Notes every call.
pub(crate) struct Noting {
    name: &'static str,
    does: Does,
    seen: Mutex<Vec<Seen>>,
    /// Calls that hang.
    hanging: Arc<AtomicUsize>,
}

/// A call that hangs until it is dropped.
struct Hanging(Arc<AtomicUsize>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Noting {
    fn new(name: &'static str, does: Does) -> Arc<Noting> {
        Arc::new(Noting {
            name,
            does,
            seen: Mutex::default(),
            hanging: Arc::default(),
        })
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    fn note(&self, call: &Call<'_>) {
        let headers = call.meta.headers();
        let headers = headers.map(|(key, value)| (key.to_owned(), value.to_vec()));
        self.seen.lock().unwrap().push(Seen {
            topic: call.topic.as_str().to_owned(),
            body: call.body.to_vec(),
            headers: headers.collect(),
            content_type: call.meta.content_type().map(str::to_owned),
            priority: call.priority,
        });
    }
}

impl Handler for Noting {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        self.note(call);
        let name = self.name.as_bytes();
        match self.does {
            Does::Answers => Outcome::Now(Answer::bytes(name)),
            Does::AnswersLater => Outcome::Later(Box::pin(async move {
                Answer::Response {
                    body: Body::Shared(name.into()),
                    content_type: None,
                }
            })),
            Does::Hangs => {
                self.hanging.fetch_add(1, Ordering::SeqCst);
                let hanging = Hanging(Arc::clone(&self.hanging));
                Outcome::Later(Box::pin(async move {
                    let _hanging = hanging;
                    std::future::pending().await
                }))
            }
            Does::Panics => panic!("a handler that panics on purpose"),
        }
    }
}

/// A server with one route, on `t/+`, that says this beside.
pub(crate) struct Shaped {
    server: Embedded,
    handlers: BTreeMap<&'static str, Arc<Noting>>,
}

pub(crate) fn document(keys: &str) -> Document {
    let text = format!(
        "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  - {{name: r, topic: t/+, {keys}}}\n"
    );
    let loaded = Document::parse(text.as_bytes(), &ParseOptions::default());
    loaded.expect("a valid document").document
}

impl Shaped {
    fn start(keys: &str, handlers: &[(&'static str, Does)]) -> Shaped {
        let named = handlers.iter();
        let handlers: BTreeMap<_, _> = named
            .map(|(name, does)| (*name, Noting::new(name, *does)))
            .collect();
        let given = handlers.iter();
        let given = given.map(|(name, handler)| (*name, Arc::clone(handler) as Arc<dyn Handler>));
        let server = Embedded::start(given.collect(), &document(keys));
        Shaped { server, handlers }
    }

    fn peer(&self) -> Peer {
        Peer::new(TcpStream::connect(self.server.addr).expect("it accepts"))
    }

    fn handler(&self, name: &str) -> &Noting {
        &self.handlers[name]
    }

    /// The value of a series on the metrics page; 0 if it is not there.
    fn metric(&self, series: &str) -> u64 {
        let mut page = String::new();
        self.server.catalog.render(&mut page);
        let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
        let found = lines.find(|(name, _)| *name == series);
        found.map_or(0, |(_, value)| value.parse().unwrap())
    }

    fn await_metric(&self, series: &str, wanted: u64) {
        eventually(series, || self.metric(series) == wanted);
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a request with metadata; `fill` says which.
fn send(peer: &mut Peer, seq: u16, topic: &str, fill: impl FnOnce(&mut MetaBuf)) {
    let mut meta = MetaBuf::new();
    fill(&mut meta);
    peer.frame(Frame::Request(Request {
        seq,
        topic: topic.as_bytes(),
        body: b"body",
        meta: meta.view(),
        ..Request::default()
    }));
}

/// Asks, and gives the answer's body as text.
fn ask(peer: &mut Peer, topic: &str, fill: impl FnOnce(&mut MetaBuf)) -> String {
    send(peer, 1, topic, fill);
    let (_, body) = peer.expect().response();
    String::from_utf8(body).unwrap()
}

/// Says who the client is.
fn hello(peer: &mut Peer, client_id: &str) {
    let mut meta = MetaBuf::new();
    meta.set_client_id(client_id).unwrap();
    let meta = meta.view();
    peer.frame(Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta,
    }));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
}

fn header(key: &'static str, value: &'static str) -> impl FnOnce(&mut MetaBuf) {
    move |meta| meta.add_header(key, value.as_bytes()).unwrap()
}

fn nothing(_: &mut MetaBuf) {}
