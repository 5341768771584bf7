//! The sidecar port: health, readiness, status and metrics over HTTP, on a thread of its own so that
//! it answers however busy the data port is; and the admin API, there or on a port of its own.

mod api;
mod health;
mod server;

use crate::conn::{self, Registry, TlsConfig};
use crate::lifecycle::Lifecycle;
use crate::router::document::ETag;
use crate::telemetry::Exporter;
use axum::Router;
use axum::routing::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

pub use api::{
    Answer, Api, Arrived, Change, Control, DrainView, Edit, EndpointAction, HandlerLoad,
    HandlerView, Loopback, MAX_TOKENS_BYTES, NoEndpoint, Precondition, Rates, RebalanceView,
    Refused, Rules, Scope, Scopes, Setting, Straggler, Tokens, UpstreamView, Version, WriteError,
    Written,
};
pub(crate) use server::MAX_CONNECTIONS;
pub use server::{Gate, Ports};

/// Connections that the kernel keeps waiting: in a burst above it a probe would wait a second for its
/// second SYN.
const BACKLOG: u32 = 1024;
/// A data thread that has not turned its loop for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// What is known of the live route table.
#[derive(Debug, Clone, Default)]
pub struct RoutesStatus {
    /// What sort of store the routes are kept in.
    pub store: &'static str,
    /// Where it came from; `None` before there is one.
    pub source: Option<String>,
    /// The store's own name for the version it holds, where it has any.
    pub version: Option<String>,
    /// When the store last said that it holds the live table.
    pub confirmed: Option<SystemTime>,
    /// Why the store cannot be asked at present.
    pub unreachable: Option<String>,
    /// Its revision.
    pub revision: u64,
    /// The hash of its content, in hex.
    pub hash: String,
    /// Its tag; `None` before there is one.
    pub etag: Option<ETag>,
    /// Routes in it.
    pub routes: usize,
    /// Names of those that inject faults.
    pub faults: Vec<String>,
    /// Why the newest document is not live, when it is not.
    pub problem: Option<String>,
}

/// What is known of who clients may be. `None` is what nobody has asked for.
#[derive(Debug, Clone, Default)]
pub struct TrustStatus {
    /// The principals document.
    pub principals: Option<DocumentStatus>,
    /// The keys of JWTs.
    pub keys: Option<DocumentStatus>,
}

/// What is known of a document that is read again whenever it changes.
#[derive(Debug, Clone, Default)]
pub struct DocumentStatus {
    /// What is in force, for people; `None` before there is anything.
    pub live: Option<String>,
    /// Why the newest one is not, when it is not.
    pub problem: Option<String>,
}

/// Shows that a thread's event loop turns.
///
/// ```
/// use mcpd::admin::Pulse;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let pulse = Pulse::new("data-0", start);
/// assert!(!pulse.is_stuck(start + Duration::from_secs(10)));
/// assert!(pulse.is_stuck(start + Duration::from_secs(11)));
/// pulse.beat(start + Duration::from_secs(9));
/// assert!(!pulse.is_stuck(start + Duration::from_secs(11)));
/// ```
#[derive(Debug)]
pub struct Pulse {
    thread: String,
    start: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    /// The pulse of the thread of this name, which has turned its loop at `start`.
    pub fn new(thread: impl Into<String>, start: Instant) -> Pulse {
        Pulse {
            thread: thread.into(),
            start,
            last_ms: AtomicU64::new(0),
        }
    }

    /// The thread's name.
    pub fn thread(&self) -> &str {
        &self.thread
    }

    /// The loop turned at `now`.
    pub fn beat(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.start).as_millis();
        self.last_ms
            .store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether the loop has not turned for more than 10 s.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let last = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(last) > STUCK_AFTER
    }
}

/// Everything that the sidecar shows.
#[derive(Debug, Clone)]
pub struct Status {
    /// SERVER_ID.
    pub server_id: Arc<str>,
    /// The phase and how it came to it.
    pub lifecycle: Lifecycle,
    /// Open connections.
    pub connections: Arc<Registry>,
    /// The live routes.
    pub routes: watch::Receiver<RoutesStatus>,
    /// Who clients may be.
    pub trust: watch::Receiver<TrustStatus>,
    /// One for each event loop: the data threads', then that of those beside them.
    pub pulses: Arc<[Pulse]>,
    /// Whether a drain leaves `/readyz` at 200 while new requests are served.
    pub keep_ready: Arc<AtomicBool>,
    /// Whether new requests are refused already.
    pub refusing: Arc<AtomicBool>,
    /// The metrics page.
    pub exporter: Arc<Exporter>,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// The paths of the sidecar, and those of the admin API where it has no port of its own.
pub fn router(status: Status, api: Option<Arc<Api>>) -> Router {
    let router = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/statusz", get(health::statusz))
        .route("/metrics", get(health::metrics))
        .route("/", get(health::index))
        .with_state(status);
    match api {
        Some(api) => router.merge(api::router(api)),
        None => router,
    }
}

/// The paths of the admin API alone.
pub fn admin_router(api: Arc<Api>) -> Router {
    api::router(api)
}

/// Binds the sidecar port, or that of the admin API.
///
/// # Errors
/// The address is taken, or may not be used.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    conn::listen(addr, BACKLOG)
}

/// Serves until the process ends, on the current runtime; with `tls`, over TLS and no other way.
///
/// # Errors
/// The socket broke.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsConfig>,
    router: Router,
    gate: Gate,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    server::run(listener, tls, router, gate).await
}
