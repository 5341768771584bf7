//! What an operator sees: metrics and logs. Every metric name lives here and nowhere else.

mod conn;
mod histogram;
mod log;
mod process;
mod random;
mod routes;

pub(crate) use conn::KINDS;
pub use conn::{Batch, CloseReason, ConnMetrics, InFlight, Rejected};
pub use histogram::Histogram;
pub use log::{LogControl, LogError, LogStyle, init as init_logs};
pub use process::{Exporter, ProcessMetrics};
pub use random::{next_span_id, random_unit};
pub use routes::{RouteCatalog, RouteStats};
