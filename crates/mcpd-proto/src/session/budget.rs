//! A token bucket that takes `now`.

use std::time::{Duration, Instant};

/// Allows `per_second` events in the long run and as many at once (the generic cell rate algorithm:
/// one instant instead of a count and a clock).
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// When the bucket would be full again.
    full_at: Instant,
}

impl Budget {
    pub(super) const fn new(now: Instant) -> Budget {
        Budget { full_at: now }
    }

    /// Takes one; `false` if there is none left.
    pub(super) fn take(&mut self, now: Instant, per_second: u32) -> bool {
        let each = Duration::from_secs(1) / per_second.max(1);
        let next = self.full_at.max(now) + each;
        let allowed = next <= now + Duration::from_secs(1);
        if allowed {
            self.full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worth_at_once_then_the_rate() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let burst = (0..100).filter(|_| budget.take(start, 10)).count();
        assert_eq!(burst, 10);
        let later = start + Duration::from_millis(350);
        assert_eq!((0..100).filter(|_| budget.take(later, 10)).count(), 3);
    }
}
