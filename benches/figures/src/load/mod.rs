//! The load: a closed loop over a few connections, each with a fixed number of requests under way.
//!
//! Every answer is checked. One thread, level-triggered epoll and blocking sockets: the cheapest
//! way to keep eight connections busy, so that the load does not set the pace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

mod http;
pub(crate) mod mcp;
pub(crate) mod nats;
pub(crate) mod open;
mod redis;
pub(crate) mod transport;

use transport::Transport;

/// Bytes of a request's body: the small message all figures are about.
const BODY: usize = 64;
/// Room for answers of one read.
const INPUT: usize = 64 * 1024;
/// A server that has not answered for this long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Mcp,
    Nats,
    Redis,
    Http,
}

/// One connection's requests: encodes them and checks their answers.
#[derive(Debug)]
pub(crate) enum Wire {
    Mcp(mcp::Mcp),
    Nats(nats::Nats),
    Redis(redis::Redis),
    Http(http::Http),
}

/// What was found in the bytes received.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) used: usize,
    pub(crate) answers: u64,
}

impl Wire {
    pub(crate) fn new(protocol: Protocol, depth: u16) -> Self {
        match protocol {
            Protocol::Mcp => Wire::Mcp(mcp::Mcp::new(depth)),
            Protocol::Nats => Wire::Nats(nats::Nats::new(depth)),
            Protocol::Redis => Wire::Redis(redis::Redis::new(depth)),
            Protocol::Http => Wire::Http(http::Http::new(depth)),
        }
    }

    pub(crate) fn request(&mut self, out: &mut Vec<u8>) {
        match self {
            Wire::Mcp(wire) => wire.request(out),
            Wire::Nats(wire) => wire.request(out),
            Wire::Redis(wire) => wire.request(out),
            Wire::Http(wire) => wire.request(out),
        }
    }

    /// Checks the whole answers in `input`; what the protocol itself has to say goes to `out`.
    pub(crate) fn answers(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress> {
        match self {
            Wire::Mcp(wire) => wire.answers(input, out),
            Wire::Nats(wire) => wire.answers(input, out),
            Wire::Redis(wire) => wire.answers(input),
            Wire::Http(wire) => wire.answers(input),
        }
    }
}

/// Bodies that differ in their first 8 bytes, so that a mixed-up answer shows.
#[derive(Debug)]
struct Body {
    last: u64,
    bytes: [u8; BODY],
}

impl Body {
    fn new() -> Self {
        let mut bytes = [0; BODY];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = b'!' + at as u8;
        }
        Body { last: 0, bytes }
    }

    fn next(&mut self) -> (u64, &[u8; BODY]) {
        self.last += 1;
        self.bytes[..8].copy_from_slice(&self.last.to_le_bytes());
        (self.last, &self.bytes)
    }

    fn matches(&self, number: u64, body: &[u8]) -> bool {
        body.split_first_chunk::<8>().is_some_and(|(head, tail)| {
            u64::from_le_bytes(*head) == number && tail == &self.bytes[8..]
        })
    }
}

/// What one run of the load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
}

struct Connection {
    stream: Transport,
    wire: Wire,
    input: Box<[u8]>,
    held: usize,
}

/// Connections to one server, kept over warm-up and measurement.
pub(crate) struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    depth: u16,
    output: Vec<u8>,
}

impl Load {
    /// Connects `connections` times; `depth` requests will be under way on each.
    pub(crate) fn connect(
        protocol: Protocol,
        addr: SocketAddr,
        connections: u16,
        depth: u16,
    ) -> Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(addr).context("cannot connect")?;
            prepare(&stream)?;
            Ok(Transport::Plain(stream))
        };
        let streams = (0..connections).map(connect).collect::<Result<Vec<_>>>()?;
        Load::over(protocol, streams, depth)
    }

    /// The same over connections that are there.
    pub(crate) fn over(protocol: Protocol, streams: Vec<Transport>, depth: u16) -> Result<Self> {
        ensure!(depth > 0, "a closed loop needs a request under way");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut load = Load {
            epoll,
            connections: Vec::new(),
            depth,
            output: Vec::new(),
        };
        for (index, stream) in (0..).zip(streams) {
            let data = epoll::EventData::new_u64(index);
            epoll::add(&load.epoll, stream.socket(), data, epoll::EventFlags::IN)?;
            load.connections.push(Connection {
                stream,
                wire: Wire::new(protocol, depth),
                input: vec![0; INPUT].into_boxed_slice(),
                held: 0,
            });
        }
        Ok(load)
    }

    /// Keeps every connection full for `duration`, then waits for what is under way.
    pub(crate) fn run(&mut self, duration: Duration) -> Result<Outcome> {
        let start = Instant::now();
        let mut outcome = Outcome {
            requests: 0,
            elapsed: Duration::ZERO,
        };
        let mut under_way = 0;
        for connection in &mut self.connections {
            self.output.clear();
            for _ in 0..self.depth {
                connection.wire.request(&mut self.output);
            }
            connection.stream.write_all(&self.output)?;
            under_way += u64::from(self.depth);
        }

        let patience = Timespec::try_from(PATIENCE)?;
        let mut events = Vec::with_capacity(self.connections.len());
        let mut refill = true;
        while under_way > 0 {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
                Err(rustix::io::Errno::INTR) => continue,
                result => ensure!(result? > 0, "no answer for {PATIENCE:?}"),
            }
            refill = refill && start.elapsed() < duration;
            for event in events.drain(..) {
                let connection = &mut self.connections[event.data.u64() as usize];
                let answers = connection.turn(&mut self.output, refill)?;
                outcome.requests += answers;
                if !refill {
                    under_way -= answers;
                }
            }
        }
        outcome.elapsed = start.elapsed();
        Ok(outcome)
    }
}

impl Connection {
    /// One read; with `refill` every answer is followed by a new request, all in one write.
    fn turn(&mut self, output: &mut Vec<u8>, refill: bool) -> Result<u64> {
        let read = self.stream.read(&mut self.input[self.held..])?;
        ensure!(read > 0, "the server closed a connection");
        let filled = self.held + read;
        output.clear();
        let progress = self.wire.answers(&self.input[..filled], output)?;
        self.input.copy_within(progress.used..filled, 0);
        self.held = filled - progress.used;
        ensure!(self.held < INPUT, "an answer longer than {INPUT} bytes");
        if refill {
            for _ in 0..progress.answers {
                self.wire.request(output);
            }
        }
        if !output.is_empty() {
            self.stream.write_all(output)?;
        }
        Ok(progress.answers)
    }
}

/// Sends one request and waits for its answer.
pub(crate) fn echo_once(protocol: Protocol, mut stream: impl Read + Write) -> Result<()> {
    let mut wire = Wire::new(protocol, 1);
    let mut output = Vec::new();
    wire.request(&mut output);
    stream.write_all(&output)?;
    let mut input = [0; 1024];
    let mut held = 0;
    loop {
        let read = stream.read(&mut input[held..])?;
        ensure!(read > 0, "the server closed the connection");
        held += read;
        output.clear();
        let progress = wire.answers(&input[..held], &mut output)?;
        stream.write_all(&output)?;
        if progress.answers > 0 {
            return Ok(());
        }
        input.copy_within(progress.used..held, 0);
        held -= progress.used;
    }
}

/// Sets what every connection of the load wants: no delay, and no wait without end.
pub(crate) fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}
