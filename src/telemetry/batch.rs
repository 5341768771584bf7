//! What one read brought, counted in one go: the shared counters cost more than the frames.

use super::conn::{ConnMetrics, KINDS, kind_at};
use super::routes::RouteStats;
use mcpd_proto::{ErrorCode, RawFrame};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Different routes and codes of one batch that are summed before they are flushed.
const RUNS: usize = 4;

/// Frames by kind, as they are summed up before the shared counters are touched.
#[derive(Debug, Default)]
pub(crate) struct FrameCounts {
    counts: [u32; KINDS],
    /// Bit n is set when `counts[n]` is not zero: mostly one is.
    touched: u16,
}

impl FrameCounts {
    /// Counts a frame of the kind at this place.
    #[inline]
    pub(crate) fn add(&mut self, at: usize) {
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
            self.touched |= 1 << at;
        }
    }

    /// Hands out every count that is not zero, and leaves zeros.
    #[inline]
    pub(super) fn drain(&mut self, mut to: impl FnMut(usize, u32)) {
        while self.touched != 0 {
            let at = self.touched.trailing_zeros() as usize;
            to(at, std::mem::take(&mut self.counts[at]));
            self.touched &= self.touched - 1;
        }
    }
}

/// Requests of one route, or of none, that were answered with one code.
type AnswerRun<'t> = (Option<&'t Arc<RouteStats>>, Option<ErrorCode>, u32);

/// What one read brought, summed up so that the shared counters are touched once.
#[derive(Debug)]
pub(crate) struct Batch<'t> {
    began: Instant,
    bytes: usize,
    frames: FrameCounts,
    counts: bool,
    runs: [AnswerRun<'t>; RUNS],
    used: usize,
    /// Requests that their sender was allowed, where somebody asks.
    permitted: u32,
    /// Whether every frame gets a log line.
    verbose: bool,
    /// Whether a request of it has a span of its own, and needs no late one.
    sampled: bool,
}

impl<'t> Batch<'t> {
    /// A read of `bytes` at `now`.
    #[inline]
    pub(crate) fn new(now: Instant, bytes: usize, metrics: &ConnMetrics) -> Batch<'t> {
        Batch {
            began: now,
            bytes,
            frames: FrameCounts::default(),
            counts: metrics.counts,
            runs: [(None, None, 0); RUNS],
            used: 0,
            permitted: 0,
            verbose: metrics.tracer.is_verbose(),
            sampled: false,
        }
    }

    /// Whether every frame gets a log line.
    #[inline]
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// A request of it is sampled.
    #[inline]
    pub(crate) fn sampled(&mut self) {
        self.sampled = true;
    }

    /// A request of it was allowed to its sender.
    #[inline]
    pub(crate) fn permitted(&mut self) {
        self.permitted += 1;
    }

    /// When it was read.
    #[inline]
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    #[inline]
    pub(crate) fn frame(&mut self, raw: &RawFrame<'_>) {
        self.frames.add(kind_at(raw.header.kind));
    }

    /// A request of this batch was refused; without a route it counts as `_none`.
    #[cold]
    pub(crate) fn refused(
        &mut self,
        stats: Option<&'t Arc<RouteStats>>,
        code: Option<ErrorCode>,
        metrics: &ConnMetrics,
    ) {
        if code == Some(ErrorCode::PERMISSION_DENIED) {
            metrics.denied();
        }
        self.answered(stats, code, metrics);
    }

    /// A request of this batch was answered by its route.
    #[inline(always)]
    pub(crate) fn answered(
        &mut self,
        stats: Option<&'t Arc<RouteStats>>,
        code: Option<ErrorCode>,
        metrics: &ConnMetrics,
    ) {
        // A route has its counts at one place for as long as the batch has its table.
        let address = |stats: Option<&Arc<RouteStats>>| stats.map(std::ptr::from_ref);
        for run in &mut self.runs[..self.used] {
            if address(run.0) == address(stats) && run.1 == code {
                run.2 += 1;
                return;
            }
        }
        if self.used == RUNS {
            self.flush_runs(metrics);
        }
        self.runs[self.used] = (stats, code, 1);
        self.used += 1;
    }

    /// Adds everything up. One look at the clock for all requests that were answered in place.
    #[inline]
    pub(crate) fn finish(mut self, metrics: &ConnMetrics) {
        if self.used > 0 {
            self.flush_runs(metrics);
        }
        if self.counts {
            metrics.received(self.bytes, &mut self.frames);
        }
        if self.permitted > 0 {
            metrics.permitted(self.permitted);
        }
    }

    fn flush_runs(&mut self, metrics: &ConnMetrics) {
        let time = self.began.elapsed();
        let slow = metrics.tracer.is_slow(time) && !self.sampled;
        for (stats, code, n) in &self.runs[..self.used] {
            let stats = stats.unwrap_or_else(|| metrics.routes.none());
            if self.counts {
                stats.record(*code, time, u64::from(*n));
            }
            if slow {
                metrics
                    .tracer
                    .slow(stats, *code, self.began, self.began + time);
            }
        }
        self.used = 0;
    }
}
/// Answers that come together and are alike, counted in one go likewise.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    alike: Option<(Arc<RouteStats>, Option<ErrorCode>, Duration)>,
    n: u64,
}

impl Tally {
    /// Counts an answer with this code that took this time.
    #[inline]
    pub(crate) fn add(&mut self, stats: &Arc<RouteStats>, code: Option<ErrorCode>, time: Duration) {
        if let Some((last, of, took)) = &self.alike
            && Arc::ptr_eq(last, stats)
            && (*of, *took) == (code, time)
        {
            self.n += 1;
            return;
        }
        self.flush();
        (self.alike, self.n) = (Some((Arc::clone(stats), code, time)), 1);
    }

    fn flush(&mut self) {
        if let Some((stats, code, time)) = self.alike.take() {
            stats.record(code, time, self.n);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.flush();
    }
}
