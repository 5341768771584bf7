//! How long to wait before trying again.

use crate::random::Random;
use std::time::Duration;

/// Exponential backoff with full jitter: the bound doubles with each failure, and the pause is
/// anywhere below it, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first pause.
    pub first: Duration,
    /// The greatest bound.
    pub cap: Duration,
}

impl Backoff {
    /// The longest pause after so many failures; the first one for none.
    pub fn bound(&self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.cap)
    }

    pub(crate) fn pause(&self, failures: u32, random: &Random) -> Duration {
        random.up_to(self.bound(failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap_however_often_it_fails() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            cap: Duration::from_secs(5),
        };
        let ms = |n| backoff.bound(n).as_millis();
        assert_eq!([0, 1, 2, 5, 6].map(ms), [100, 200, 400, 3200, 5000]);
        for failures in [31, 32, 63, 64, u32::MAX] {
            assert_eq!(ms(failures), 5000);
        }
        let random = Random::seeded(3);
        for n in 0..50 {
            assert!(backoff.pause(n, &random) <= backoff.bound(n));
        }
    }

    #[test]
    fn a_first_bound_above_the_cap_is_the_cap() {
        let (first, cap) = (Duration::from_secs(9), Duration::from_secs(1));
        assert_eq!(Backoff { first, cap }.bound(0), cap);
    }
}
