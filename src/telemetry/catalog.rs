//! Every metric there is, once: what it is called, what it counts and which labels it has.
//!
//! The table gives the exporter its descriptions, the hand-rendered families their head lines and
//! `docs/metrics.md` its tables. A test holds it against the page of a running server, another one
//! against the names in these sources. A new metric is one new line here.

mod kubernetes;
mod metric;

pub use metric::{Metric, MetricGroup, MetricKind, Values};

use super::auth::{AuthMethod, AuthResult};
use super::conn::{CloseReason, FRAME_ERRORS, KINDS, Rejected, kind_label};
use super::peers::PEER_STATES;
use super::queue::ShedReason;
use super::routes::fault;
use super::tls::{Handshake, TlsPort};
use super::trace::Dropped;
use super::upstream::{AttemptOutcome, BREAKER_STATES, CONNECTION_STATES};
use mcpd_proto::{Class, ErrorCode, GoAwayReason};
use metric::{counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge};
use std::fmt::Write;

const PHASES: Values = Values::OneOf(|| {
    vec![
        "initializing",
        "running",
        "error",
        "shutting_down",
        "stopped",
    ]
});
const PORTS: Values = Values::OneOf(TlsPort::labels);
const DIRECTION: Values = Values::OneOf(|| vec!["in", "out"]);
const FRAME_TYPES: Values = Values::OneOf(|| (0..KINDS).map(kind_label).collect());
const ROUTE: Values = Values::Bounded(
    "name of a route; at most 200, by the alphabet, the others are `_other`; `_none` for requests \
     that no route was found for",
);
const SHAPED_ROUTE: Values = Values::Bounded(
    "name of a route; of a table that would have more than 1000 of these series, the others are `_other`",
);
const HANDLER: Values =
    Values::Bounded("name of a handler that reaches out; as many as the handlers document has");
const PRIORITY: Values = Values::OneOf(|| vec!["0", "1", "2", "3", "4", "5", "6", "7"]);
const CODES: Values = Values::OneOf(|| {
    let named = ErrorCode::ALL
        .iter()
        .filter(|code| code.class() != Class::Connection);
    let named = named.filter_map(|code| code.name());
    ["OK"].into_iter().chain(named).chain(["OTHER"]).collect()
});
const FAULTS: Values = Values::OneOf(|| {
    let mut faults: Vec<_> = ErrorCode::ALL.iter().map(|code| fault(*code)).collect();
    faults.push("none");
    faults.sort_unstable();
    faults.dedup();
    faults
});

/// Every metric of the page, by group.
pub static METRICS: &[MetricGroup] = &[
    MetricGroup {
        title: "Connections",
        metrics: &[
            gauge("mcpd_connections", "Open connections."),
            counter("mcpd_connections_opened_total", "Connections accepted."),
            counter(
                "mcpd_connections_closed_total",
                "Connections closed, by reason.",
            )
            .labelled(&[("reason", Values::OneOf(CloseReason::labels))]),
            counter(
                "mcpd_connections_rejected_total",
                "Connections turned away, by reason.",
            )
            .labelled(&[("reason", Values::OneOf(Rejected::labels))]),
            counter(
                "mcpd_accept_errors_total",
                "Accepts that failed for lack of a resource.",
            ),
            histogram(
                "mcpd_connection_age_seconds",
                "Age of connections when they closed.",
            ),
            counter(
                "mcpd_authentications_total",
                "Credentials that were judged, where they are asked for, by what was shown and what was made of it.",
            )
            .labelled(&[
                ("method", Values::OneOf(AuthMethod::labels)),
                ("result", Values::OneOf(AuthResult::labels)),
            ]),
            counter(
                "mcpd_authorizations_total",
                "Requests that their senders were allowed or denied, where credentials are asked for.",
            )
            .labelled(&[("decision", Values::OneOf(|| vec!["allowed", "denied"]))]),
            counter("mcpd_goaways_total", "Clients asked to move, by reason.").labelled(&[(
                "reason",
                Values::OneOf(|| GoAwayReason::ALL.map(GoAwayReason::name).to_vec()),
            )]),
            counter(
                "mcpd_slow_consumers_total",
                "Connections closed because nobody read.",
            ),
            counter(
                "mcpd_backpressure_total",
                "Times a connection was not read for its limits.",
            ),
            counter(
                "mcpd_heartbeat_misses_total",
                "Heartbeats unanswered for an interval.",
            ),
            histogram("mcpd_heartbeat_rtt_seconds", "Round trips of heartbeats."),
        ],
    },
    MetricGroup {
        title: "TLS",
        metrics: &[
            counter("mcpd_tls_handshakes_total", "TLS handshakes, by what came of them.")
                .labelled(&[("port", PORTS), ("result", Values::OneOf(Handshake::labels))]),
            gauge(
                "mcpd_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in force expires, since 1970.",
            )
            .labelled(&[("port", PORTS)])
            .later(),
            counter(
                "mcpd_tls_reloads_total",
                "Certificates with their keys and client CAs that were taken or refused.",
            )
            .labelled(&[
                ("port", PORTS),
                ("result", Values::OneOf(|| vec!["ok", "refused"])),
            ]),
        ],
    },
    MetricGroup {
        title: "Frames",
        metrics: &[
            counter("mcpd_frames_total", "Frames by direction and type.")
                .labelled(&[("direction", DIRECTION), ("type", FRAME_TYPES)]),
            counter("mcpd_frame_bytes_total", "Bytes of frames by direction.")
                .labelled(&[("direction", DIRECTION)]),
            counter(
                "mcpd_frame_errors_total",
                "Frames that broke the protocol, by kind.",
            )
            .labelled(&[("kind", Values::OneOf(|| FRAME_ERRORS.to_vec()))]),
        ],
    },
    MetricGroup {
        title: "Requests",
        metrics: &[
            counter(
                "mcpd_requests_total",
                "Answered requests by route, code and whose fault it is.",
            )
            .labelled(&[("route", ROUTE), ("code", CODES), ("fault", FAULTS)])
            .later(),
            histogram(
                "mcpd_request_duration_seconds",
                "Time from a request's last byte to its answer enqueued.",
            )
            .labelled(&[
                ("route", ROUTE),
                ("outcome", Values::OneOf(|| vec!["ok", "error"])),
            ]),
            gauge(
                "mcpd_requests_in_flight",
                "Requests that are being worked on.",
            ),
        ],
    },
    MetricGroup {
        title: "Scheduling",
        metrics: &[
            gauge("mcpd_queue_depth", "Requests that wait for a place.")
                .labelled(&[("priority", PRIORITY)]),
            histogram(
                "mcpd_queue_wait_seconds",
                "Time until a request that is not answered on the spot got its place.",
            )
            .labelled(&[("priority", PRIORITY)]),
            counter("mcpd_shed_total", "Requests that got no place, by reason.").labelled(&[
                ("priority", PRIORITY),
                ("reason", Values::OneOf(ShedReason::labels)),
            ]),
        ],
    },
    MetricGroup {
        title: "Upstreams",
        metrics: &[
            counter(
                "mcpd_upstream_attempts_total",
                "Attempts to have an upstream answer, by how they ended.",
            )
            .labelled(&[
                ("handler", HANDLER),
                ("outcome", Values::OneOf(AttemptOutcome::labels)),
            ])
            .later(),
            counter(
                "mcpd_upstream_retries_total",
                "Attempts for requests that had one already, hedges included.",
            )
            .labelled(&[("handler", HANDLER)])
            .later(),
            counter(
                "mcpd_upstream_ejections_total",
                "Endpoints taken out because they did worse than they should.",
            )
            .labelled(&[("handler", HANDLER)])
            .later(),
            gauge(
                "mcpd_upstream_connections",
                "Connections to upstreams, by whether anything is under way on them.",
            )
            .labelled(&[
                ("handler", HANDLER),
                ("state", Values::OneOf(|| CONNECTION_STATES.to_vec())),
            ])
            .later(),
            gauge(
                "mcpd_upstream_pending",
                "Attempts that wait for a connection.",
            )
            .labelled(&[("handler", HANDLER)])
            .later(),
            gauge(
                "mcpd_upstream_breaker_state",
                "Endpoints by the state of their breaker.",
            )
            .labelled(&[
                ("handler", HANDLER),
                ("state", Values::OneOf(|| BREAKER_STATES.to_vec())),
            ])
            .later(),
        ],
    },
    MetricGroup {
        title: "Routes",
        metrics: &[
            counter(
                "mcpd_series_dropped_total",
                "Requests counted under `_other`, because there are too many routes for series of their own.",
            ),
            counter(
                "mcpd_route_choices_total",
                "Requests of routes with a split or matches, by the handler that was chosen.",
            )
            .labelled(&[
                ("route", SHAPED_ROUTE),
                (
                    "handler",
                    Values::Bounded("name of a handler that the route names, or `_other`"),
                ),
            ])
            .later(),
            counter(
                "mcpd_route_mirrors_total",
                "Copies of requests for a mirror, by what became of them; `dropped` are those that there was no room for, `cut` those that a drain has stopped.",
            )
            .labelled(&[
                ("route", SHAPED_ROUTE),
                (
                    "outcome",
                    Values::OneOf(|| vec!["answered", "cut", "dropped", "failed", "_other"]),
                ),
            ])
            .later(),
            counter("mcpd_route_faults_total", "Faults that were injected on purpose.")
                .labelled(&[
                    ("route", SHAPED_ROUTE),
                    ("kind", Values::OneOf(|| vec!["delay", "error", "_other"])),
                ])
                .later(),
            gauge("mcpd_routes_revision", "Revision of the live route table.").later(),
            gauge(
                "mcpd_routes_info",
                "Hash of the live route table; always 1.",
            )
            .labelled(&[("hash", Values::Bounded("SHA-256 in hex; one at a time"))]),
            counter(
                "mcpd_routes_reloads_total",
                "Route documents taken or refused.",
            )
            .labelled(&[("result", Values::OneOf(|| vec!["ok", "refused"]))]),
            histogram(
                "mcpd_routes_convergence_seconds",
                "Time from a write by way of this server to the moment when all servers had it.",
            ),
            counter(
                "mcpd_routes_unconverged_total",
                "Writes by way of this server that not all servers had within a minute.",
            ),
            gauge(
                "mcpd_routes_last_confirmed_timestamp_seconds",
                "When the store last confirmed the live route table.",
            )
            .later(),
        ],
    },
    kubernetes::GROUP,
    MetricGroup {
        title: "Other servers",
        metrics: &[
            gauge(
                "mcpd_peers",
                "Servers of the same routes, this one included, as they were when they were last asked.",
            )
            .labelled(&[("state", Values::OneOf(|| PEER_STATES.to_vec()))]),
            counter(
                "mcpd_peer_polls_total",
                "Times that a server of the same routes was asked how it is.",
            )
            .labelled(&[("result", Values::OneOf(|| vec!["ok", "failed"]))]),
            gauge(
                "mcpd_rebalance_share",
                "Connections that this server would have if all had as many; 0 before that is known.",
            ),
            gauge(
                "mcpd_rebalance_paused",
                "1 while rebalancing is on and waits, such as for a server that drains.",
            ),
            gauge(
                "mcpd_services_followed",
                "Services of Kubernetes whose endpoints are followed.",
            ),
            counter(
                "mcpd_service_watch_failures_total",
                "Lists and watches of endpoints that failed; what was known stays.",
            ),
            counter(
                "mcpd_service_endpoints_dropped_total",
                "Endpoints of Services that there was no room for.",
            ),
        ],
    },
    MetricGroup {
        title: "Principals",
        metrics: &[
            counter(
                "mcpd_principals_reloads_total",
                "Principals documents taken or refused.",
            )
            .labelled(&[("result", Values::OneOf(|| vec!["ok", "refused"]))]),
            counter(
                "mcpd_jwt_keys_reloads_total",
                "Times that the keys of JWTs were got, changed or not, or refused.",
            )
            .labelled(&[("result", Values::OneOf(|| vec!["ok", "refused"]))]),
            gauge(
                "mcpd_jwt_keys_last_confirmed_timestamp_seconds",
                "When the keys of JWTs were last got.",
            )
            .later(),
        ],
    },
    MetricGroup {
        title: "Traces and logs",
        metrics: &[
            counter(
                "mcpd_spans_exported_total",
                "Spans that an OTLP receiver took.",
            ),
            counter(
                "mcpd_spans_dropped_total",
                "Sampled spans that were not exported, by reason.",
            )
            .labelled(&[("reason", Values::OneOf(Dropped::labels))]),
            counter(
                "mcpd_log_lines_dropped_total",
                "Log lines dropped because standard error was not read.",
            ),
        ],
    },
    MetricGroup {
        title: "The process",
        metrics: &[
            gauge("mcpd_lifecycle_state", "1 for the phase the process is in.")
                .labelled(&[("state", PHASES)]),
            counter(
                "mcpd_lifecycle_transitions_total",
                "Steps of the lifecycle, by the phase they led to.",
            )
            .labelled(&[("to", PHASES)]),
            gauge("mcpd_build_info", "The version that runs; always 1.")
                .labelled(&[("version", Values::Bounded("of the program; one"))]),
            counter(
                "mcpd_runtime_busy_seconds_total",
                "Time that the threads of a runtime were not waiting.",
            )
            .labelled(&[("runtime", Values::OneOf(|| vec!["data", "work"]))]),
            counter(
                "mcpd_cgroup_cpu_periods_total",
                "Periods of the CPU quota of this container.",
            )
            .later(),
            counter(
                "mcpd_cgroup_cpu_throttled_periods_total",
                "Periods in which the quota was used up.",
            )
            .later(),
            counter(
                "mcpd_cgroup_cpu_throttled_seconds_total",
                "Time that threads had to wait because the quota was used up.",
            )
            .later(),
            counter(
                "process_cpu_seconds_total",
                "CPU time used, user and system.",
            ),
            gauge("process_open_fds", "Open file descriptors."),
            gauge("process_max_fds", "File descriptors that may be open."),
            gauge(
                "process_virtual_memory_bytes",
                "Size of the address space in use.",
            ),
            gauge(
                "process_virtual_memory_max_bytes",
                "Size that the address space may have.",
            ),
            gauge("process_resident_memory_bytes", "Memory that is resident."),
            gauge(
                "process_start_time_seconds",
                "When the process started, since 1970.",
            ),
            gauge("process_threads", "Threads of the system."),
        ],
    },
];

/// All metrics, whatever their group.
fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().flat_map(|group| group.metrics)
}

/// Tells the recorder of the `metrics` facade what everything means.
pub(super) fn describe() {
    for metric in all() {
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => describe_gauge!(metric.name, metric.help),
            // Those are rendered by hand.
            MetricKind::Histogram => {}
        }
    }
}

/// Appends the head of a family that is rendered by hand.
pub(super) fn head(name: &str, out: &mut String) {
    let found = all().find(|metric| metric.name == name);
    debug_assert!(found.is_some(), "{name} has no line in the catalogue");
    if let Some(Metric { help, kind, .. }) = found {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }
}

#[cfg(test)]
mod tests;
