//! The floor: a bare framed echo, as lean as safe Rust on tokio gets.
//!
//! It knows just enough of MCP to cut frames and to answer a REQUEST with its body. No sessions,
//! limits, routes or metrics: what mcpd costs above it is the price of those.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::load::mcp::{HEADER, REQUEST, RESPONSE};

/// One read takes at most this much, and no longer frame is served: longer ones end the connection.
const BUFFER: usize = 64 * 1024;

thread_local! {
    /// Borrowed by a connection for one turn only, so that an idle one owns no buffer.
    static SHARED: RefCell<Shared> = RefCell::new(Shared {
        input: vec![0; BUFFER].into_boxed_slice(),
        output: Vec::with_capacity(BUFFER),
    });
}

struct Shared {
    input: Box<[u8]>,
    output: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// The cut-off rest of a frame; without capacity when there is none.
    rest: Vec<u8>,
    /// Answers that the socket did not take yet; nothing is read until they are gone.
    unsent: Vec<u8>,
}

/// Serves on 127.0.0.1 until the process is ended; prints the address on stdout.
pub(crate) fn serve(port: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let mut stdout = io::stdout();
        writeln!(stdout, "floor listening on {}", listener.local_addr()?)?;
        stdout.flush()?;
        accept(listener).await
    })
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(Connection {
            stream,
            rest: Vec::new(),
            unsent: Vec::new(),
        });
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        SHARED.with_borrow_mut(|shared| {
            loop {
                match ready!(connection.turn(cx, shared)) {
                    Ok(true) => {}
                    // The peer is gone or speaks something else: there is nobody to tell.
                    Ok(false) | Err(_) => return Poll::Ready(()),
                }
            }
        })
    }
}

impl Connection {
    /// One read and the write of everything it produced; `false` when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>, shared: &mut Shared) -> Poll<io::Result<bool>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))?;
            self.unsent.drain(..sent);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }

        let held = self.rest.len();
        let mut space = ReadBuf::new(&mut shared.input[held..]);
        // Unlike `try_read`, this remembers a short read: the next call is Pending without a
        // system call.
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(false));
        }
        shared.input[..held].copy_from_slice(&self.rest);

        let input = &shared.input[..held + read];
        shared.output.clear();
        let Some(used) = answer(input, &mut shared.output) else {
            return Poll::Ready(Ok(false));
        };
        if used < input.len() {
            self.rest.clear();
            self.rest.extend_from_slice(&input[used..]);
        } else if held > 0 {
            self.rest = Vec::new();
        }
        self.send(cx, &shared.output).map_ok(|()| true)
    }

    fn send(&mut self, cx: &mut Context<'_>, mut output: &[u8]) -> Poll<io::Result<()>> {
        while !output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, output)? {
                Poll::Ready(sent) => output = &output[sent..],
                Poll::Pending => {
                    self.unsent.extend_from_slice(output);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Answers all whole frames in `input` and says how much of it they took; `None` when it cannot
/// be cut into frames.
fn answer(input: &[u8], output: &mut Vec<u8>) -> Option<usize> {
    let mut used = 0;
    while let Some(header) = input[used..].first_chunk::<HEADER>() {
        let [_, kind, seq0, seq1, l0, l1, l2, l3, priority, _] = *header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > BUFFER - HEADER {
            return None;
        }
        let Some(payload) = input[used + HEADER..].get(..length) else {
            break;
        };
        used += HEADER + length;
        if kind != REQUEST {
            continue;
        }
        let topic = u16::from_be_bytes(*payload.first_chunk()?) as usize;
        let body = payload.get(2 + topic..)?;
        let [b0, b1, b2, b3] = (body.len() as u32).to_be_bytes();
        output.extend_from_slice(&[1, RESPONSE, seq0, seq1, b0, b1, b2, b3, priority, 0]);
        output.extend_from_slice(body);
    }
    Some(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Protocol, Wire};

    #[test]
    fn answers_are_the_same_wherever_the_stream_is_cut() {
        let mut wire = Wire::new(Protocol::Mcp, 3);
        let mut requests = Vec::new();
        for _ in 0..3 {
            wire.request(&mut requests);
        }
        let mut whole = Vec::new();
        assert_eq!(answer(&requests, &mut whole), Some(requests.len()));
        for cut in 0..requests.len() {
            let mut parts = Vec::new();
            let used = answer(&requests[..cut], &mut parts).unwrap();
            answer(&requests[used..], &mut parts).unwrap();
            assert_eq!(parts, whole, "cut at {cut}");
        }
        assert_eq!(wire.answers(&whole, &mut Vec::new()).unwrap().answers, 3);
    }

    #[test]
    fn a_frame_longer_than_the_buffer_ends_the_connection() {
        let header = [1, REQUEST, 0, 1, 0, 1, 0, 0, 0, 0];
        assert_eq!(answer(&header, &mut Vec::new()), None);
    }

    #[test]
    fn a_topic_longer_than_its_payload_ends_the_connection() {
        let frame = [1, REQUEST, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9];
        assert_eq!(answer(&frame, &mut Vec::new()), None);
    }
}
