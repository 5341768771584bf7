//! Peers that vanish: their machine or the link to it is gone, so there is neither FIN nor RST, and the
//! server must find out by itself.
//!
//! Each test makes two network namespaces and a cable between them ([`crate::link`]), which takes
//! `ip` of iproute2 and the right to make namespaces (root, or CAP_NET_ADMIN and CAP_SYS_ADMIN).
//! **Where that is not given, nothing vanishes:** the test says so on standard error and checks the
//! nearest thing that needs no privilege, a peer on this host that falls silent (or, where only the
//! kernel can tell, resets) under the same limits.

use crate::link::Link;
use crate::support::{Peer, Server, Start, scratch};
use crate::tools::{eventually, heartbeat, hello, narrow_peer, request, reset, routed, slow};
use mcpd_proto::{ErrorCode, Frame, Meta};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const BIG: usize = 256 * 1024;

/// What a living client does all the time, until it is dropped.
struct Living {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Living {
    /// Does this again and again until it fails; it gives whether there was something to do.
    fn doing(mut what: impl FnMut() -> io::Result<bool> + Send + 'static) -> Living {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed)
                && let Ok(busy) = what()
            {
                count.fetch_add(u32::from(busy), Ordering::Relaxed);
            }
        });
        let thread = Some(thread);
        Living { stop, done, thread }
    }

    /// Sends heartbeats, ten a second.
    fn beating(peer: &Peer) -> Living {
        let mut stream = peer.stream.try_clone().unwrap();
        let beat = heartbeat(1);
        Living::doing(move || {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(&beat).map(|()| true)
        })
    }

    /// Reads, unhurriedly.
    fn reading(peer: &Peer) -> Living {
        let mut stream = peer.stream.try_clone().unwrap();
        let look_up = Some(Duration::from_millis(50));
        stream.set_read_timeout(look_up).unwrap();
        let mut piece = vec![0; 64 * 1024];
        Living::doing(move || {
            std::thread::sleep(Duration::from_millis(2));
            match stream.read(&mut piece) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                read => read.map(|_| true),
            }
        })
    }

    fn await_rounds(&self, rounds: u32) {
        eventually("the peer is alive", || {
            self.done.load(Ordering::Relaxed) >= rounds
        });
    }

    fn stop(self) {}
}

impl Drop for Living {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn closed(server: &Server, reason: &str) -> f64 {
    let series = format!(r#"mcpd_connections_closed_total{{reason="{reason}"}}"#);
    server.metric(&series)
}

/// A server with answers that are big, and others that take longer than any test.
fn big_and_late(link: &Link, start: Start) -> Server {
    let dir = scratch();
    let file = dir.path().join("big");
    std::fs::write(&file, vec![b'b'; BIG]).unwrap();
    let start = slow(link.listen(start), "25s")
        .set("HANDLERS__BIG__TYPE", "static")
        .set("HANDLERS__BIG__BODY_FILE", file.to_str().unwrap());
    let routes = [
        "topic: echo, handler: echo",
        "topic: big, handler: big",
        "topic: late, handler: slow",
    ];
    routed(start, &routes)
}

/// Asks for big answers, with these numbers.
fn ask_for_big(peer: &mut Peer, seqs: std::ops::RangeInclusive<u16>) {
    let all: Vec<u8> = seqs
        .flat_map(|seq| request(seq, "big", b"", 0, Meta::EMPTY))
        .collect();
    peer.send(&all);
}

#[test]
fn an_idle_peer_whose_link_goes_down_is_given_up_and_its_place_is_free() {
    let link = Link::new();
    let start = link
        .listen(Start::new())
        .set("HEARTBEAT__INTERVAL", "1s")
        .set("LIMITS__CLOSE_LINGER", "100ms")
        .set("DATA__MAX_CONNECTIONS", "1");
    let server = start.spawn();
    let mut peer = link.on_peers_side(|| server.peer());
    peer.send(&hello(|meta| meta.set_heartbeat(Duration::from_secs(1))));
    let living = Living::beating(&peer);
    let beats = r#"mcpd_frames_total{direction="in",type="heartbeat"}"#;
    server.await_metric(beats, |n| n > 3.0);
    server.peer().expect_end(ErrorCode::TOO_MANY_CONNECTIONS);

    link.cut(&server);
    if !link.can_break() {
        living.stop();
    }
    server.await_metric("mcpd_connections", |open| open == 0.0);
    assert_eq!(closed(&server, "HEARTBEAT_TIMEOUT"), 1.0);
    server.peer().expect_alive(1);
}

/// The write timeout tells, as the kernel's buffer is full.
#[test]
fn a_peer_that_vanishes_while_answers_are_queued_is_a_slow_consumer() {
    let link = Link::new();
    let start = Start::new()
        .set("LIMITS__WRITE_TIMEOUT", "1s")
        .set("LIMITS__CLOSE_LINGER", "100ms");
    let server = big_and_late(&link, start);
    let mut peer = link.on_peers_side(|| narrow_peer(&server));
    peer.request(1, "late", b"");
    ask_for_big(&mut peer, 2..=1000);
    let living = Living::reading(&peer);
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    living.await_rounds(100);
    assert!(server.metric("mcpd_requests_in_flight") >= 1.0);

    link.cut(&server);
    if !link.can_break() {
        living.stop();
    }
    server.await_metric("mcpd_connections", |open| open == 0.0);
    assert_eq!(closed(&server, "SLOW_CONSUMER"), 1.0);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
    server.peer().expect_alive(1);
}

/// TCP_USER_TIMEOUT tells: what was sent fits into the kernel's buffer and is never acknowledged.
#[test]
fn a_peer_whose_machine_is_gone_is_found_out_by_the_kernel() {
    let link = Link::new();
    let start = Start::new()
        .set("HEARTBEAT__INTERVAL", "1s")
        .set("DATA__USER_TIMEOUT", "1s")
        .set("LIMITS__WRITE_TIMEOUT", "300ms")
        .set("LIMITS__CLOSE_LINGER", "100ms");
    let server = big_and_late(&link, start);
    let mut peer = link.on_peers_side(|| server.peer());
    peer.expect_alive(1);
    for seq in 2..=9 {
        peer.request(seq, "late", b"");
    }
    server.await_metric("mcpd_requests_in_flight", |n| n == 8.0);

    // What goes unacknowledged is the server's next heartbeat.
    link.lose_machine();
    let _there_still = match link.can_break() {
        true => Some(peer),
        false => {
            reset(peer);
            None
        }
    };
    server.await_metric("mcpd_connections", |open| open == 0.0);
    assert_eq!(closed(&server, "RESET"), 1.0);
    server.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
    server.peer().expect_alive(1);
}

/// What TCP can mend within the limits is nobody's fault.
#[test]
fn a_link_that_comes_back_in_time_costs_nothing() {
    let link = Link::new();
    let start = Start::new()
        .set("HEARTBEAT__INTERVAL", "2s")
        .set("LIMITS__WRITE_TIMEOUT", "5s");
    let server = big_and_late(&link, start);
    let mut peer = link.on_peers_side(|| narrow_peer(&server));
    peer.send(&hello(|meta| meta.set_heartbeat(Duration::from_secs(2))));
    ask_for_big(&mut peer, 1..=60);
    server.await_metric("mcpd_backpressure_total", |n| n > 0.0);
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    for seq in 1..=10 {
        assert_eq!(peer.expect().response(), (seq, vec![b'b'; BIG]));
    }

    link.cut(&server);
    peer.request(61, "echo", b"asked meanwhile");
    // How long the link is down is what this test is about.
    std::thread::sleep(Duration::from_millis(1500));
    link.mend();
    let mut answers = std::iter::from_fn(|| peer.next()).filter(|got| got.is_response());
    for seq in 11..=60 {
        assert_eq!(answers.next().unwrap().response(), (seq, vec![b'b'; BIG]));
    }
    let last = answers.next().unwrap().response();
    assert_eq!(last, (61, b"asked meanwhile".to_vec()));
    assert_eq!(server.metric("mcpd_connections"), 1.0);
}

/// "Unreachable", says the network; but it says so of the moment. The connection is one that is not
/// read, as its client has said everything.
#[test]
fn who_is_unreachable_for_a_moment_is_not_given_up() {
    let link = Link::new();
    let start = slow(link.listen(Start::new()), "3s")
        .set("HANDLERS__SOON__TYPE", "delay")
        .set("HANDLERS__SOON__LATENCY", "500ms");
    let routes = ["topic: soon, handler: soon", "topic: late, handler: slow"];
    let server = routed(start, &routes);
    let mut peer = link.on_peers_side(|| server.peer());
    peer.request(1, "soon", b"first");
    peer.request(2, "late", b"second");
    peer.half_close();
    server.await_metric("mcpd_requests_in_flight", |n| n == 2.0);

    link.cut(&server);
    server.await_metric("mcpd_requests_in_flight", |n| n < 2.0);
    // The first answer is on its way to nowhere; the server gets to hear of it and to look.
    std::thread::sleep(Duration::from_millis(1500));
    link.mend();
    assert_eq!(peer.expect().response(), (1, b"first".to_vec()));
    assert_eq!(peer.expect().response(), (2, b"second".to_vec()));
    assert_eq!(peer.next(), None);
    assert_eq!(closed(&server, "EOF"), 1.0);
}
