//! How a client gets from an address to a stream: the place for proxies, Unix sockets and pipes in
//! memory. With `mcps://` TLS is spoken over what it gives.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One address of a server, and the name it was found by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// As it was written in the list of addresses, without the port.
    pub host: String,
    /// What it stands for, with the port.
    pub addr: SocketAddr,
}

impl Target {
    pub(crate) fn new(host: String, addr: SocketAddr) -> Target {
        Target { host, addr }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { host, addr } = self;
        if addr.ip().to_string() == *host {
            write!(f, "{addr}")
        } else {
            write!(f, "{host} ({addr})")
        }
    }
}

/// Finds addresses and opens streams to them. [`TcpConnector`] is the usual one.
///
/// Both calls are given up when the client's connect timeout is over.
pub trait Connector: Send + Sync + 'static {
    /// Finds the addresses of a name; by default the system does. More than 256 are cut off.
    ///
    /// # Errors
    /// Whatever keeps the addresses from being known. Those found before stay in use.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    /// Opens a stream to an address.
    ///
    /// # Errors
    /// Whatever keeps the stream from being opened; the client tries another address or this one
    /// later.
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Stream>>;
}

/// Plain TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move { Ok(Stream::tcp(TcpStream::connect(target.addr).await?)) })
    }
}

/// What a connector gives: a stream to speak MCP over.
pub struct Stream(Io);

pub(crate) enum Io {
    Tcp(TcpStream),
    Other(Box<dyn ReadWrite>),
}

pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for S {}

impl Stream {
    /// Plain TCP; a token is sent over it only to a loopback address or by explicit option.
    pub fn tcp(stream: TcpStream) -> Stream {
        Stream(Io::Tcp(stream))
    }

    /// Any other stream. Whoever gives it vouches for its secrecy: a token is sent over it.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Stream {
        Stream(Io::Other(Box::new(stream)))
    }

    /// Prepares a socket; gives whom it leads to, as far as that is known.
    pub(crate) fn settle(&self) -> io::Result<Option<SocketAddr>> {
        let Io::Tcp(stream) = &self.0 else {
            return Ok(None);
        };
        stream.set_nodelay(true)?;
        stream.peer_addr().map(Some)
    }

    pub(crate) fn into_io(self) -> Io {
        self.0
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Io::Tcp(_) => "Stream(tcp)",
            Io::Other(_) => "Stream(other)",
        })
    }
}
