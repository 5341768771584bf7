//! What connections count.

use super::batch::FrameCounts;
use super::catalog;
use super::histogram::{Age, Histogram};
use super::routes::RouteCatalog;
use super::trace::Tracer;
use mcpd_proto::{Class, ErrorCode, FrameError, GoAwayReason, Kind};
use metrics::{Counter, Gauge, counter, gauge};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Kinds of frames, and one place for ignored ones.
pub(crate) const KINDS: usize = Kind::ALL.len() + 1;

/// Frames and bytes of one direction. Atomics of our own, because a counter of the facade takes twice
/// as long; they are handed to it when the page is rendered.
#[derive(Debug)]
struct Frames {
    direction: &'static str,
    kinds: [AtomicU64; KINDS],
    bytes: AtomicU64,
}

impl Frames {
    fn new(direction: &'static str) -> Frames {
        let kinds = [const { AtomicU64::new(0) }; _];
        let frames = Frames {
            direction,
            kinds,
            bytes: AtomicU64::new(0),
        };
        frames.publish();
        frames
    }

    /// Adds what was summed up, and leaves zeros.
    #[inline]
    fn add(&self, bytes: usize, frames: &mut FrameCounts) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        frames.drain(|at, count| {
            self.kinds[at].fetch_add(u64::from(count), Ordering::Relaxed);
        });
    }

    fn publish(&self) {
        let direction = self.direction;
        for (at, total) in self.kinds.iter().enumerate() {
            counter!("mcpd_frames_total", "direction" => direction, "type" => kind_label(at))
                .absolute(total.load(Ordering::Relaxed));
        }
        counter!("mcpd_frame_bytes_total", "direction" => direction)
            .absolute(self.bytes.load(Ordering::Relaxed));
    }
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed it, everything being answered.
    Eof,
    /// The client, or the network, broke it.
    Reset,
    /// No PROXY header where one is required.
    NoProxyHeader,
    /// No TLS handshake where one is required.
    NoHandshake,
    /// An ERROR with this code ended it.
    Code(ErrorCode),
}

impl CloseReason {
    /// Every label there is.
    pub(super) fn labels() -> Vec<&'static str> {
        let of_connections = |code: &&ErrorCode| code.class() == Class::Connection;
        let codes = ErrorCode::ALL.iter().filter(of_connections);
        let codes = codes.map(|code| CloseReason::Code(*code).label());
        let own = [
            CloseReason::Eof,
            CloseReason::Reset,
            CloseReason::NoProxyHeader,
            CloseReason::NoHandshake,
        ];
        own.map(CloseReason::label)
            .into_iter()
            .chain(codes)
            .collect()
    }

    fn label(self) -> &'static str {
        match self {
            CloseReason::Eof => "EOF",
            CloseReason::Reset => "RESET",
            CloseReason::NoProxyHeader => "NO_PROXY_HEADER",
            CloseReason::NoHandshake => "NO_HANDSHAKE",
            CloseReason::Code(code) => code.name().unwrap_or("OTHER"),
        }
    }
}

/// Why a connection was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// As many are open as may be.
    Limit,
    /// Too many came within a second.
    Rate,
    /// It was gone before it could be set up.
    Gone,
    /// As many TLS handshakes are under way as may be.
    Handshakes,
    /// Too many TLS handshakes began within a second.
    HandshakeRate,
}

impl Rejected {
    const ALL: [(Rejected, &str); 5] = [
        (Rejected::Limit, "limit"),
        (Rejected::Rate, "rate"),
        (Rejected::Gone, "gone"),
        (Rejected::Handshakes, "handshakes"),
        (Rejected::HandshakeRate, "handshake_rate"),
    ];

    /// Every label there is.
    pub(super) fn labels() -> Vec<&'static str> {
        Rejected::ALL.map(|(_, label)| label).to_vec()
    }
}

/// The kinds that `mcpd_frame_errors_total` tells apart.
pub(super) const FRAME_ERRORS: [&str; 7] = [
    "version",
    "too_large",
    "header",
    "metadata",
    "layout",
    "late",
    "truncated",
];

fn frame_error_kind(error: &FrameError) -> &'static str {
    match error {
        FrameError::Version(_) => "version",
        FrameError::TooLarge { .. } => "too_large",
        FrameError::Priority(_)
        | FrameError::Flags(_)
        | FrameError::UnknownKind(_)
        | FrameError::Direction(_)
        | FrameError::Seq { .. } => "header",
        FrameError::MetaTooLarge(_)
        | FrameError::MetaValue(_)
        | FrameError::MetaRepeated(_)
        | FrameError::TooManyHeaders
        | FrameError::MetaCritical(_)
        | FrameError::MetaMissing { .. } => "metadata",
        _ => "layout",
    }
}

/// The counters of all connections.
pub struct ConnMetrics {
    /// Requests by route.
    pub routes: Arc<RouteCatalog>,
    pub(crate) tracer: Tracer,
    /// Whether frames and requests are counted.
    pub(super) counts: bool,
    open: Gauge,
    in_flight: Arc<AtomicU64>,
    opened: Counter,
    permitted: Counter,
    denied: Counter,
    frames_in: Frames,
    frames_out: Frames,
    slow_consumers: Counter,
    heartbeat_misses: Counter,
    heartbeat_rtt: Histogram,
    age: Histogram<Age>,
}

impl std::fmt::Debug for ConnMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnMetrics")
    }
}

pub(super) fn kind_label(at: usize) -> &'static str {
    Kind::ALL.get(at).map_or("ignored", |kind| kind.name())
}

pub(super) fn kind_at(kind: Option<Kind>) -> usize {
    kind.map_or(KINDS - 1, |kind| kind as usize - 1)
}

fn closed_counter(reason: &'static str) -> Counter {
    counter!("mcpd_connections_closed_total", "reason" => reason)
}

fn frame_errors(kind: &'static str) -> Counter {
    counter!("mcpd_frame_errors_total", "kind" => kind)
}

fn authorizations(decision: &'static str) -> Counter {
    let counter = counter!("mcpd_authorizations_total", "decision" => decision);
    counter.absolute(0);
    counter
}

impl ConnMetrics {
    /// Registers every series at 0 with the current recorder of the `metrics` facade.
    pub fn new(routes: Arc<RouteCatalog>) -> ConnMetrics {
        catalog::describe();
        for reason in Rejected::labels() {
            counter!("mcpd_connections_rejected_total", "reason" => reason).absolute(0);
        }
        for reason in GoAwayReason::ALL {
            counter!("mcpd_goaways_total", "reason" => reason.name()).absolute(0);
        }
        for kind in FRAME_ERRORS {
            frame_errors(kind).absolute(0);
        }
        for reason in CloseReason::labels() {
            closed_counter(reason).absolute(0);
        }
        super::auth::register();
        counter!("mcpd_accept_errors_total").absolute(0);
        counter!("mcpd_backpressure_total").absolute(0);
        ConnMetrics {
            routes,
            tracer: Tracer::default(),
            counts: true,
            open: gauge!("mcpd_connections"),
            in_flight: Arc::default(),
            opened: counter!("mcpd_connections_opened_total"),
            permitted: authorizations("allowed"),
            denied: authorizations("denied"),
            frames_in: Frames::new("in"),
            frames_out: Frames::new("out"),
            slow_consumers: counter!("mcpd_slow_consumers_total"),
            heartbeat_misses: counter!("mcpd_heartbeat_misses_total"),
            heartbeat_rtt: Histogram::default(),
            age: Histogram::default(),
        }
    }

    /// Whether frames and requests are counted, which they are unless one wants to know what that
    /// costs. To be called before connections are served.
    pub fn set_counting(&mut self, counts: bool) {
        self.counts = counts;
    }

    /// So many requests were allowed to those who sent them.
    #[inline]
    pub(crate) fn permitted(&self, requests: u32) {
        self.permitted.increment(requests.into());
    }

    /// A request was not allowed to its sender.
    pub(crate) fn denied(&self) {
        self.denied.increment(1);
    }

    pub(crate) fn opened(&self) {
        self.opened.increment(1);
        self.open.increment(1.0);
    }

    pub(crate) fn closed(&self, reason: CloseReason, age: Duration) {
        self.open.decrement(1.0);
        self.age.record(age, 1);
        closed_counter(reason.label()).increment(1);
    }

    pub(crate) fn failed(&self, error: &io::Error) {
        tracing::warn!(%error, "an accepted connection cannot be served");
        self.closed(CloseReason::Reset, Duration::ZERO);
    }

    pub(crate) fn no_proxy_header(&self) {
        self.closed(CloseReason::NoProxyHeader, Duration::ZERO);
    }

    pub(crate) fn no_handshake(&self) {
        self.closed(CloseReason::NoHandshake, Duration::ZERO);
    }

    pub(crate) fn rejected(&self, why: Rejected) {
        let reason = Rejected::ALL
            .iter()
            .find(|(w, _)| *w == why)
            .map_or("other", |(_, r)| r);
        counter!("mcpd_connections_rejected_total", "reason" => reason).increment(1);
    }

    pub(crate) fn accept_error(&self) {
        counter!("mcpd_accept_errors_total").increment(1);
    }

    pub(crate) fn goaway(&self, reason: GoAwayReason) {
        counter!("mcpd_goaways_total", "reason" => reason.name()).increment(1);
    }

    pub(crate) fn backpressure(&self) {
        counter!("mcpd_backpressure_total").increment(1);
    }

    pub(crate) fn frame_error(&self, error: &FrameError) {
        frame_errors(frame_error_kind(error)).increment(1);
    }

    pub(crate) fn frame_timeout(&self) {
        frame_errors("late").increment(1);
    }

    /// The input ended within a frame.
    pub(crate) fn frame_truncated(&self) {
        frame_errors("truncated").increment(1);
    }

    pub(crate) fn slow_consumer(&self) {
        self.slow_consumers.increment(1);
    }

    pub(crate) fn heartbeat_miss(&self) {
        self.heartbeat_misses.increment(1);
    }

    pub(crate) fn heartbeat_rtt(&self, time: Duration) {
        self.heartbeat_rtt.record(time, 1);
    }

    /// One read's bytes and frames, by kind.
    #[inline]
    pub(super) fn received(&self, bytes: usize, frames: &mut FrameCounts) {
        self.frames_in.add(bytes, frames);
    }

    /// One write's bytes, and the frames that were queued since the last one, by kind.
    #[inline]
    pub(crate) fn sent(&self, bytes: usize, frames: &mut FrameCounts) {
        if !self.counts {
            return;
        }
        self.frames_out.add(bytes, frames);
    }

    /// Counts the requests of one connection that are answered later.
    pub(crate) fn in_flight_of_one(&self) -> InFlight {
        InFlight {
            all: Arc::clone(&self.in_flight),
            counted: 0,
        }
    }

    /// Requests that are being worked on.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Hands the counts that are kept here to the facade.
    pub(crate) fn publish(&self) {
        self.frames_in.publish();
        self.frames_out.publish();
        self.tracer.publish();
        gauge!("mcpd_requests_in_flight").set(self.in_flight() as f64);
    }

    /// Appends the histograms in Prometheus' text format.
    pub(crate) fn render(&self, out: &mut String) {
        let name = "mcpd_heartbeat_rtt_seconds";
        catalog::head(name, out);
        self.heartbeat_rtt.render(name, "", out);
        let name = "mcpd_connection_age_seconds";
        catalog::head(name, out);
        self.age.render(name, "", out);
    }
}

/// Requests of one connection that are in flight, counted among all; none is when it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    all: Arc<AtomicU64>,
    counted: u64,
}

impl InFlight {
    /// So many are: to be told at the end of each turn of the connection.
    #[inline]
    pub(crate) fn set(&mut self, now: usize) {
        let (now, before) = (now as u64, std::mem::replace(&mut self.counted, now as u64));
        if now != before {
            // Modulo 2^64, so that it may be less.
            self.all
                .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set(0);
    }
}
