//! The other load: requests come at their own times whatever the server does, as from many clients
//! that know nothing of each other.
//!
//! Arrivals are a Poisson process; a latency counts from when a request was due, so that a sender
//! which falls behind flatters nobody.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::mcp::{HEADER, REQUEST, RESPONSE};
use super::{INPUT, PATIENCE, prepare};

/// Priorities of the protocol.
pub(crate) const PRIORITIES: usize = 8;
const CONNECTIONS: usize = 8;
const OVERLOADED: [u8; 2] = [0x02, 0x01];
const META: u8 = 1 << 3;

/// What became of the requests of one priority.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lane {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) overloaded: u64,
    /// Any other ERROR.
    pub(crate) failed: u64,
    /// Of those answered, in microseconds from when they were due.
    pub(crate) latencies_us: Vec<u32>,
}

/// How many requests come, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) per_second: f64,
    /// Share of the requests with the highest priority; the rest is spread evenly over the others.
    pub(crate) urgent: f64,
    pub(crate) duration: Duration,
}

struct Connection {
    stream: TcpStream,
    /// When the request of each `seq_id` was due, and its priority.
    due: Vec<Option<(Instant, u8)>>,
    /// How many of these there are.
    under_way: usize,
    next_seq: u16,
    input: Box<[u8]>,
    held: usize,
    output: Vec<u8>,
}

/// Sends requests for `topic` at this pace, waits for the last answers, and says what became of them.
pub(crate) fn run(addr: SocketAddr, topic: &str, pace: Pace) -> Result<[Lane; PRIORITIES]> {
    let mut connections = (0..CONNECTIONS)
        .map(|_| Connection::open(addr))
        .collect::<Result<Vec<_>>>()?;
    let mut lanes: [Lane; PRIORITIES] = Default::default();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    let end = start + pace.duration;
    let mut next = start;
    let mut turn = 0;
    loop {
        let now = Instant::now();
        while next <= now && next < end {
            let priority = random.priority(pace.urgent);
            connections[turn % CONNECTIONS].send(topic, priority, next)?;
            lanes[usize::from(priority)].sent += 1;
            turn += 1;
            next += Duration::from_secs_f64(random.gap() / pace.per_second);
        }
        for connection in &mut connections {
            connection.turn(now, &mut lanes)?;
        }
        let open: usize = connections.iter().map(|one| one.under_way).sum();
        if now >= end && open == 0 {
            return Ok(lanes);
        }
        ensure!(now < end + PATIENCE, "{open} requests were never answered");
    }
}

impl Connection {
    fn open(addr: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(addr).context("cannot connect")?;
        prepare(&stream)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            due: vec![None; usize::from(u16::MAX) + 1],
            under_way: 0,
            next_seq: 0,
            input: vec![0; INPUT].into_boxed_slice(),
            held: 0,
            output: Vec::new(),
        })
    }

    fn send(&mut self, topic: &str, priority: u8, due: Instant) -> Result<()> {
        self.next_seq = self.next_seq.checked_add(1).unwrap_or(1);
        let slot = &mut self.due[usize::from(self.next_seq)];
        ensure!(
            slot.is_none(),
            "more requests under way than there are numbers"
        );
        *slot = Some((due, priority));
        self.under_way += 1;
        let [s0, s1] = self.next_seq.to_be_bytes();
        let length = (2 + topic.len()) as u32;
        let [l0, l1, l2, l3] = length.to_be_bytes();
        let header = [1, REQUEST, s0, s1, l0, l1, l2, l3, priority, 0];
        self.output.extend_from_slice(&header);
        self.output
            .extend_from_slice(&(topic.len() as u16).to_be_bytes());
        self.output.extend_from_slice(topic.as_bytes());
        Ok(())
    }

    /// Writes what waits and reads what is there.
    fn turn(&mut self, now: Instant, lanes: &mut [Lane; PRIORITIES]) -> Result<()> {
        if !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.read(&mut self.input[self.held..]) {
            Ok(0) => anyhow::bail!("the server closed a connection"),
            Ok(read) => self.take(self.held + read, now, lanes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, filled: usize, now: Instant, lanes: &mut [Lane; PRIORITIES]) -> Result<()> {
        let mut used = 0;
        while let Some(header) = self.input[used..filled].first_chunk::<HEADER>() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let (start, end) = (used + HEADER, used + HEADER + length);
            if end > filled {
                break;
            }
            let seq = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let slot = self.due[seq].take();
            let (due, priority) = slot.context("an answer to nothing that is under way")?;
            self.under_way -= 1;
            let lane = &mut lanes[usize::from(priority)];
            let payload = &self.input[start..end];
            if header[1] == RESPONSE {
                lane.answered += 1;
                let latency = now.saturating_duration_since(due).as_micros();
                lane.latencies_us
                    .push(u32::try_from(latency).unwrap_or(u32::MAX));
            } else if code(header[9], payload) == Some(OVERLOADED) {
                lane.overloaded += 1;
            } else {
                lane.failed += 1;
            }
            used = end;
        }
        self.input.copy_within(used..filled, 0);
        self.held = filled - used;
        Ok(())
    }
}

fn code(flags: u8, payload: &[u8]) -> Option<[u8; 2]> {
    let rest = match flags & META {
        0 => payload,
        _ => {
            let (length, rest) = payload.split_first_chunk::<2>()?;
            rest.get(usize::from(u16::from_be_bytes(*length))..)?
        }
    };
    rest.first_chunk::<2>().copied()
}

/// SplitMix64, from a fixed seed: every run sees the same arrivals.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Time between two arrivals, in units of its mean.
    fn gap(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    fn priority(&mut self, urgent: f64) -> u8 {
        let highest = PRIORITIES - 1;
        if self.unit() < urgent {
            return highest as u8;
        }
        (self.unit() * highest as f64) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_their_rate_and_share() {
        let mut random = Random(1);
        let n = 100_000;
        let mean = (0..n).map(|_| random.gap()).sum::<f64>() / f64::from(n);
        assert!((0.98..1.02).contains(&mean), "{mean}");
        let urgent = (0..n).filter(|_| random.priority(0.1) == 7).count();
        assert!((9_700..10_300).contains(&urgent), "{urgent}");
    }

    #[test]
    fn the_code_of_an_error_is_found_behind_its_metadata() {
        assert_eq!(code(0, &[2, 1, b'x']), Some(OVERLOADED));
        assert_eq!(code(META, &[0, 2, 9, 9, 2, 1]), Some(OVERLOADED));
        assert_eq!(code(META, &[0, 9, 9]), None);
    }
}
