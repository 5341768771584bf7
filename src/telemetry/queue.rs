//! What waits for a place, for how long, and what is turned away.

use super::catalog;
use super::histogram::Histogram;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Priorities of the protocol.
const PRIORITIES: usize = 8;

/// Why a request did not get its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShedReason {
    /// The queue was full, of requests at least as urgent.
    Full,
    /// It waited, and had to make room for a more urgent one.
    Displaced,
    /// It waited until its time was over.
    Expired,
}

impl ShedReason {
    const ALL: [(ShedReason, &'static str); 3] = [
        (ShedReason::Full, "full"),
        (ShedReason::Displaced, "displaced"),
        (ShedReason::Expired, "expired"),
    ];

    pub(super) fn labels() -> Vec<&'static str> {
        Self::ALL.map(|(_, label)| label).to_vec()
    }
}

/// The counts of one priority.
#[derive(Debug, Default)]
struct Lane {
    depth: AtomicU64,
    wait: Histogram,
    shed: [AtomicU64; ShedReason::ALL.len()],
}

/// The counts of all queues of a server, by priority.
#[derive(Debug, Default)]
pub struct QueueMetrics {
    lanes: [Lane; PRIORITIES],
}

impl QueueMetrics {
    fn lane(&self, priority: u8) -> &Lane {
        &self.lanes[usize::from(priority).min(PRIORITIES - 1)]
    }

    pub(crate) fn queued(&self, priority: u8) {
        self.lane(priority).depth.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unqueued(&self, priority: u8) {
        self.lane(priority).depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request got its place after this long; zero for most.
    pub(crate) fn waited(&self, priority: u8, time: Duration) {
        self.lane(priority).wait.record(time, 1);
    }

    pub(crate) fn shed(&self, priority: u8, reason: ShedReason) {
        self.lane(priority).shed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends all series in Prometheus' text format.
    pub(super) fn render(&self, out: &mut String) {
        let lanes = || self.lanes.iter().enumerate();
        let name = "mcpd_queue_depth";
        catalog::head(name, out);
        for (priority, lane) in lanes() {
            let depth = lane.depth.load(Ordering::Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name}{{priority=\"{priority}\"}} {depth}");
        }
        let name = "mcpd_queue_wait_seconds";
        catalog::head(name, out);
        for (priority, lane) in lanes() {
            let labels = format!("priority=\"{priority}\"");
            lane.wait.render(name, &labels, out);
        }
        let name = "mcpd_shed_total";
        catalog::head(name, out);
        for (priority, lane) in lanes() {
            for (reason, label) in ShedReason::ALL {
                let count = lane.shed[reason as usize].load(Ordering::Relaxed);
                let labels = format!("priority=\"{priority}\",reason=\"{label}\"");
                let _ = writeln!(out, "{name}{{{labels}}} {count}");
            }
        }
    }
}
