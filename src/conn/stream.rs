//! What a connection is read from and written to: a socket, or TLS on top of one.

use super::lanes::Lanes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What came of a write.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// Bytes taken out of the lanes.
    pub(super) taken: usize,
    /// Whether the socket took any byte: with TLS these may be older ones than those taken.
    pub(super) moved: bool,
}

/// The transport of one connection. Everything in it is decided when it is compiled: a plain
/// connection pays nothing for the existence of TLS.
pub(super) trait Stream: Send + Unpin + 'static {
    /// The socket at the bottom.
    fn socket(&self) -> &TcpStream;

    /// Reads what the peer says; nothing is the orderly end of it.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>)
    -> Poll<io::Result<()>>;

    /// Writes everything that waits in the lanes, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>, lanes: &mut Lanes) -> io::Result<Sent>;

    /// Writes once without waiting for the kernel to call the socket writable.
    fn write_regardless(&mut self, lanes: &mut Lanes) -> io::Result<Sent>;

    /// Whether bytes that were taken out of the lanes, or that nobody put there, wait for the socket.
    fn has_unsent(&self) -> bool {
        false
    }

    /// Prepares what is said after the last frame; gives whether there is anything to be written for
    /// that, which there is once at most.
    fn farewell(&mut self) -> bool {
        false
    }

    /// Forgets what is unsent: the peer does not take it.
    fn give_up(&mut self) {}
}

impl Stream for TcpStream {
    #[inline]
    fn socket(&self) -> &TcpStream {
        self
    }

    #[inline]
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(self), cx, buffer)
    }

    #[inline]
    fn write(&mut self, cx: &mut Context<'_>, lanes: &mut Lanes) -> io::Result<Sent> {
        let mut taken = 0;
        while !lanes.is_empty() {
            let stream = Pin::new(&mut *self);
            let written = match lanes.single() {
                Some(bytes) => stream.poll_write(cx, bytes),
                None => stream.poll_write_vectored(cx, lanes.slices().as_slice()),
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    lanes.advance(n);
                    taken += n;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        let moved = taken > 0;
        Ok(Sent { taken, moved })
    }

    fn write_regardless(&mut self, lanes: &mut Lanes) -> io::Result<Sent> {
        let socket = socket2::SockRef::from(&*self);
        let taken = socket.send_vectored(lanes.slices().as_slice())?;
        lanes.advance(taken);
        let moved = true;
        Ok(Sent { taken, moved })
    }
}
