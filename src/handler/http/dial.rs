//! New connections to an HTTP server.

use super::files::Files;
use super::settings::{HttpSettings, HttpVersion};
use super::wire::{Wire, WireState};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// The head of an answer may be this large: more is a server gone mad, or worse.
const MAX_HEAD: u32 = 64 << 10;

/// Headers of an answer.
const MAX_HEADERS: usize = 100;

/// Opens connections.
pub(super) struct Dialer {
    files: Arc<Files>,
    /// Whom certificates are to be for.
    name: ServerName<'static>,
    version: HttpVersion,
    timeout: Duration,
}

/// Requests as they are sent.
pub(super) type Request = hyper::Request<Full<Bytes>>;

/// A connection, and the task that serves it, which ends with this.
pub(super) enum Dialed {
    One(http1::SendRequest<Full<Bytes>>, Arc<WireState>, Task),
    Two(http2::SendRequest<Full<Bytes>>, Task),
}

/// A task that ends with this.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

impl Task {
    fn spawn<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) -> Task
    where
        E: Send + 'static,
    {
        // What goes wrong is told to whoever waits for an answer.
        let task = tokio::spawn(async move { drop(connection.await) });
        Task(task.abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Dialer {
    /// Connections go by `files` as they are when they are opened.
    ///
    /// # Errors
    /// The server cannot have such a name.
    pub(super) fn new(settings: &HttpSettings, files: Arc<Files>) -> Result<Dialer, String> {
        let name = settings.server_name();
        let parsed = ServerName::try_from(name.to_owned());
        Ok(Dialer {
            files,
            name: parsed.map_err(|_| format!("tls.server_name: {name:?} is no name"))?,
            version: settings.version,
            timeout: settings.connect_timeout,
        })
    }

    /// Has the files looked at, if it is time.
    pub(super) fn upkeep(&self, now: Instant) {
        self.files.look(now);
    }

    /// Whether requests share connections as far as that is known beforehand.
    pub(super) fn shares(&self) -> bool {
        self.version == HttpVersion::Two
    }

    /// Opens a connection. Nothing of any request is sent.
    pub(super) async fn dial(&self, addr: SocketAddr) -> io::Result<Dialed> {
        let dialed = tokio::time::timeout(self.timeout, self.open(addr)).await;
        dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(&self, addr: SocketAddr) -> io::Result<Dialed> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let tls = self.files.tls();
        let (wire, state) = Wire::new(stream, tls.is_some());
        let Some(tls) = tls else {
            return handshake(wire, state, self.shares()).await;
        };
        let connecting = TlsConnector::from(tls).connect(self.name.clone(), wire);
        let stream = connecting.await?;
        let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if self.shares() && !is_two {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        handshake(stream, state, is_two).await
    }
}

async fn handshake<S>(stream: S, state: Arc<WireState>, two: bool) -> io::Result<Dialed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if two {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
        return Ok(Dialed::Two(sender, Task::spawn(connection)));
    }
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(MAX_HEAD as usize)
        .max_headers(MAX_HEADERS);
    let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    Ok(Dialed::One(sender, state, Task::spawn(connection)))
}
