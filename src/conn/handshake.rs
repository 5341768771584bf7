//! TLS handshakes: how many there may be, and what becomes of one.
//!
//! They cost far more than a request and are paid by whoever dials, so they run beside the data threads
//! and within bounds: a flood of them takes connections from those who would come, and nothing from
//! those who are there.

use super::mailbox::Mailbox;
use super::settings::{ConnSettings, ListenSettings};
use super::{certificate, listener};
use crate::message::Certificate;
use crate::telemetry::{Handshake, Rejected, TlsPort};
use arc_swap::ArcSwap;
use rustls::{ServerConfig, ServerConnection};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;

/// TLS as new connections get it: what is swapped in holds for handshakes from then on.
pub type TlsConfig = Arc<ArcSwap<ServerConfig>>;

/// The handshakes of a listener.
pub(super) struct Handshakes {
    config: TlsConfig,
    /// Each handshake under way holds one more of it.
    under_way: Arc<()>,
    rate: listener::Rate,
}

/// A handshake that may begin.
pub(super) struct Begun {
    config: Arc<ServerConfig>,
    _under_way: Arc<()>,
}

/// What is known of a client after its handshake.
pub(super) struct Shaken {
    pub(super) stream: TcpStream,
    pub(super) session: Box<ServerConnection>,
    pub(super) certificate: Option<Certificate>,
}

impl Handshakes {
    pub(super) fn new(config: TlsConfig, now: Instant) -> Handshakes {
        Handshakes {
            config,
            under_way: Arc::default(),
            rate: listener::Rate::new(now),
        }
    }

    /// Lets a handshake begin, if there may be another one.
    pub(super) fn begin(
        &mut self,
        limits: &ListenSettings,
        now: Instant,
    ) -> Result<Begun, Rejected> {
        if Arc::strong_count(&self.under_way) > limits.max_handshakes {
            return Err(Rejected::Handshakes);
        }
        if !self.rate.take(limits.handshakes_per_second, now) {
            return Err(Rejected::HandshakeRate);
        }
        Ok(Begun {
            config: self.config.load_full(),
            _under_way: Arc::clone(&self.under_way),
        })
    }
}

impl Begun {
    /// Shakes hands until `by`, or until the connection is ordered to end: nothing has been asked yet that
    /// would have to be answered. Whoever fails is told by an alert and given the linger time to read it.
    pub(super) async fn run(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        by: Instant,
        settings: &ConnSettings,
        mailbox: &Mailbox,
    ) -> Result<Shaken, Handshake> {
        let accept = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream);
        let shaken = tokio::select! {
            shaken = timeout_at(by.into(), accept.into_fallible()) => shaken,
            () = poll_fn(|cx| mailbox.poll_dismissed(cx)) => {
                return counted(Err(Handshake::Dismissed));
            }
        };
        match shaken {
            Ok(Ok(tls)) => counted(known(tls)),
            Ok(Err((error, stream))) => {
                tracing::debug!(%error, %peer, "a TLS handshake failed");
                let failed = counted(Err(Handshake::of(&error)));
                listener::linger(stream, settings.close_linger).await;
                failed
            }
            Err(_) => counted(Err(Handshake::Timeout)),
        }
    }
}

fn counted(result: Result<Shaken, Handshake>) -> Result<Shaken, Handshake> {
    let label = result.as_ref().err().copied();
    TlsPort::Data.handshake(label.unwrap_or(Handshake::Ok));
    result
}

fn known(tls: tokio_rustls::server::TlsStream<TcpStream>) -> Result<Shaken, Handshake> {
    let (stream, session) = tls.into_inner();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.map(|der| certificate::read(der)).transpose();
    let certificate = certificate.map_err(|error| {
        tracing::debug!(%error, "a client certificate cannot be read");
        Handshake::ClientCertificate
    })?;
    Ok(Shaken {
        stream,
        session: Box::new(session),
        certificate,
    })
}
