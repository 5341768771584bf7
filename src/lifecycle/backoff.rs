//! The pause between two attempts to recover from a fault.

use std::time::Duration;

/// Exponential backoff with full jitter.
///
/// The bound of the pause starts at `first` and doubles with every failure up
/// to `max`; the pause itself is anywhere between zero and the bound, so that
/// a fleet that failed together does not come back together.
///
/// ```
/// use std::time::Duration;
/// use mcpd::lifecycle::Backoff;
///
/// let mut backoff = Backoff::default();
/// // The largest random number gives the bound itself.
/// assert_eq!(backoff.next_delay(u64::MAX), Duration::from_secs(1));
/// assert_eq!(backoff.next_delay(u64::MAX), Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    max: Duration,
    bound: Duration,
}

impl Default for Backoff {
    /// One second, doubling up to thirty.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl Backoff {
    /// A backoff whose bound starts at `first` and doubles up to `max`.
    /// A `first` above `max` counts as `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        let bound = first.min(max);
        Self { max, bound }
    }

    /// How long to wait after one more failure.
    ///
    /// `random` is any uniformly distributed number; the same numbers give the
    /// same pauses, which is what makes this testable.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let nanos = self.bound.as_nanos();
        self.bound = self.bound.saturating_mul(2).min(self.max);
        // Scales without a modulo, hence without its bias; 2^64 - 1 maps to
        // the bound itself and 0 to no pause at all.
        let scaled = match nanos.checked_mul(u128::from(random)) {
            Some(product) => product / u128::from(u64::MAX),
            // Only for bounds beyond 584 years, where no jitter is missed.
            None => nanos,
        };
        u64::try_from(scaled).map_or(Duration::MAX, Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..8)
            .map(|_| backoff.next_delay(u64::MAX).as_secs())
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn jitter_covers_the_whole_range_and_is_repeatable() {
        let pause = |random| Backoff::default().next_delay(random);
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(u64::MAX / 2).as_millis(), 499);
        assert_eq!(pause(u64::MAX / 4 * 3), pause(u64::MAX / 4 * 3));
        assert!(pause(u64::MAX / 4) < pause(u64::MAX / 2));
    }

    #[test]
    fn absurd_settings_neither_overflow_nor_exceed_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(5));
        assert_eq!(backoff.next_delay(u64::MAX), Duration::from_secs(5));
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.next_delay(u64::MAX);
        assert_eq!(backoff.next_delay(u64::MAX), Duration::MAX);
    }
}
