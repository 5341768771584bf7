//! Accepting connections, and turning away those there is no room for.

use super::core::{Core, Shared};
use super::driver::Driver;
use super::registry::{Member, Registry};
use super::settings::{ConnSettings, Settings};
use super::work::Works;
use super::{Dispatch, proxy, socket};
use crate::message::Peer;
use crate::telemetry::{ConnMetrics, Rejected};
use mcpd_proto::session::Server;
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
}

/// Accepts of the current second.
#[derive(Debug)]
struct Rate {
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
            rate: Rate {
                since: Instant::now(),
                accepted: 0,
            },
        })
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
        if !self
            .rate
            .take(settings.listen.accepts_per_second, Instant::now())
        {
            return self.reject(stream, &settings, Rejected::Rate);
        }
        let Some(member) = self.registry.enter(settings.listen.max_connections) else {
            return self.reject(stream, &settings, Rejected::Limit);
        };
        self.shared.metrics.opened();
        let worker = &self.workers[self.next_worker % self.workers.len()];
        self.next_worker = self.next_worker.wrapping_add(1);
        let shared = Arc::clone(&self.shared);
        if settings.listen.proxy_protocol {
            worker.spawn(serve_proxied(stream, addr, settings, shared, member));
        } else {
            worker.spawn(async move {
                match tokio::net::TcpStream::from_std(stream) {
                    Ok(stream) => driver(stream, addr, settings.conn, shared, member).await,
                    Err(error) => shared.metrics.failed(&error),
                }
            });
        }
    }

    /// Says why a connection is not taken, and how long to wait.
    fn reject(&self, stream: TcpStream, settings: &Settings, why: Rejected) {
        self.shared.metrics.rejected(why);
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
        let _ = stream.shutdown(Shutdown::Write);
        if let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() {
            let linger = settings.conn.close_linger;
            tokio::spawn(async move {
                let _ = tokio::time::timeout(linger, read_to_end(stream)).await;
                drop(permit);
            });
        }
    }
}

impl Rate {
    /// Takes one of `per_second`; 0 is any number.
    fn take(&mut self, per_second: u32, now: Instant) -> bool {
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

async fn read_to_end(stream: TcpStream) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

fn driver<D: Dispatch>(
    stream: tokio::net::TcpStream,
    addr: SocketAddr,
    settings: Arc<ConnSettings>,
    shared: Arc<Shared<D>>,
    member: Member,
) -> Driver<D> {
    let now = Instant::now();
    // A socket for both families shows IPv4 clients as IPv6 ones, whose loopback is none.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let jitter = crate::telemetry::random_unit();
    let mut session = Server::new(Arc::clone(&settings.session), now);
    if shared.dispatch.demands_hello(None) {
        session.demand_hello(now + settings.hello_timeout);
    }
    let peer = Arc::new(Peer {
        connection: member.id,
        addr,
        client_id: None,
        identity: None,
    });
    member.mailbox.belongs_to(&peer);
    let works = Works::default();
    let core = Core {
        shared,
        settings,
        session,
        works,
        lanes: None,
        peer,
        is_met: false,
        certificate: None,
        expires_at: None,
        peer_complained: false,
        requests: 0,
        member,
    };
    Driver::new(stream, core, now, jitter)
}

/// A connection whose first bytes are a PROXY header. Boxed by its spawn only, so that the plain
/// connection's task stays small.
async fn serve_proxied<D: Dispatch>(
    stream: TcpStream,
    addr: SocketAddr,
    settings: Settings,
    shared: Arc<Shared<D>>,
    member: Member,
) {
    let mut stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return shared.metrics.failed(&error),
    };
    let late = shared.sleep_until(Instant::now() + settings.listen.proxy_timeout);
    let header = tokio::select! {
        header = proxy::read(&mut stream) => header,
        () = late => Err(io::ErrorKind::TimedOut.into()),
    };
    match header {
        Ok(told) => {
            driver(stream, told.unwrap_or(addr), settings.conn, shared, member).await;
        }
        Err(error) => {
            tracing::debug!(%error, peer = %addr, "no PROXY header");
            shared.metrics.no_proxy_header();
        }
    }
}
