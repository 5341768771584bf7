//! Why nobody was asked.

use std::time::Duration;

/// Why an upstream was not asked. The request has not been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no endpoint, or an operator has taken out all there are.
    NoEndpoint,
    /// The breakers of all endpoints are open.
    CircuitOpen {
        /// When the first lets somebody through.
        retry_after: Duration,
    },
    /// As many attempts wait for a connection as may.
    Overloaded {
        /// When there may be room.
        retry_after: Duration,
    },
    /// The time was over before anybody could be asked.
    Expired,
}
