//! TLS under a connection: records to bytes and back, between the session and the socket.
//!
//! The session is driven here and not by a stream adapter, because only so it is known what the socket
//! has taken: that, and not what was encrypted, tells a slow consumer from a slow one that reads.

use super::buffers;
use super::lanes::Lanes;
use super::stream::{Sent, Stream};
use rustls::ServerConnection;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that may be encrypted ahead of the socket. What is in a record can neither be overtaken by
/// something more urgent nor be taken back, so it is no more than the kernel takes at a time.
const MAX_UNSENT: usize = 64 * 1024;

/// A socket whose handshake is done.
pub(super) struct Tls {
    stream: TcpStream,
    session: Box<ServerConnection>,
    /// Nothing can be said after a close_notify.
    said_farewell: bool,
    /// What is unsent will never be.
    is_lost: bool,
}

impl Tls {
    pub(super) fn new(stream: TcpStream, mut session: Box<ServerConnection>) -> Tls {
        session.set_buffer_limit(Some(MAX_UNSENT));
        Tls {
            stream,
            session,
            said_farewell: false,
            is_lost: false,
        }
    }

    /// Gives what is decrypted. `true`: there was something, or this is the orderly end.
    fn take(&mut self, out: &mut ReadBuf<'_>) -> io::Result<bool> {
        loop {
            match self.session.reader().read(out.initialize_unfilled()) {
                Ok(0) => return Ok(true),
                Ok(n) => out.advance(n),
                // Whatever else it is comes again with the next look.
                Err(_) if !out.filled().is_empty() => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Decrypts what the socket gave; nothing means that it gives no more.
    fn decrypt(&mut self, mut records: &[u8], out: &mut ReadBuf<'_>) -> io::Result<()> {
        // Without a close_notify before it, an end is an error of the next look. What comes after a
        // close_notify is not looked at.
        while self.session.read_tls(&mut records)? > 0 {
            if let Err(error) = self.session.process_new_packets() {
                // The alert that says why; there is no telling whether the peer gets it.
                let _ = self.session.write_tls(&mut Raw(&self.stream));
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            // The session takes no more records while too much waits in it.
            self.take(out)?;
            if records.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Puts what is ready into as few records as hold it.
    fn encrypt(&mut self, lanes: &mut Lanes) -> io::Result<usize> {
        let mut writer = self.session.writer();
        let taken = match lanes.single() {
            Some(bytes) => writer.write(bytes)?,
            None => writer.write_vectored(lanes.slices().as_slice())?,
        };
        lanes.advance(taken);
        match taken {
            0 => Err(io::ErrorKind::WriteZero.into()),
            taken => Ok(taken),
        }
    }
}

impl Stream for Tls {
    fn socket(&self) -> &TcpStream {
        &self.stream
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Records that say nothing, or are not whole, are no reason to stop; tokio's budget is.
        while !self.take(buffer)? {
            ready!(buffers::with_record_buffer(|records| {
                // The rest of a record that began before may come with it.
                let most = records.len().min(buffer.remaining() / 2);
                let mut records = ReadBuf::new(&mut records[..most]);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut records))?;
                Poll::Ready(self.decrypt(records.filled(), buffer))
            }))?;
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, lanes: &mut Lanes) -> io::Result<Sent> {
        let mut sent = Sent::default();
        loop {
            while self.has_unsent() {
                let (stream, session) = (&mut self.stream, &mut self.session);
                match session.write_tls(&mut Async { stream, cx }) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(_) => sent.moved = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                    Err(error) => return Err(error),
                }
            }
            if self.said_farewell || self.is_lost {
                lanes.advance(lanes.len());
            }
            if lanes.is_empty() {
                return Ok(sent);
            }
            sent.taken += self.encrypt(lanes)?;
        }
    }

    fn write_regardless(&mut self, _: &mut Lanes) -> io::Result<Sent> {
        // Lanes wait only while something encrypted does.
        let moved = self.session.write_tls(&mut Raw(&self.stream))? > 0;
        Ok(Sent { taken: 0, moved })
    }

    fn has_unsent(&self) -> bool {
        !self.is_lost && self.session.wants_write()
    }

    fn farewell(&mut self) -> bool {
        if self.said_farewell || self.is_lost {
            return false;
        }
        self.said_farewell = true;
        self.session.send_close_notify();
        true
    }

    fn give_up(&mut self) {
        self.is_lost = true;
    }
}

/// The socket for a session that writes when it is asked to: what would wait is `WouldBlock`, and wakes
/// the task.
struct Async<'a, 'c> {
    stream: &'a mut TcpStream,
    cx: &'a mut Context<'c>,
}

impl Write for Async<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        settle(Pin::new(&mut *self.stream).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        settle(Pin::new(&mut *self.stream).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settle(written: Poll<io::Result<usize>>) -> io::Result<usize> {
    match written {
        Poll::Ready(written) => written,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// The socket, whatever the kernel thinks of its being writable.
struct Raw<'a>(&'a TcpStream);

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        socket2::SockRef::from(self.0).send(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        socket2::SockRef::from(self.0).send_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
