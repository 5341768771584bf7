//! Names of the metrics that `mcpd top` reads from a server's page.

/// Gauge: open connections.
pub(crate) const CONNECTIONS: &str = "mcpd_connections";
pub(crate) const OPENED: &str = "mcpd_connections_opened_total";
pub(crate) const CLOSED: &str = "mcpd_connections_closed_total";
pub(crate) const REJECTED: &str = "mcpd_connections_rejected_total";
pub(crate) const SLOW_CONSUMERS: &str = "mcpd_slow_consumers_total";
/// By `direction`.
pub(crate) const FRAMES: &str = "mcpd_frames_total";
/// By `direction`.
pub(crate) const FRAME_BYTES: &str = "mcpd_frame_bytes_total";
pub(crate) const FRAME_ERRORS: &str = "mcpd_frame_errors_total";
/// By `route` and `fault`.
pub(crate) const REQUESTS: &str = "mcpd_requests_total";
/// By `route`, `outcome` and `le`.
pub(crate) const DURATION_BUCKETS: &str = "mcpd_request_duration_seconds_bucket";
pub(crate) const IN_FLIGHT: &str = "mcpd_requests_in_flight";
/// By `priority`.
pub(crate) const QUEUE_DEPTH: &str = "mcpd_queue_depth";
pub(crate) const SHED: &str = "mcpd_shed_total";
/// By `handler` and `outcome`.
pub(crate) const ATTEMPTS: &str = "mcpd_upstream_attempts_total";
/// By `handler` and `state`.
pub(crate) const BREAKERS: &str = "mcpd_upstream_breaker_state";
/// By `handler`.
pub(crate) const PENDING: &str = "mcpd_upstream_pending";
/// By `version`.
pub(crate) const BUILD: &str = "mcpd_build_info";
pub(crate) const STARTED: &str = "process_start_time_seconds";

/// All of the above.
pub(crate) const WATCHED: &[&str] = &[
    CONNECTIONS,
    OPENED,
    CLOSED,
    REJECTED,
    SLOW_CONSUMERS,
    FRAMES,
    FRAME_BYTES,
    FRAME_ERRORS,
    REQUESTS,
    DURATION_BUCKETS,
    IN_FLIGHT,
    QUEUE_DEPTH,
    SHED,
    ATTEMPTS,
    BREAKERS,
    PENDING,
    BUILD,
    STARTED,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::METRICS;

    #[test]
    fn all_of_them_are_on_the_page() {
        let known = |name: &str| {
            let mut metrics = METRICS.iter().flat_map(|group| group.metrics);
            metrics.any(|metric| metric.name == name.trim_end_matches("_bucket"))
        };
        for name in WATCHED {
            assert!(known(name), "{name} is not in the catalogue");
        }
    }
}
