//! The socket below a connection to an HTTP server, which knows whether a request has left us.
//!
//! A server may close an idle connection at any time, and a request that is written into that is lost without
//! anybody knowing whether it ran. So a connection that is used again is looked at right before the first
//! byte goes out: if its end is there already, not a byte is written, and the request is proven not to
//! have been sent. The same holds for every connection that fails without having taken a byte of it.

use socket2::SockRef;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is known of a socket from outside.
#[derive(Debug, Default)]
pub(super) struct WireState {
    written: AtomicU64,
    armed: AtomicBool,
}

impl WireState {
    /// A request follows on a connection that was idle: it is looked at before the first byte. Gives what
    /// [`WireState::written`] is now.
    pub(super) fn arm(&self) -> u64 {
        self.armed.store(true, Ordering::Release);
        self.written()
    }

    /// Bytes that the kernel took.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// Below TLS something may be there to be read that is no end.
    tls: bool,
    state: Arc<WireState>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, tls: bool) -> (Wire, Arc<WireState>) {
        let state = Arc::new(WireState::default());
        let wire = Wire {
            stream,
            tls,
            state: Arc::clone(&state),
        };
        (wire, state)
    }

    /// Whether the server has ended the connection, or says something that nobody asked for.
    fn is_stale(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&self.stream).peek(&mut byte) {
            Ok(0) => true,
            Ok(_) => !self.tls,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.state.armed.swap(false, Ordering::AcqRel) && self.is_stale() {
            let text = "the server has closed the connection";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
        Ok(())
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.state.written.fetch_add(*n as u64, Ordering::AcqRel);
        }
        written
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
