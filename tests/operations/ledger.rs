//! What ran and what did not: a handler that keeps a ledger against what clients were told.
//!
//! After CLOSING a client may send every unanswered request again, elsewhere. So none of them may
//! have run, and every one that ran is answered.

use crate::embedded::{Embedded, document};
use crate::support::Peer;
use mcpd::conn::Order;
use mcpd::handler::Handler;
use mcpd::message::{Answer, Body, Call, Outcome};
use mcpd_proto::{ErrorCode, Frame, GoAwayReason, Request};
use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Notes the body of every call, and answers with it at once or a little later.
#[derive(Default)]
struct Ledger {
    ran: Mutex<HashSet<Vec<u8>>>,
    calls: AtomicU64,
    /// How long every second call takes.
    later: Duration,
}

impl Handler for Ledger {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let first = self.ran.lock().unwrap().insert(call.body.to_vec());
        assert!(first, "no request runs twice");
        let earlier = self.calls.fetch_add(1, Ordering::Relaxed);
        if earlier.is_multiple_of(2) {
            return Outcome::Now(Answer::bytes(call.body));
        }
        let (body, later) = (call.body.to_vec(), self.later);
        Outcome::Later(Box::pin(async move {
            tokio::time::sleep(later).await;
            Answer::Response {
                body: Body::Shared(body.into()),
                content_type: None,
            }
        }))
    }
}

/// How a client sends.
#[derive(Clone, Copy)]
enum Loop {
    /// So many at a time, each answer makes room for the next request.
    Closed(u16),
    /// As fast as the server reads, whatever is answered.
    Open,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    sent: HashSet<Vec<u8>>,
    answered: HashSet<Vec<u8>>,
    refused: HashSet<Vec<u8>>,
    cut: HashSet<Vec<u8>>,
    goaways: u32,
    closed_in_order: bool,
}

impl Seen {
    fn unanswered(&self) -> impl Iterator<Item = &Vec<u8>> {
        let told = |body: &&Vec<u8>| {
            [&self.answered, &self.refused, &self.cut]
                .iter()
                .any(|set| set.contains(*body))
        };
        self.sent.iter().filter(move |body| !told(body))
    }
}

/// The body of a client's request number `n`.
fn body(client: u64, n: u64) -> Vec<u8> {
    [client.to_be_bytes(), n.to_be_bytes()].concat()
}

/// Sends numbered requests, until CLOSING and the end of the stream.
struct Client {
    id: u64,
    peer: Peer,
    /// The number of the request that each `seq_id` stands for.
    pending: Vec<Option<u64>>,
    free: Vec<u16>,
    next: u64,
    seen: Seen,
}

impl Client {
    fn run(addr: std::net::SocketAddr, id: u64, how: Loop) -> Seen {
        let peer = Peer::new(TcpStream::connect(addr).unwrap());
        let slots = match how {
            Loop::Closed(slots) => slots,
            // Beyond what a connection may have in flight; TOO_MANY_IN_FLIGHT is a refusal, too.
            Loop::Open => 4000,
        };
        let mut client = Client {
            id,
            peer,
            pending: vec![None; usize::from(slots) + 1],
            free: (1..=slots).collect(),
            next: 0,
            seen: Seen::default(),
        };
        while client.send() {
            if !client.receive() {
                break;
            }
        }
        while client.receive() {}
        client.seen
    }

    /// Uses every free slot in one write. Gives whether the server still reads.
    fn send(&mut self) -> bool {
        let mut wire = Vec::new();
        for seq in std::mem::take(&mut self.free) {
            let body = body(self.id, self.next);
            let request = Request {
                seq,
                topic: b"t",
                body: &body,
                ..Request::default()
            };
            Frame::Request(request).encode(&mut wire);
            self.pending[usize::from(seq)] = Some(self.next);
            self.seen.sent.insert(body);
            self.next += 1;
        }
        self.peer.stream.write_all(&wire).is_ok()
    }

    /// Takes one frame. Gives whether there may be more.
    fn receive(&mut self) -> bool {
        let Some(got) = self.peer.next() else {
            return false;
        };
        assert!(!self.seen.closed_in_order, "{got:?} after CLOSING");
        match got.frame() {
            Frame::Response(answer) => {
                let expected = self.release(answer.seq);
                assert_eq!(answer.body, expected);
                self.seen.answered.insert(expected);
            }
            Frame::GoAway(_) => self.seen.goaways += 1,
            Frame::Error(error) if error.seq == 0 => {
                assert_eq!(error.code, ErrorCode::CLOSING);
                self.seen.closed_in_order = true;
            }
            Frame::Error(error) => {
                let body = self.release(error.seq);
                match error.code {
                    ErrorCode::DRAINING | ErrorCode::TOO_MANY_IN_FLIGHT => {
                        self.seen.refused.insert(body)
                    }
                    ErrorCode::DEADLINE_EXCEEDED => self.seen.cut.insert(body),
                    code => panic!("{code:?}"),
                };
            }
            other => panic!("{other:?}"),
        }
        true
    }

    fn release(&mut self, seq: u16) -> Vec<u8> {
        let n = self.pending[usize::from(seq)].take();
        self.free.push(seq);
        body(self.id, n.expect("answered once"))
    }
}

/// Drains clients under load, once so many calls have begun; gives what ran and what each saw.
fn drain(later: Duration, calls: u64, orders: &[Order]) -> (HashSet<Vec<u8>>, Vec<Seen>) {
    let ledger = Arc::new(Ledger {
        later,
        ..Ledger::default()
    });
    let handlers: Vec<(&str, Arc<dyn Handler>)> = vec![("ledger", Arc::clone(&ledger) as _)];
    let server = Embedded::start(handlers, &document(&[("t", "ledger")]));
    let kinds = [
        Loop::Closed(1),
        Loop::Closed(16),
        Loop::Closed(256),
        Loop::Open,
        Loop::Open,
    ];
    let seen = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..)
            .zip(kinds)
            .map(|(id, how)| {
                let addr = server.addr;
                scope.spawn(move || Client::run(addr, id, how))
            })
            .collect();
        while ledger.calls.load(Ordering::Relaxed) < calls || server.registry.len() < kinds.len() {
            std::thread::yield_now();
        }
        for order in orders {
            server.registry.order_all(order);
            std::thread::sleep(Duration::from_millis(5));
        }
        let seen = clients.into_iter().map(|c| c.join().unwrap());
        seen.collect::<Vec<_>>()
    });
    server.runtime.block_on(server.registry.empty());
    let ran = ledger.ran.lock().unwrap().clone();
    (ran, seen)
}

fn check(ran: &HashSet<Vec<u8>>, seen: &[Seen]) {
    for (client, seen) in seen.iter().enumerate() {
        assert!(seen.closed_in_order, "client {client} has no CLOSING");
        assert_eq!(seen.goaways, 1, "client {client}");
        assert!(seen.answered.is_subset(ran));
        let run_and_refused = seen.refused.intersection(ran).count();
        assert_eq!(run_and_refused, 0, "client {client}: refused, and run");
        let run_and_silent = seen.unanswered().filter(|body| ran.contains(*body)).count();
        assert_eq!(run_and_silent, 0, "client {client}: unanswered, and run");
    }
    let told: usize = seen.iter().map(|s| s.answered.len() + s.cut.len()).sum();
    assert_eq!(told, ran.len(), "everything that ran is answered");
}

#[test]
fn what_is_unanswered_at_closing_has_not_run() {
    let go_away = Order::GoAway {
        reason: GoAwayReason::Draining,
        retry_after: Duration::from_millis(7),
        refuse_at: Instant::now() + Duration::from_secs(3600),
    };
    let (ran, seen) = drain(Duration::from_millis(3), 5000, &[go_away, Order::Finish]);
    check(&ran, &seen);
    assert!(seen.iter().all(|seen| seen.cut.is_empty()));
}

#[test]
fn what_is_cut_is_answered_before_closing_and_never_as_not_executed() {
    let (ran, seen) = drain(
        Duration::from_secs(3600),
        1000,
        &[Order::Finish, Order::Cut],
    );
    check(&ran, &seen);
    for seen in &seen {
        assert!(seen.cut.iter().all(|body| ran.contains(body)));
    }
    assert!(seen.iter().any(|seen| !seen.cut.is_empty()));
}
