//! Log lines of single frames: those that failed, and, when asked for, every one.

use super::trace::{Budget, Record};
use mcpd_proto::Trace;
use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines a second about failed requests, for the whole process: enough to see what goes wrong, too
/// few to fill a disk with it.
const LINES_PER_SECOND: u32 = 10;

/// What the filter knows these lines by.
const TARGET: &str = "mcpd::frames";

/// Writes about requests, and counts those that it keeps silent about.
#[derive(Debug)]
pub(super) struct Requests {
    budget: Budget,
    suppressed: AtomicU64,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            budget: Budget::new(LINES_PER_SECOND),
            suppressed: AtomicU64::new(0),
        }
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'b>(&'b [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Requests {
    /// Whether every frame is to have a line.
    #[inline]
    pub(super) fn is_verbose() -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
    }

    /// A request was answered.
    pub(super) fn ended(&self, record: &Record, failed: bool) {
        let verbose = Requests::is_verbose();
        if !verbose && !failed {
            return;
        }
        if !verbose && !self.budget.take(record.ended) {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Trace {
            trace_id, span_id, ..
        } = record.context();
        let (trace_id, span_id) = (Hex(&trace_id), Hex(&span_id));
        let (route, connection) = (&*record.stats.name, record.connection());
        let code = record.code.map(|code| code.to_string());
        let code = code.as_deref().unwrap_or("OK");
        let topic = record.topic.escape_debug();
        let time = record.ended.saturating_duration_since(record.received);
        let (seconds, body_bytes) = (time.as_secs_f64(), record.body);
        if failed {
            let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
            tracing::warn!(
                target: TARGET, %trace_id, %span_id, route, code, connection, %topic, seconds,
                body_bytes, suppressed, "a request failed"
            );
        } else {
            tracing::debug!(
                target: TARGET, %trace_id, %span_id, route, code, connection, %topic, seconds,
                body_bytes, "a request"
            );
        }
    }

    /// A frame that is no request was taken.
    pub(super) fn control(&self, record: &Record) {
        if !Requests::is_verbose() {
            return;
        }
        let Trace {
            trace_id, span_id, ..
        } = record.context();
        let (trace_id, span_id) = (Hex(&trace_id), Hex(&span_id));
        let (frame, connection) = (record.kind.name(), record.connection());
        tracing::debug!(target: TARGET, %trace_id, %span_id, frame, connection, "a frame");
    }
}
