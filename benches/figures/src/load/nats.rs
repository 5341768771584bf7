//! The NATS side of the load: requests whose replies come to an inbox, and the service that answers
//! them.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::{BODY, Body, INPUT, Progress, prepare};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
/// What all requests go to.
const SUBJECT: &str = "echo";
const END: &[u8] = b"\r\n";

/// Inboxes of one process, each of its own.
static INBOXES: AtomicU64 = AtomicU64::new(0);

/// One connection's requests under way. One service answers all, so they are answered in order.
#[derive(Debug)]
pub(crate) struct Nats {
    body: Body,
    inbox: String,
    introduced: bool,
    under_way: VecDeque<u64>,
    depth: usize,
}

/// What stands at the beginning of what a server sends.
enum Op<'i> {
    /// A message to this inbox.
    Message {
        reply: Option<&'i str>,
        body: &'i [u8],
    },
    Ping,
    Other,
}

impl Nats {
    pub(crate) fn new(depth: u16) -> Self {
        let number = INBOXES.fetch_add(1, Ordering::Relaxed);
        Nats {
            body: Body::new(),
            inbox: format!("_INBOX.figures.{number}"),
            introduced: false,
            under_way: VecDeque::with_capacity(usize::from(depth)),
            depth: usize::from(depth),
        }
    }

    /// Appends a request; without effect when as many as allowed are under way.
    pub(crate) fn request(&mut self, out: &mut Vec<u8>) {
        if self.under_way.len() == self.depth {
            return;
        }
        if !std::mem::replace(&mut self.introduced, true) {
            let hello = format!("{CONNECT}SUB {} 1\r\n", self.inbox);
            out.extend_from_slice(hello.as_bytes());
        }
        let (number, body) = self.body.next();
        self.under_way.push_back(number);
        out.extend_from_slice(format!("PUB {SUBJECT} {} {BODY}\r\n", self.inbox).as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(END);
    }

    pub(crate) fn answers(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress> {
        let mut progress = Progress::default();
        while let Some((op, used)) = op(&input[progress.used..])? {
            progress.used += used;
            match op {
                Op::Ping => out.extend_from_slice(b"PONG\r\n"),
                Op::Other => {}
                Op::Message { body, .. } => {
                    let number = self.under_way.pop_front().context("a reply unasked for")?;
                    ensure!(
                        self.body.matches(number, body),
                        "a reply with another body than its request"
                    );
                    progress.answers += 1;
                }
            }
        }
        Ok(progress)
    }
}

/// The first operation in `input` and its length, if it is whole.
fn op(input: &[u8]) -> Result<Option<(Op<'_>, usize)>> {
    let Some(end) = input.windows(2).position(|pair| pair == END) else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&input[..end])?;
    let behind = end + END.len();
    let mut words = line.split(' ');
    match words.next() {
        Some("MSG") => {}
        Some("PING") => return Ok(Some((Op::Ping, behind))),
        Some("-ERR") => bail!("NATS says {line}"),
        _ => return Ok(Some((Op::Other, behind))),
    }
    // MSG subject sid [reply] size
    let words: Vec<&str> = words.collect();
    let (size, reply) = match words[..] {
        [_, _, size] => (size, None),
        [_, _, reply, size] => (size, Some(reply)),
        _ => bail!("not a message: {line}"),
    };
    let size: usize = size.parse()?;
    let whole = behind + size + END.len();
    if input.len() < whole {
        return Ok(None);
    }
    let body = &input[behind..behind + size];
    Ok(Some((Op::Message { reply, body }, whole)))
}

/// A service that the server knows of.
pub(crate) fn subscribe(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    prepare(&stream)?;
    stream.write_all(format!("{CONNECT}SUB {SUBJECT} 1\r\nPING\r\n").as_bytes())?;
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        said.extend_from_slice(&byte);
    }
    stream.set_read_timeout(None)?;
    Ok(stream)
}

/// Answers requests with their own body until the connection ends.
pub(crate) fn serve_echo(mut stream: TcpStream) -> Result<()> {
    let mut input = vec![0; INPUT];
    let (mut held, mut output) = (0, Vec::new());
    loop {
        let read = stream.read(&mut input[held..])?;
        ensure!(read > 0, "the server has ended");
        held += read;
        let mut used = 0;
        output.clear();
        while let Some((op, length)) = op(&input[used..held])? {
            used += length;
            match op {
                Op::Message {
                    reply: Some(reply),
                    body,
                } => {
                    output.extend_from_slice(format!("PUB {reply} {}\r\n", body.len()).as_bytes());
                    output.extend_from_slice(body);
                    output.extend_from_slice(END);
                }
                Op::Ping => output.extend_from_slice(b"PONG\r\n"),
                Op::Message { .. } | Op::Other => {}
            }
        }
        input.copy_within(used..held, 0);
        held -= used;
        stream.write_all(&output)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_taken_in_order_wherever_they_are_cut() {
        let mut wire = Nats::new(2);
        let mut sent = Vec::new();
        wire.request(&mut sent);
        wire.request(&mut sent);
        let mut input = b"INFO {}\r\nPING\r\n".to_vec();
        for chunk in sent
            .split(|byte| *byte == b'\n')
            .filter(|line| line.len() == BODY + 1)
        {
            input.extend_from_slice(b"MSG _INBOX.figures.0 1 64\r\n");
            input.extend_from_slice(chunk);
            input.push(b'\n');
        }
        let mut out = Vec::new();
        let cut = input.len() - 3;
        let first = wire.answers(&input[..cut], &mut out).unwrap();
        assert_eq!((first.answers, &out[..]), (1, &b"PONG\r\n"[..]));
        let second = wire.answers(&input[first.used..], &mut out).unwrap();
        assert_eq!(second.answers, 1);
        assert!(wire.answers(b"-ERR 'no'\r\n", &mut out).is_err());
    }
}
