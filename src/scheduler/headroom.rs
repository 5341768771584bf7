//! How many places are kept free for requests that are more urgent than those that wait.
//!
//! Without it an urgent request would find every place taken whenever there is more work than
//! capacity, and wait for one to be freed. What is kept follows from what the more urgent have really
//! used lately, so a handler without urgent traffic gives all its places to what there is.

use super::queue::LANES;
use std::time::{Duration, Instant};

/// At most one place in so many is kept.
const SHARE: usize = 5;
/// What was used is remembered for one to two of these.
const WINDOW: Duration = Duration::from_secs(1);

/// Requests that run, by priority, and the most that did at one time lately.
#[derive(Debug)]
pub(super) struct Headroom {
    running: [usize; LANES],
    peak: [usize; LANES],
    peak_before: [usize; LANES],
    since: Instant,
    /// When that is remembered as what was before.
    until: Instant,
}

impl Headroom {
    pub(super) fn new(now: Instant) -> Headroom {
        Headroom {
            running: [0; LANES],
            peak: [0; LANES],
            peak_before: [0; LANES],
            since: now,
            until: now + WINDOW,
        }
    }

    pub(super) fn started(&mut self, priority: u8, now: Instant) {
        self.pass_time(now);
        let at = usize::from(priority).min(LANES - 1);
        self.running[at] += 1;
        self.peak[at] = self.peak[at].max(self.running[at]);
    }

    pub(super) fn ended(&mut self, priority: u8, now: Instant) {
        self.pass_time(now);
        let at = usize::from(priority).min(LANES - 1);
        self.running[at] = self.running[at].saturating_sub(1);
    }

    fn pass_time(&mut self, now: Instant) {
        if now < self.until {
            return;
        }
        let passed = now.saturating_duration_since(self.since);
        let stale = passed >= WINDOW * 2;
        self.peak_before = if stale { self.running } else { self.peak };
        self.peak = self.running;
        (self.since, self.until) = (now, now + WINDOW);
    }

    /// Places of `limit` that a request of this priority has to leave free.
    pub(super) fn kept_from(&self, priority: u8, limit: usize) -> usize {
        let above = usize::from(priority) + 1..LANES;
        let used = above.map(|at| self.peak[at].max(self.peak_before[at]));
        used.sum::<usize>().min(limit / SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_kept_as_the_more_urgent_use_and_no_more_than_a_fifth() {
        let now = Instant::now();
        let mut headroom = Headroom::new(now);
        assert_eq!(headroom.kept_from(0, 100), 0);
        for _ in 0..3 {
            headroom.started(5, now);
        }
        assert_eq!(
            [0, 4, 5, 7].map(|p| headroom.kept_from(p, 100)),
            [3, 3, 0, 0]
        );
        for _ in 0..50 {
            headroom.started(7, now);
        }
        assert_eq!(
            [0, 5, 6, 7].map(|p| headroom.kept_from(p, 100)),
            [20, 20, 20, 0]
        );
        assert_eq!(headroom.kept_from(0, 4), 0);
    }

    #[test]
    fn what_nobody_uses_any_more_is_free_again_after_a_while() {
        let start = Instant::now();
        let mut headroom = Headroom::new(start);
        headroom.started(7, start);
        headroom.ended(7, start);
        let later = |windows| start + WINDOW * windows;
        headroom.started(0, later(1));
        assert_eq!(headroom.kept_from(0, 100), 1, "it may come back");
        headroom.started(0, later(3));
        assert_eq!(headroom.kept_from(0, 100), 0);
    }
}
