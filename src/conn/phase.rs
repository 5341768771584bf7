//! How a connection ends.

use crate::telemetry::CloseReason;
use mcpd_proto::ErrorCode;
use mcpd_proto::session::Ended;
use std::time::Instant;

/// Where a connection is on its way out.
#[derive(Debug)]
pub(super) enum Phase {
    Serving,
    /// Everything queued goes out, then this frame, by the given time.
    Ending {
        last: Option<Ended>,
        by: Option<Instant>,
        code: ErrorCode,
    },
    /// The write side is closed; what comes in is read and dropped until the end or the given time.
    Lingering {
        by: Instant,
        code: ErrorCode,
    },
}

/// What a step on the way out came to.
pub(super) enum Step {
    /// Nothing has changed.
    Stay,
    /// There is something to write or to read again.
    Further,
    Closed(CloseReason),
}
