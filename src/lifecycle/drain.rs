//! The timetable of an orderly stop. Pure: every question brings its `now`.

use std::time::{Duration, Instant};

/// How long each stage of a drain lasts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainWindows {
    /// Serve as before while the endpoint is being removed.
    pub delay: Duration,
    /// Send GOAWAY to every connection, evenly over this time.
    pub spread: Duration,
    /// Finish what is in flight; refuse new requests with DRAINING.
    pub finish: Duration,
    /// Flush telemetry and close.
    pub flush: Duration,
}

/// A stage of the drain. Later stages compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Everything is served as before; the listener is open.
    Delay,
    /// GOAWAYs go out; everything is still served.
    Spread,
    /// New requests are refused; what is in flight finishes.
    Finish,
    /// The listener is closed; telemetry is flushed.
    Flush,
    /// Time is up: exit.
    Done,
}

impl Stage {
    /// The stage's stable name for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Spread => "spread",
            Self::Finish => "finish",
            Self::Flush => "flush",
            Self::Done => "done",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// When each stage of one drain begins and ends.
///
/// ```
/// use std::time::{Duration, Instant};
/// use mcpd::lifecycle::{DrainPlan, DrainWindows, Stage};
///
/// let seconds = Duration::from_secs;
/// let windows = DrainWindows {
///     delay: seconds(10),
///     spread: seconds(25),
///     finish: seconds(10),
///     flush: seconds(5),
/// };
/// let start = Instant::now();
/// let mut plan = DrainPlan::new(windows, start);
/// assert_eq!(plan.stage(start), Stage::Delay);
/// assert_eq!(plan.stage(start + seconds(12)), Stage::Spread);
/// // Ctrl-C during the drain hastens it.
/// assert_eq!(plan.hasten(start + seconds(12)), Stage::Finish);
/// assert_eq!(plan.deadline(Stage::Finish), start + seconds(22));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    windows: [Duration; 4],
    /// The ends of Delay, Spread, Finish and Flush; never decreasing.
    ends: [Instant; 4],
}

impl DrainPlan {
    /// A drain that begins at `start` with its first stage (SIGTERM).
    pub fn new(windows: DrainWindows, start: Instant) -> Self {
        let mut plan = Self {
            windows: [windows.delay, windows.spread, windows.finish, windows.flush],
            ends: [start; 4],
        };
        plan.lay_out(Stage::Delay, start);
        plan
    }

    /// A drain that begins with [`Stage::Finish`]: a person at a terminal
    /// pressed Ctrl-C, and nobody's endpoint list has to be waited for.
    pub fn interactive(windows: DrainWindows, start: Instant) -> Self {
        let mut plan = Self::new(windows, start);
        plan.enter(Stage::Finish, start);
        plan
    }

    /// The stage at `now`. A stage whose window is zero never shows.
    pub fn stage(&self, now: Instant) -> Stage {
        const STAGES: [Stage; 4] = [Stage::Delay, Stage::Spread, Stage::Finish, Stage::Flush];
        STAGES
            .into_iter()
            .zip(self.ends)
            .find(|(_, end)| now < *end)
            .map_or(Stage::Done, |(stage, _)| stage)
    }

    /// When `stage` ends at the latest; for [`Stage::Done`] when it begins.
    pub fn deadline(&self, stage: Stage) -> Instant {
        self.ends[stage.index().min(3)]
    }

    /// When the stage of `now` ends; `None` once the drain is done.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        match self.stage(now) {
            Stage::Done => None,
            stage => Some(self.deadline(stage)),
        }
    }

    /// Hurries the drain on and returns the stage that it is in afterwards:
    /// Delay and Spread go to Finish, Finish goes to Flush; Flush and Done
    /// stay, because what is left by then is short and bounded.
    pub fn hasten(&mut self, now: Instant) -> Stage {
        match self.stage(now) {
            Stage::Delay | Stage::Spread => self.enter(Stage::Finish, now),
            Stage::Finish => self.enter(Stage::Flush, now),
            Stage::Flush | Stage::Done => {}
        }
        self.stage(now)
    }

    /// When connection number `index` of `count` gets its GOAWAY: evenly over
    /// the spread window, the first at its beginning. A hastened spread ends
    /// early, and so do the times. An `index` out of range is due at the end.
    pub fn goaway_at(&self, index: usize, count: usize) -> Instant {
        let [begin, end, ..] = self.ends;
        if index >= count {
            return end;
        }
        let window = self.windows[Stage::Spread.index()];
        begin
            .checked_add(fraction(window, index, count))
            .map_or(end, |due| due.min(end))
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        for end in &mut self.ends[..stage.index()] {
            *end = (*end).min(now);
        }
        self.lay_out(stage, now);
    }

    /// Sets the ends of `stage` and all later ones, as if `stage` began `now`.
    fn lay_out(&mut self, stage: Stage, now: Instant) {
        let mut end = now;
        for index in stage.index()..self.ends.len() {
            // A window too long for the clock ends at once rather than panic;
            // the configuration's limits keep this from happening.
            end = end.checked_add(self.windows[index]).unwrap_or(end);
            self.ends[index] = end;
        }
    }
}

/// `window * index / count` without overflow or rounding up.
fn fraction(window: Duration, index: usize, count: usize) -> Duration {
    let nanos = window.as_nanos().saturating_mul(index as u128) / (count as u128);
    u64::try_from(nanos).map_or(window, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: DrainWindows = DrainWindows {
        delay: Duration::from_secs(10),
        spread: Duration::from_secs(25),
        finish: Duration::from_secs(10),
        flush: Duration::from_secs(5),
    };

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_stages_follow_the_windows_to_the_second() {
        let start = Instant::now();
        let plan = DrainPlan::new(WINDOWS, start);
        let stages: Vec<(u64, Stage)> = [0, 9, 10, 34, 35, 44, 45, 49, 50, 1_000]
            .into_iter()
            .map(|second| (second, plan.stage(at(start, second))))
            .collect();
        assert_eq!(
            stages,
            [
                (0, Stage::Delay),
                (9, Stage::Delay),
                (10, Stage::Spread),
                (34, Stage::Spread),
                (35, Stage::Finish),
                (44, Stage::Finish),
                (45, Stage::Flush),
                (49, Stage::Flush),
                (50, Stage::Done),
                (1_000, Stage::Done),
            ]
        );
        assert_eq!(plan.deadline(Stage::Done), at(start, 50));
    }

    #[test]
    fn each_stage_names_its_deadline_and_done_has_none() {
        let start = Instant::now();
        let plan = DrainPlan::new(WINDOWS, start);
        let deadline = |second| plan.next_change(at(start, second));
        assert_eq!(deadline(3), Some(at(start, 10)));
        assert_eq!(deadline(12), Some(at(start, 35)));
        assert_eq!(deadline(40), Some(at(start, 45)));
        assert_eq!(deadline(47), Some(at(start, 50)));
        assert_eq!(deadline(50), None);
    }

    #[test]
    fn hastening_jumps_to_finish_then_to_flush_and_no_further() {
        let start = Instant::now();
        let mut plan = DrainPlan::new(WINDOWS, start);
        assert_eq!(plan.hasten(at(start, 3)), Stage::Finish);
        assert_eq!(plan.deadline(Stage::Delay), at(start, 3));
        assert_eq!(plan.deadline(Stage::Finish), at(start, 13));
        assert_eq!(plan.hasten(at(start, 4)), Stage::Flush);
        assert_eq!(plan.deadline(Stage::Flush), at(start, 9));
        assert_eq!(plan.hasten(at(start, 5)), Stage::Flush);
        assert_eq!(plan.deadline(Stage::Flush), at(start, 9), "no second grace");
        assert_eq!(plan.hasten(at(start, 9)), Stage::Done);
    }

    #[test]
    fn hastening_never_makes_a_drain_longer() {
        let start = Instant::now();
        let whole = DrainPlan::new(WINDOWS, start);
        for first in 0..60 {
            for second in first..60 {
                let mut plan = whole.clone();
                plan.hasten(at(start, first));
                plan.hasten(at(start, second));
                assert!(plan.deadline(Stage::Done) <= whole.deadline(Stage::Done));
                assert!(plan.ends.is_sorted());
            }
        }
    }

    #[test]
    fn a_drain_from_the_terminal_starts_with_finish() {
        let start = Instant::now();
        let mut plan = DrainPlan::interactive(WINDOWS, start);
        assert_eq!(plan.stage(start), Stage::Finish);
        assert_eq!(plan.deadline(Stage::Finish), at(start, 10));
        assert_eq!(plan.goaway_at(0, 3), start);
        assert_eq!(plan.goaway_at(2, 3), start, "everybody is told at once");
        assert_eq!(plan.hasten(at(start, 1)), Stage::Flush);
    }

    #[test]
    fn goaways_are_even_over_the_spread() {
        let start = Instant::now();
        let plan = DrainPlan::new(WINDOWS, start);
        let due: Vec<Instant> = (0..5).map(|index| plan.goaway_at(index, 5)).collect();
        let even: Vec<Instant> = [10, 15, 20, 25, 30].map(|s| at(start, s)).to_vec();
        assert_eq!(due, even);
        assert_eq!(plan.goaway_at(5, 5), at(start, 35));
        assert_eq!(plan.goaway_at(0, 0), at(start, 35));
        let last = plan.goaway_at(usize::MAX - 1, usize::MAX);
        assert!(last <= at(start, 35) && last > at(start, 34));
    }

    #[test]
    fn a_hastened_spread_tells_everybody_at_once() {
        let start = Instant::now();
        let mut plan = DrainPlan::new(WINDOWS, start);
        plan.hasten(at(start, 20));
        assert_eq!(plan.goaway_at(1, 5), at(start, 15), "already sent");
        assert_eq!(plan.goaway_at(4, 5), at(start, 20), "due now");
    }

    #[test]
    fn zero_windows_are_skipped() {
        let start = Instant::now();
        let zero = Duration::ZERO;
        let windows = DrainWindows {
            delay: zero,
            spread: zero,
            ..WINDOWS
        };
        assert_eq!(DrainPlan::new(windows, start).stage(start), Stage::Finish);
        let none = DrainWindows {
            delay: zero,
            spread: zero,
            finish: zero,
            flush: zero,
        };
        assert_eq!(DrainPlan::new(none, start).stage(start), Stage::Done);
    }

    #[test]
    fn windows_beyond_the_clock_do_not_panic() {
        let start = Instant::now();
        let endless = DrainWindows {
            spread: Duration::MAX,
            ..WINDOWS
        };
        let plan = DrainPlan::new(endless, start);
        assert!(plan.ends.is_sorted());
        assert!(plan.goaway_at(1, 2) <= plan.deadline(Stage::Spread));
    }
}
