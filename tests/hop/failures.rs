//! What may be concluded when the next server is gone, stalls or breaks off. A ledger at the far end
//! shows what got there.

use crate::front::{Does, Front, code, far, says};
use crate::support::{Start, scratch, write_routes};
use mcpd::message::{Call, Outcome};
use mcpd_client::{Bytes, ErrorCode, Request};
use std::future::poll_fn;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

const SHORT: Duration = Duration::from_millis(300);

const SLOW: &str = "{apiVersion: mcpd/v1, kind: RouteTable, routes: [
    {topic: slow, handler: slow}, {topic: echo, handler: echo}]}";

/// A server with a handler that takes its time, and one that does not.
fn slow(dir: &tempfile::TempDir) -> Start {
    let start = Start::new().routes(&write_routes(dir, SLOW));
    start
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "60s")
}

#[test]
fn a_server_that_is_not_there_executes_nothing() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let front = Front::new(&[nobody], |settings| settings);
    for _ in 0..20 {
        assert_eq!(code(front.ask("a", "")), ErrorCode::UPSTREAM_UNAVAILABLE);
    }
}

#[test]
fn what_was_sent_to_a_server_that_is_killed_is_lost_and_its_successor_is_found() {
    let dir = scratch();
    let next = slow(&dir).spawn();
    let (addr, sidecar) = (next.data, next.sidecar);
    let front = Front::new(&[addr], |mut settings| {
        settings.care().breaker.consecutive = 0;
        settings
    });
    assert_eq!(front.ask("echo", "1").unwrap().body(), "1");
    let asking = front.server.runtime.spawn(front.request("slow").send());
    next.await_metric("mcpd_requests_in_flight", |n| n > 0.0);
    next.signal("KILL");
    assert_eq!(code(front.run(asking).unwrap()), ErrorCode::UPSTREAM_LOST);
    drop(next);
    assert_eq!(
        code(front.ask("echo", "2")),
        ErrorCode::UPSTREAM_UNAVAILABLE
    );

    let _next = slow(&dir).listen(addr).sidecar(sidecar).spawn();
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while let Err(error) = front.ask("echo", "3") {
        assert_eq!(code(Err(error)), ErrorCode::UPSTREAM_UNAVAILABLE);
        assert!(std::time::Instant::now() < deadline, "it is never found");
    }
}

#[test]
fn a_server_that_stalls_costs_the_time_of_a_request_and_no_more() {
    let dir = scratch();
    let next = slow(&dir).spawn();
    let front = Front::new(&[next.data], |settings| settings);
    assert_eq!(front.ask("echo", "1").unwrap().body(), "1");
    next.signal("STOP");
    let late = front.run(front.client.request("echo").timeout(SHORT).send());
    next.signal("CONT");
    assert_eq!(code(late), ErrorCode::DEADLINE_EXCEEDED);
    assert_eq!(front.ask("echo", "2").unwrap().body(), "2");
}

#[test]
fn a_cancel_reaches_the_next_server() {
    let stopped = Arc::new(Notify::new());
    let tell = Arc::clone(&stopped);
    let (began, begun) = mpsc::channel();
    let began = Mutex::new(began);
    let far = far(Arc::new(Does(move |_: &Call<'_>| {
        let tells = Tells(Arc::clone(&tell));
        let began = began.lock().unwrap().clone();
        Outcome::Later(Box::pin(async move {
            let _tells = tells;
            began.send(()).unwrap();
            std::future::pending().await
        }))
    })));
    let front = Front::new(&[far.addr], |settings| settings);
    let asking = front.server.runtime.spawn(front.request("long").send());
    begun.recv_timeout(crate::PATIENCE).unwrap();
    asking.abort();
    let stops = async { tokio::time::timeout(crate::PATIENCE, stopped.notified()).await };
    front.run(stops).expect("the work stops");
}

/// CANCELLED says that the work has stopped, and here that is the far end's.
#[test]
fn a_cancelled_request_is_answered_when_the_far_work_has_stopped() {
    let (stopped, lingers) = (Arc::<AtomicBool>::default(), Duration::from_millis(100));
    let (began, begun) = mpsc::channel();
    let (tell, began) = (Arc::clone(&stopped), Mutex::new(began));
    let far = far(Arc::new(Does(move |call: &Call<'_>| {
        if call.body != b"long" {
            return Outcome::Now(says("short"));
        }
        let stops = Stops(Arc::clone(&tell), lingers);
        let began = began.lock().unwrap().clone();
        Outcome::Later(Box::pin(async move {
            let _stops = stops;
            began.send(()).unwrap();
            std::future::pending().await
        }))
    })));
    // One that may be executed twice, and yet is not asked for again.
    let front = Front::new(&[far.addr], |mut settings| {
        settings.care().idempotent = true;
        settings
    });
    assert_eq!(front.ask("a", "short").unwrap().body(), "short");
    let request = Request::new("long").body("long");
    let now = std::time::Instant::now();
    let until = now + crate::PATIENCE;
    let answer = front.run(async {
        let sending =
            poll_fn(|cx| Poll::Ready(front.client.clone().try_send(&request, now, until, cx)))
                .await;
        let mut sending = sending.expect("there is room").unwrap();
        let begins = tokio::task::spawn_blocking(move || {
            begun.recv_timeout(crate::PATIENCE).unwrap();
            begun
        });
        let begun = begins.await.unwrap();
        sending.cancel();
        (sending.await, begun.try_recv().is_ok())
    });
    assert!(stopped.load(Ordering::SeqCst), "it was answered too early");
    assert_eq!((code(answer.0), answer.1), (ErrorCode::CANCELLED, false));
}

/// Takes its time to be dropped, and tells.
struct Stops(Arc<AtomicBool>, Duration);

impl Drop for Stops {
    fn drop(&mut self) {
        std::thread::sleep(self.1);
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Tells when it is dropped.
struct Tells(Arc<Notify>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A server that answers HELLO, reads a request, and then does `end`.
fn breaks_off(end: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    use mcpd_proto::{Frame, Hello, Side};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Little lies in the socket of one that does not read.
    let socket = socket2::SockRef::from(&listener);
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        let mut greeted = false;
        loop {
            match Frame::decode_one(&read, Side::Server, u32::MAX) {
                Ok((Frame::Hello(_), len)) => {
                    read.drain(..len);
                    let mut wire = Vec::new();
                    let hello = Hello {
                        reply: true,
                        ..Hello::default()
                    };
                    Frame::Hello(hello).encode(&mut wire);
                    std::io::Write::write_all(&mut stream, &wire).unwrap();
                    greeted = true;
                }
                Ok((Frame::Request(_), _)) if greeted => return end(stream),
                Ok((_, len)) => drop(read.drain(..len)),
                Err(_) => match stream.read(&mut buffer).unwrap() {
                    0 => return,
                    n => read.extend_from_slice(&buffer[..n]),
                },
            }
        }
    });
    addr
}

/// The same with one connection, so that it is the one that breaks off.
fn front_of(addr: SocketAddr) -> Front {
    Front::new(&[addr], |settings| settings.connections(1))
}

#[test]
fn a_reset_or_an_end_without_a_word_leaves_a_request_unknown() {
    let reset = breaks_off(|stream| {
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    assert_eq!(code(front_of(reset).ask("a", "")), ErrorCode::UPSTREAM_LOST);
    let ended = breaks_off(|stream| stream.shutdown(std::net::Shutdown::Write).unwrap());
    assert_eq!(code(front_of(ended).ask("a", "")), ErrorCode::UPSTREAM_LOST);
    let garbage = breaks_off(|mut stream| {
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert_eq!(
        code(front_of(garbage).ask("a", "")),
        ErrorCode::UPSTREAM_LOST
    );
}

/// A link that is not read fills up. What is on it may have been executed; what found no room was not, and is
/// told so when its time is over.
#[test]
fn what_finds_no_room_on_a_link_that_is_not_read_was_not_executed() {
    let (done, wait) = mpsc::channel::<()>();
    let deaf = breaks_off(move |_stream| wait.recv().unwrap_or_default());
    let front = front_of(deaf);
    let body = Bytes::from(vec![7; 32 * 1024]);
    let ask = || {
        let request = front.client.request("a").body(body.clone());
        front
            .server
            .runtime
            .spawn(request.timeout(2 * SHORT).send())
    };
    let asking: Vec<_> = (0..200).map(|_| ask()).collect();
    let mut codes = std::collections::BTreeMap::new();
    for asked in asking {
        let code = code(front.run(asked).unwrap());
        *codes.entry(code.to_string()).or_insert(0) += 1;
    }
    let of = |code: ErrorCode| codes.get(&code.to_string()).copied().unwrap_or(0);
    let (unknown, not) = (of(ErrorCode::DEADLINE_EXCEEDED), of(ErrorCode::EXPIRED));
    assert!(unknown > 0 && not > 0 && unknown + not == 200, "{codes:?}");
    drop(done);
}

#[test]
fn what_was_not_answered_before_closing_was_not_executed() {
    let closing = breaks_off(|mut stream| {
        let mut wire = Vec::new();
        let frame = mcpd_proto::ErrorFrame {
            seq: 0,
            priority: 0,
            code: ErrorCode::CLOSING,
            detail: b"bye",
            meta: mcpd_proto::Meta::EMPTY,
        };
        frame.encode(&mut wire);
        std::io::Write::write_all(&mut stream, &wire).unwrap();
    });
    assert_eq!(
        code(front_of(closing).ask("a", "")),
        ErrorCode::UPSTREAM_UNAVAILABLE
    );
}

#[test]
fn a_server_that_lets_nobody_in_is_unavailable() {
    let dir = scratch();
    let text = "{apiVersion: mcpd/v1, kind: Principals, principals: []}";
    let principals = dir.path().join("principals.yaml");
    std::fs::write(&principals, text).unwrap();
    let next = Start::new()
        .set("AUTH__PRINCIPALS", principals.to_str().unwrap())
        .spawn();
    let front = Front::new(&[next.data], |settings| settings);
    assert_eq!(code(front.ask("echo", "")), ErrorCode::UPSTREAM_UNAVAILABLE);
}

#[test]
fn what_is_too_large_for_the_next_server_never_leaves() {
    let next = Start::new().set("LIMITS__MAX_PAYLOAD", "1MiB").spawn();
    let longer = format!("{}/{{topic}}", "x".repeat(200));
    let front = Front::new(&[next.data], |settings| settings.topic(&longer).unwrap());
    let large = front.ask("echo", &"x".repeat(1024 * 1024 - 100));
    assert_eq!(code(large), ErrorCode::INVALID_REQUEST);
    assert_eq!(
        code(front.ask("echo", "small")),
        ErrorCode::NO_ROUTE,
        "the link is as good as ever"
    );
}

#[test]
fn another_server_is_asked_when_one_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let there = far(Arc::new(Does(|_: &Call<'_>| Outcome::Now(says("here")))));
    let front = Front::new(&[nobody, there.addr], |settings| settings);
    for _ in 0..50 {
        assert_eq!(front.ask("a", "").unwrap().body(), "here");
    }
}
