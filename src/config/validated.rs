//! The configuration that the rest of the program sees: plain types, every
//! value within its limits, no contradictions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::auth::AuthConfig;
use super::kubernetes::KubernetesConfig;
use super::peers::{PeersConfig, RebalanceConfig};
use super::tls::{HandshakeConfig, TlsConfig};
use super::tracing::TracingConfig;
use crate::lifecycle::DrainWindows;

/// A whole configuration. [`Config::default`] is what a server without any
/// file, variable or flag runs with.
///
/// ```
/// let config = mcpd::config::Config::default();
/// assert_eq!(config.data.listen.port(), 8080);
/// assert_eq!(config.limits.max_payload, 1 << 20);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The server's name, 1 to 128 bytes. Default `$HOSTNAME`, else `mcpd`.
    pub server_id: String,
    /// The port that speaks MCP.
    pub data: DataConfig,
    /// Bounds of one connection.
    pub limits: LimitsConfig,
    /// Signs of life.
    pub heartbeat: HeartbeatConfig,
    /// Asking clients to move.
    pub goaway: GoawayConfig,
    /// The servers of the same routes.
    pub peers: PeersConfig,
    /// Giving connections to them.
    pub rebalance: RebalanceConfig,
    /// Stopping in order.
    pub drain: DrainConfig,
    /// What runs at one time, and what waits.
    pub scheduler: SchedulerConfig,
    /// The HTTP port.
    pub sidecar: SidecarConfig,
    /// The admin API.
    pub admin: AdminConfig,
    /// Who clients are.
    pub auth: AuthConfig,
    /// Where routes come from.
    pub routes: RoutesConfig,
    /// Documents that all replicas share.
    pub kubernetes: KubernetesConfig,
    /// Handlers by name (1 to 63 of `a-z0-9._-`); always has `echo`,
    /// `monitor` and `discard`, which may have been redefined.
    pub handlers: BTreeMap<String, HandlerConfig>,
    /// The handlers document; `None` (default): there is none.
    pub handlers_file: Option<PathBuf>,
    /// Logging.
    pub log: LogConfig,
    /// Counting.
    pub metrics: MetricsConfig,
    /// Exporting spans.
    pub tracing: TracingConfig,
    pub(super) origins: Origins,
}

/// Where each value came from, by key. Two configurations are equal when their
/// values are, so this never makes a difference.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(pub(super) BTreeMap<String, String>);

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Keys `data.*`. `max_connections`, `accepts_per_second` and the bounds of handshakes
/// are reloadable, the rest needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataConfig {
    /// Where clients connect; port 0 takes any free one. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Serving threads, 0 to 1024; 0 (default) is automatic, see
    /// [`worker_threads`](Self::worker_threads).
    pub threads: usize,
    /// Connections waiting for accept in the kernel, 1 to 65535. Default 1024.
    pub backlog: u32,
    /// Whether a PROXY protocol header is expected. Default off.
    pub proxy_protocol: ProxyProtocol,
    /// TCP keepalive idle time, 1 s to 2 h; `None` is off. Default 60 s.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT, 1 s to 1 h; `None` is the kernel's. Default 30 s.
    pub user_timeout: Option<Duration>,
    /// Open connections, 1 to 10,000,000. Default 10,000. Reloadable.
    pub max_connections: usize,
    /// Accepted connections per second, up to 1,000,000; `None` is no limit.
    /// Default 5000. Reloadable.
    pub accepts_per_second: Option<u32>,
    /// Take AUTH_TOKEN over plaintext beyond loopback. Default false.
    pub allow_plaintext_token: bool,
    /// Its TLS; `None` (default) is plaintext.
    pub tls: Option<TlsConfig>,
    /// Bounds of TLS handshakes. Reloadable.
    pub handshakes: HandshakeConfig,
}

impl DataConfig {
    /// The number of threads to start: [`threads`](Self::threads), or if that
    /// is 0 as many as the process may run at once, which honours CPU affinity
    /// and the cgroup quota. At least 1.
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        }
    }
}

/// Whether connections begin with a PROXY protocol v2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not; such a header is a malformed frame.
    Off,
    /// They must; a connection without one is closed.
    Required,
}

/// Keys `limits.*`, all reloadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest payload of a frame in bytes, 1 MiB to 64 MiB. Default 1 MiB.
    pub max_payload: usize,
    /// Unanswered requests per connection, 256 to 65535. Default 1024.
    pub max_in_flight: u16,
    /// Payload bytes of unanswered requests per connection, `max_payload` to
    /// 1 GiB. Default 8 MiB.
    pub max_in_flight_bytes: usize,
    /// Unwritten answer bytes per connection, `max_payload` to 1 GiB. Default 4 MiB.
    pub max_outbound_bytes: usize,
    /// How long not one byte may be writable, 100 ms to 10 min. Default 30 s.
    pub write_timeout: Duration,
    /// Whether HELLO must come first. Default false.
    pub require_hello: bool,
    /// Time for a required HELLO, 100 ms to 60 s. Default 10 s.
    pub hello_timeout: Duration,
    /// Time for a whole frame besides 1 s per 16 KiB, 100 ms to 10 min. Default 30 s.
    pub frame_timeout: Duration,
    /// Control frames per connection and second, 100 to 1,000,000. Default 2000.
    pub control_frames_per_second: u32,
    /// Age of a connection at which it is told GOAWAY, 1 s to 30 days; `None`
    /// is never. Default 30 min.
    pub max_age: Option<Duration>,
    /// Per cent by which `max_age` varies, 0 to 50. Default 20.
    pub max_age_jitter: u8,
    /// Time to read on after CLOSING, 10 ms to 30 s. Default 2 s.
    pub close_linger: Duration,
}

/// Keys `heartbeat.*`, all reloadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Announced interval, 1 s to 600 s. Default 30 s.
    pub interval: Duration,
    /// Longest stretched interval, `interval` to 600 s. Default 120 s.
    pub max_interval: Duration,
}

/// Keys `goaway.*`, all reloadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoawayConfig {
    /// Service after GOAWAY for age or rebalancing, up to 1 h. Default 60 s.
    pub grace: Duration,
}

/// Keys `drain.*`, all reloadable. Each time is up to 1 h; 0 skips the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// Serve as before. Default 10 s.
    pub delay: Duration,
    /// GOAWAYs, evenly. Default 25 s.
    pub spread: Duration,
    /// Finish what is in flight. Default 10 s.
    pub finish: Duration,
    /// Flush telemetry. Default 5 s.
    pub flush: Duration,
    /// What `/readyz` says meanwhile. Default fail.
    pub readiness: Readiness,
}

impl DrainConfig {
    /// The windows, as the drain's timetable wants them.
    pub fn windows(&self) -> DrainWindows {
        DrainWindows {
            delay: self.delay,
            spread: self.spread,
            finish: self.finish,
            flush: self.flush,
        }
    }
}

/// What `/readyz` says during a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// 200 as long as new requests are served.
    Keep,
    /// 503 from the first second.
    Fail,
}

/// Keys `scheduler.*`, all reloadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Requests that handlers work on, 1 to 1,000,000. Default 10,000.
    pub max_running: usize,
    /// Requests that wait for one of these places, up to 1,000,000. Default 10,000.
    pub max_waiting: usize,
}

/// Keys `sidecar.*`; need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarConfig {
    /// Where HTTP is served. Default `127.0.0.1:8081`.
    pub listen: SocketAddr,
}

/// Keys `admin.*`. All but `listen` and `tls` are reloadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// A port of its own; `None` (default) is the sidecar's.
    pub listen: Option<SocketAddr>,
    /// TLS of that port; `None` (default) is plaintext. Needs a restart.
    pub tls: Option<TlsConfig>,
    /// The file of tokens.
    pub tokens_file: Option<PathBuf>,
    /// Tokens as text, at most 64 KiB.
    pub tokens: Option<String>,
    /// Who needs no token. Default: loopback while there is no token, outside Kubernetes.
    pub loopback: LoopbackAccess,
    /// Host names besides addresses and localhost, in lower case.
    pub hosts: Vec<String>,
    /// Time for a request, 100 ms to 5 min. Default 10 s.
    pub timeout: Duration,
    /// Requests at once, 1 to 256. Default 8.
    pub max_concurrent: usize,
}

/// Whether requests from this machine need a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopbackAccess {
    /// Always.
    Never,
    /// Only once tokens are configured, be it an empty list.
    WithoutTokens,
    /// Never.
    Always,
}

/// Keys `routes.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutesConfig {
    /// The document; `None` (default) is the built-in table. Needs a restart.
    pub file: Option<PathBuf>,
    /// How often the document is looked at, 50 ms to 1 h. Default 500 ms. Needs a restart.
    pub poll_interval: Duration,
    /// Largest document in bytes, 1 KiB to 256 MiB. Default 8 MiB. Needs a restart.
    pub max_bytes: usize,
    /// Whether answers carry ROUTE_REVISION. Default false. Reloadable.
    pub revision_on_answers: bool,
    /// Whether routes may inject faults. Default false. Reloadable.
    pub allow_faults: bool,
    /// Copies for mirrors that may be under way, 0 to 1,000,000. Default 1000. Reloadable.
    pub max_mirrors: usize,
    /// Their bytes, 0 to 16 GiB. Default 64 MiB. Reloadable.
    pub max_mirror_bytes: usize,
}

/// One entry of `handlers`, reloadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerConfig {
    /// Answers with the body it got.
    Echo,
    /// Answers with nothing.
    Discard,
    /// Reports who sent on the topic.
    Monitor {
        /// Topics remembered, 1 to 1,000,000. Default 1000.
        max_topics: usize,
    },
    /// Always gives the same answer.
    Static {
        /// The answer's body, at most 1 MiB.
        body: StaticBody,
        /// Media type, ASCII, at most 255 bytes.
        content_type: Option<String>,
    },
    /// Answers late, or fails on purpose.
    Delay {
        /// Time until the answer, up to 1 h. Default 10 ms fixed.
        latency: Latency,
        /// Per cent of requests that fail, 0 to 100. Default 0.
        failure_percent: u8,
        /// Requests at once, up to 1,000,000; `None` (default) is no limit of its own.
        concurrency: Option<usize>,
        /// Requests that wait for one of these places, up to 1,000,000. Default 1000.
        queue: usize,
    },
}

/// Where the body of a static handler comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticBody {
    /// From the configuration itself.
    Inline(String),
    /// From a file that existed, was a regular file and had at most 1 MiB
    /// when the configuration was loaded.
    File(PathBuf),
}

/// How late a delay handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Always this late.
    Fixed(Duration),
    /// Uniformly random, both ends included; `min` ≤ `max`.
    Uniform {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
}

/// Keys `log.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look. Default auto. Needs a restart.
    pub format: LogFormat,
    /// What is logged, in `tracing`'s filter syntax. Default `info`. Reloadable.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// For collectors.
    Json,
    /// For collectors that know the Elastic Common Schema.
    Ecs,
}

/// Keys `metrics.*`; need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether frames and requests are counted. Default true.
    pub enabled: bool,
}
