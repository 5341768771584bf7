//! What an operator sees: metrics, traces and logs. Every metric name lives here and nowhere else.

mod auth;
mod batch;
mod catalog;
mod cgroup;
mod conn;
mod cpu;
mod histogram;
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "its names are on the page of all metrics")
)]
mod kubernetes;
mod log;
mod peers;
mod process;
mod queue;
mod random;
mod requests;
mod routes;
mod shaping;
mod tls;
mod trace;
mod upstream;
#[cfg(feature = "top")]
pub(crate) mod watched;

pub(crate) use auth::{AuthLog, AuthMethod, AuthResult, Decision};
pub(crate) use batch::{Batch, FrameCounts, Tally};
pub use catalog::{METRICS, Metric, MetricGroup, MetricKind, Values};
pub use conn::ConnMetrics;
pub(crate) use conn::{CloseReason, InFlight, Rejected};
#[cfg(feature = "kubernetes")]
pub(crate) use kubernetes::KubernetesMetrics;
pub(crate) use log::AUDIT;
pub use log::{LogControl, LogError, LogSettings, LogStyle, init as init_logs};
pub(crate) use peers::PeerCounts;
pub use peers::PeerMetrics;
#[cfg(feature = "kubernetes")]
pub(crate) use peers::ServiceMetrics;
pub use process::{Exporter, ProcessMetrics};
pub use queue::QueueMetrics;
pub(crate) use queue::ShedReason;
pub(crate) use random::random_unit;
pub use routes::{RouteCatalog, RouteLabel, RouteStats};
pub use shaping::{Count, NewCounts, Shaped};
pub(crate) use tls::{Handshake, TlsPort};
pub(crate) use trace::{Attempt, Record, Traced};
pub use trace::{
    CallSpan, OtlpError, OtlpProtocol, Sampling, SamplingError, SamplingSettings, Spans,
    TraceSettings,
};
pub(crate) use upstream::AttemptOutcome;
pub use upstream::{UpstreamCatalog, UpstreamGauges, UpstreamStats};
