//! Small things that several modules need.

use crate::support::{Got, PATIENCE, Peer, Server, Start, scratch, write_routes};
use mcpd_proto::{Cancel, Frame, Heartbeat, Hello, Meta, MetaBuf, Request};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A server whose only routes are these lines of a document, each a flow mapping.
pub(crate) fn routed(start: Start, routes: &[&str]) -> Server {
    let dir = scratch();
    let list: String = routes
        .iter()
        .map(|route| format!("  - {{{route}}}\n"))
        .collect();
    let text = format!("apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 7\nroutes:\n{list}");
    // The file is read before the data port is bound.
    start.routes(&write_routes(&dir, &text)).spawn()
}

/// Gives the handler `slow` this latency.
pub(crate) fn slow(start: Start, latency: &str) -> Start {
    start
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", latency)
}

/// The wire form of a frame.
pub(crate) fn wire(frame: Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

/// A request in wire form.
pub(crate) fn request(seq: u16, topic: &str, body: &[u8], priority: u8, meta: Meta<'_>) -> Vec<u8> {
    let topic = topic.as_bytes();
    wire(Frame::Request(Request {
        seq,
        topic,
        body,
        priority,
        meta,
        ..Request::default()
    }))
}

/// A HELLO that says what `fill` puts in.
pub(crate) fn hello(fill: impl FnOnce(&mut MetaBuf)) -> Vec<u8> {
    let mut meta = MetaBuf::new();
    fill(&mut meta);
    wire(Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta: meta.view(),
    }))
}

pub(crate) fn heartbeat(seq: u16) -> Vec<u8> {
    wire(Frame::Heartbeat(Heartbeat {
        seq,
        ..Heartbeat::default()
    }))
}

pub(crate) fn cancel(seq: u16) -> Vec<u8> {
    let meta = Meta::EMPTY;
    wire(Frame::Cancel(Cancel { seq, meta }))
}

/// The metadata with only TIMEOUT_MS.
pub(crate) fn timeout_ms(ms: u32) -> MetaBuf {
    let mut meta = MetaBuf::new();
    meta.set_timeout_ms(ms);
    meta
}

/// A peer whose kernel takes few bytes that nobody reads.
pub(crate) fn narrow_peer(server: &Server) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(&server.data.into()).unwrap();
    Peer::new(socket.into())
}

/// Ends a connection as a crash of the peer's machine's kernel would tell: by RST.
pub(crate) fn reset(peer: Peer) {
    SockRef::from(&peer.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Connects and says nothing.
pub(crate) fn dial(data: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(data).expect("the data port accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything up to the end of the stream.
pub(crate) fn rest<S: Read + Write>(peer: &mut Peer<S>) -> Vec<Got> {
    std::iter::from_fn(|| peer.next()).collect()
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU time that the server has used so far.
pub(crate) fn cpu_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    // utime and stime, in hundredths of a second on Linux.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Bytes of memory that the server occupies.
pub(crate) fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// A PROXY v2 header for a client at this address.
pub(crate) fn proxied(source: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(source.octets());
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90]);
    header
}
