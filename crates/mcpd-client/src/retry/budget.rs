//! How much may be sent again: a server in trouble must not get more to do for being in trouble.

use std::time::{Duration, Instant};

/// Seconds that are looked back upon. Long enough that a moment with many failures, as when a server
/// drains, is paid by the quiet before it; short enough that an outage is noticed.
const WINDOW: u64 = 10;

/// How much may be sent again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetSettings {
    /// Retries for each request, 0–1 and beyond.
    pub ratio: f64,
    /// Retries a second that are allowed whatever the number of requests.
    pub per_second: u32,
}

/// Counts requests and retries of the last ten seconds, and says whether there may be one more. It reads
/// no clock; whoever shares one puts it behind a lock.
///
/// ```
/// use mcpd_client::{Budget, BudgetSettings};
/// use std::time::Instant;
///
/// let now = Instant::now();
/// let mut budget = Budget::new(BudgetSettings { ratio: 0.2, per_second: 0 }, now);
/// (0..10).for_each(|_| budget.request(now));
/// for _ in 0..2 {
///     assert!(budget.take(now));
///     budget.sent(now);
/// }
/// assert!(!budget.take(now), "two for ten requests");
/// ```
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    start: Instant,
    seconds: [Second; WINDOW as usize],
    /// The second that something was counted in last, and when it began and ends.
    last: (u64, Instant, Instant),
    /// Retries that wait for their pause to be over: a server that makes all clients wait must not
    /// find them all let loose at once.
    waiting: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    number: u64,
    requests: u64,
    retries: u64,
}

impl Budget {
    /// Nothing has been counted yet.
    pub fn new(settings: BudgetSettings, now: Instant) -> Budget {
        Budget {
            settings,
            start: now,
            seconds: [Second::default(); WINDOW as usize],
            last: (0, now, now),
            waiting: 0,
        }
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        let (mut number, from, until) = self.last;
        if now < from || now >= until {
            number = self.number(now);
            let from = self.start + Duration::from_secs(number - WINDOW);
            self.last = (number, from, from + Duration::from_secs(1));
        }
        // Below WINDOW.
        let second = &mut self.seconds[(number % WINDOW) as usize];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second
    }

    fn number(&self, now: Instant) -> u64 {
        // From WINDOW on, so that untouched seconds are out of it.
        now.saturating_duration_since(self.start).as_secs() + WINDOW
    }

    /// A request begins.
    pub fn request(&mut self, now: Instant) {
        self.second(now).requests += 1;
    }

    /// Takes leave for one retry, which then waits until [`Budget::sent`] or [`Budget::dropped`].
    pub fn take(&mut self, now: Instant) -> bool {
        let oldest = self.number(now) - WINDOW + 1;
        let recent = self.seconds.iter().filter(|s| s.number >= oldest);
        let (requests, retries) = recent.fold((0, 0), |(a, b), s| (a + s.requests, b + s.retries));
        // Truncated: a fraction of a retry is none.
        let share = (requests as f64 * self.settings.ratio) as u64;
        let floor = u64::from(self.settings.per_second) * WINDOW;
        let allowed = retries + self.waiting < share.saturating_add(floor);
        self.waiting += u64::from(allowed);
        allowed
    }

    /// A retry that had leave goes out.
    pub fn sent(&mut self, now: Instant) {
        self.dropped();
        self.second(now).retries += 1;
    }

    /// A retry that had leave was given up.
    pub fn dropped(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BudgetSettings = BudgetSettings {
        ratio: 0.2,
        per_second: 10,
    };

    const WINDOW_TIME: Duration = Duration::from_secs(WINDOW);

    fn spend(budget: &mut Budget, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| {
                let allowed = budget.take(now);
                if allowed {
                    budget.sent(now);
                }
                allowed
            })
            .count()
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(SETTINGS, start);
        assert_eq!(spend(&mut budget, start), 100);
        let later = start + Duration::from_secs(3);
        (0..1000).for_each(|_| budget.request(later));
        assert_eq!(spend(&mut budget, later), 200);
        assert_eq!(spend(&mut budget, later + Duration::from_secs(6)), 0);
        // The first hundred are forgotten now, the others and the requests are not.
        let later = start + WINDOW_TIME;
        assert_eq!(spend(&mut budget, later), 100);
        assert_eq!(spend(&mut budget, later + 2 * WINDOW_TIME), 100);
    }

    #[test]
    fn what_waits_counts_however_long_it_waits() {
        let start = Instant::now();
        let mut budget = Budget::new(SETTINGS, start);
        assert_eq!((0..1000).filter(|_| budget.take(start)).count(), 100);
        let later = start + Duration::from_secs(3600);
        assert!(!budget.take(later));
        budget.dropped();
        assert!(budget.take(later));
        assert!(!budget.take(later));
    }

    #[test]
    fn no_budget_allows_nothing() {
        let start = Instant::now();
        let settings = BudgetSettings {
            ratio: 0.0,
            per_second: 0,
        };
        let mut budget = Budget::new(settings, start);
        budget.request(start);
        assert!(!budget.take(start));
    }
}
