//! New connections to an HTTP server.

use super::settings::{HttpVersion, TlsSettings};
use super::wire::{Wire, WireState};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
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
    tls: Option<(TlsConnector, ServerName<'static>)>,
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
    /// # Errors
    /// What is wrong with the certificates, by the key that names them.
    pub(super) fn new(
        tls: Option<&TlsSettings>,
        version: HttpVersion,
        timeout: Duration,
    ) -> Result<Dialer, String> {
        let tls = tls.map(|tls| connector(tls, version)).transpose()?;
        Ok(Dialer {
            tls,
            version,
            timeout,
        })
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
        let (wire, state) = Wire::new(stream, self.tls.is_some());
        let Some((connector, name)) = &self.tls else {
            return handshake(wire, state, self.shares()).await;
        };
        let stream = connector.connect(name.clone(), wire).await?;
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

fn connector(
    tls: &TlsSettings,
    version: HttpVersion,
) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(tls.server_name.clone());
    let name = name.map_err(|_| format!("tls.server_name: {:?} is no name", tls.server_name))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder
        .with_root_certificates(roots(tls.ca_file.as_deref())?)
        .with_no_client_auth();
    config.alpn_protocols = match version {
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersion::One => vec![b"http/1.1".to_vec()],
        HttpVersion::Two => vec![b"h2".to_vec()],
    };
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// Who may vouch for the server: the CAs of a file, else those of the system.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return match roots.is_empty() {
            true => Err("tls: the system has no CA certificates; set ca_file".to_owned()),
            false => Ok(roots),
        };
    };
    let problem =
        |error: &dyn std::fmt::Display| format!("tls.ca_file: {}: {error}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| problem(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| problem(&error))?;
        roots.add(certificate).map_err(|error| problem(&error))?;
    }
    match roots.is_empty() {
        true => Err(problem(&"has no certificate in it")),
        false => Ok(roots),
    }
}
