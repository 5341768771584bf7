//! Accepting connections, and turning away those there is no room for.

use super::arrival::Arrival;
use super::core::Shared;
use super::handshake::{Handshakes, TlsConfig};
use super::registry::Registry;
use super::settings::Settings;
use super::{Dispatch, socket};
use crate::telemetry::{ConnMetrics, Rejected};
use mcpd_proto::{ErrorCode, ErrorFrame, MetaBuf};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// What a client that was turned away is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Turned-away connections that are held open until the client has read why; further ones are closed
/// at once. Each costs a descriptor, for at most the linger time.
pub(crate) const MAX_LINGERING: usize = 256;
/// First and longest pause after an accept that failed for lack of a resource.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Accepts after which other tasks of the thread get a turn.
const ACCEPTS_PER_TURN: usize = 64;

/// A listener cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct ListenerError {
    /// Where.
    pub addr: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The data port: accepts connections and spawns each on one of the given runtimes.
pub struct Listener<D> {
    socket: tokio::net::TcpListener,
    addr: SocketAddr,
    settings: watch::Receiver<Settings>,
    shared: Arc<Shared<D>>,
    registry: Arc<Registry>,
    workers: Vec<Handle>,
    lingering: Arc<Semaphore>,
    next_worker: usize,
    rate: Rate,
    /// Present where connections begin with a TLS handshake.
    tls: Option<Handshakes>,
}

/// Accepts, or handshakes, of the current second.
#[derive(Debug)]
pub(super) struct Rate {
    since: Instant,
    accepted: u32,
}

impl<D: Dispatch> Listener<D> {
    /// Binds the port. Connections run on `workers` in turn, or on the current runtime if there are
    /// none; timers and work that is answered later run on the current one. Must be called from
    /// within a runtime with IO and time; `workers` need IO only.
    ///
    /// # Errors
    /// The address is taken, or may not be used.
    pub fn bind(
        settings: watch::Receiver<Settings>,
        dispatch: D,
        metrics: Arc<ConnMetrics>,
        registry: Arc<Registry>,
        workers: Vec<Handle>,
    ) -> Result<Listener<D>, ListenerError> {
        let listen = Arc::clone(&settings.borrow().listen);
        let error = |source| ListenerError {
            addr: listen.addr,
            source,
        };
        let socket = socket::listen(listen.addr, listen.backlog).map_err(error)?;
        let addr = socket.local_addr().map_err(error)?;
        Ok(Listener {
            socket: tokio::net::TcpListener::from_std(socket).map_err(error)?,
            addr,
            settings,
            shared: Arc::new(Shared {
                dispatch,
                metrics,
                background: Handle::current(),
            }),
            registry,
            workers: if workers.is_empty() {
                vec![Handle::current()]
            } else {
                workers
            },
            lingering: Arc::new(Semaphore::new(MAX_LINGERING)),
            next_worker: 0,
            rate: Rate::new(Instant::now()),
            tls: None,
        })
    }

    /// Has connections begin with a TLS handshake. They run on the runtime that binds the port.
    #[must_use]
    pub fn with_tls(mut self, config: TlsConfig) -> Listener<D> {
        self.tls = Some(Handshakes::new(config, Instant::now()));
        self
    }

    /// Where it listens; tells the port when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts connections until the future is dropped, which closes the port.
    pub async fn run(mut self) {
        let mut backoff = ACCEPT_BACKOFF.0;
        let mut accepted = 0;
        loop {
            match self.accept().await {
                Ok((stream, addr)) => {
                    backoff = ACCEPT_BACKOFF.0;
                    self.admit(stream, addr);
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    self.shared.metrics.accept_error();
                    tracing::warn!(%error, ?backoff, "cannot accept connections, waiting");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(ACCEPT_BACKOFF.1);
                }
            }
            accepted += 1;
            if accepted % ACCEPTS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, addr) = self.socket.accept().await?;
        // It will live on another runtime, which registers it anew.
        Ok((stream.into_std()?, addr))
    }

    /// Gives a connection to a worker, or turns it away.
    fn admit(&mut self, stream: TcpStream, addr: SocketAddr) {
        let settings = self.settings.borrow().clone();
        if let Err(error) = socket::prepare(&stream, &settings) {
            tracing::debug!(%error, peer = %addr, "an accepted connection is gone already");
            return self.shared.metrics.rejected(Rejected::Gone);
        }
        let (listen, now) = (&settings.listen, Instant::now());
        if !self.rate.take(listen.accepts_per_second, now) {
            return self.reject(stream, &settings, Rejected::Rate);
        }
        let handshake = self.tls.as_mut().map(|tls| tls.begin(listen, now));
        let handshake = match handshake.transpose() {
            Ok(handshake) => handshake,
            Err(why) => return self.reject(stream, &settings, why),
        };
        let Some(member) = self.registry.enter(listen.max_connections) else {
            return self.reject(stream, &settings, Rejected::Limit);
        };
        self.shared.metrics.opened();
        let worker = &self.workers[self.next_worker % self.workers.len()];
        self.next_worker = self.next_worker.wrapping_add(1);
        let arrival = Arrival {
            stream,
            addr,
            at: now,
            settings,
            shared: Arc::clone(&self.shared),
            member,
        };
        match handshake {
            Some(handshake) => drop(tokio::spawn(arrival.serve_tls(handshake, worker.clone()))),
            None => arrival.serve(worker),
        }
    }

    /// Says why a connection is not taken, and how long to wait.
    fn reject(&self, stream: TcpStream, settings: &Settings, why: Rejected) {
        self.shared.metrics.rejected(why);
        if self.tls.is_some() {
            // Telling would take the handshake that there is no room for.
            return;
        }
        let text = match why {
            Rejected::Rate => "too many connections a second",
            _ => "the server holds as many connections as it may",
        };
        let mut meta = MetaBuf::new();
        meta.set_retry_after(RETRY_AFTER);
        let mut wire = Vec::new();
        let code = ErrorCode::TOO_MANY_CONNECTIONS;
        let detail = text.as_bytes();
        ErrorFrame {
            seq: 0,
            priority: 0,
            code,
            detail,
            meta: meta.view(),
        }
        .encode(&mut wire);
        // A new socket's buffer takes this; if not, the client learns it by the closed connection.
        let _ = io::Write::write(&mut &stream, &wire);
        if let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() {
            let time = settings.conn.close_linger;
            tokio::spawn(async move {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    linger(stream, time).await;
                }
                drop(permit);
            });
        }
    }
}

impl Rate {
    pub(super) fn new(now: Instant) -> Rate {
        Rate {
            since: now,
            accepted: 0,
        }
    }

    /// Takes one of `per_second`; 0 is any number.
    pub(super) fn take(&mut self, per_second: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.accepted) = (now, 0);
        }
        self.accepted = self.accepted.saturating_add(1);
        per_second == 0 || self.accepted <= per_second
    }
}

/// Whether an accept failed for a reason of the connection's own, so that the next one may be tried.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Closes the write side, and reads on for a while: closing with unread bytes would destroy the last
/// word on its way.
pub(super) async fn linger(mut stream: tokio::net::TcpStream, time: Duration) {
    // The peer may be gone already; then there is nothing to shut down.
    let _ = socket2::SockRef::from(&stream).shutdown(Shutdown::Write);
    let read_to_end = async {
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    };
    let _ = tokio::time::timeout(time, read_to_end).await;
}
