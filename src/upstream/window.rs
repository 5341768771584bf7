//! How an endpoint has fared lately.

use std::time::{Duration, Instant};

/// Parts of a window; the oldest is forgotten at a time.
const PARTS: u64 = 10;

/// Counts successes and failures of a while. It reads no clock.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    /// Nanoseconds: a window is no longer than these reach, centuries.
    part: u64,
    parts: [Part; PARTS as usize],
    /// The last part that something was added to, and when it began and ends: mostly the next is added there, too.
    last: (u64, Instant, Instant),
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    number: u64,
    all: u64,
    failed: u64,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) all: u64,
    pub(super) failed: u64,
}

impl Counts {
    /// Whether there are at least `least`, and at least `percent` of them failed.
    pub(super) fn failed_percent(self, percent: u8, least: u32) -> bool {
        self.all >= u64::from(least.max(1)) && self.failed * 100 >= self.all * u64::from(percent)
    }
}

/// Divided for each attempt, which 128 bits would make a call to a library.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Window {
        Window {
            start: now,
            // A window of no length would have its parts divide by zero.
            part: nanos(length / PARTS as u32).max(nanos(Duration::from_millis(1))),
            parts: [Part::default(); PARTS as usize],
            last: (0, now, now),
        }
    }

    fn number(&self, now: Instant) -> u64 {
        let parts = nanos(now.saturating_duration_since(self.start)) / self.part;
        // From PARTS on, so that untouched parts are out of the window.
        parts + PARTS
    }

    pub(super) fn add(&mut self, failed: bool, now: Instant) {
        let number = self.number_again(now);
        // Below PARTS.
        let part = &mut self.parts[(number % PARTS) as usize];
        if part.number != number {
            *part = Part {
                number,
                ..Part::default()
            };
        }
        part.all += 1;
        part.failed += u64::from(failed);
    }

    fn number_again(&mut self, now: Instant) -> u64 {
        let (number, from, until) = self.last;
        if from <= now && now < until {
            return number;
        }
        let number = self.number(now);
        let from = self.start + Duration::from_nanos(self.part.saturating_mul(number - PARTS));
        self.last = (number, from, from + Duration::from_nanos(self.part));
        number
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
        let oldest = self.number(now) - PARTS + 1;
        let recent = self.parts.iter().filter(|part| part.number >= oldest);
        recent.fold(Counts::default(), |sum, part| Counts {
            all: sum.all + part.all,
            failed: sum.failed + part.failed,
        })
    }

    pub(super) fn clear(&mut self) {
        self.parts = [Part::default(); PARTS as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), start);
        (0..4).for_each(|n| window.add(n == 0, start));
        assert_eq!(window.counts(start), Counts { all: 4, failed: 1 });
        let later = start + Duration::from_secs(9);
        window.add(true, later);
        assert_eq!(window.counts(later), Counts { all: 5, failed: 2 });
        let later = start + Duration::from_secs(10);
        assert_eq!(window.counts(later), Counts { all: 1, failed: 1 });
        window.clear();
        assert_eq!(window.counts(later), Counts::default());
    }

    #[test]
    fn a_percentage_is_of_enough() {
        let counts = Counts {
            all: 20,
            failed: 10,
        };
        assert!(counts.failed_percent(50, 20));
        assert!(!counts.failed_percent(51, 20));
        assert!(!counts.failed_percent(50, 21));
        assert!(!Counts::default().failed_percent(0, 0));
    }
}
