//! A bucket that fills up with time, in one number that many threads share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Instead of a level and a clock it holds when it would be full again, in nanoseconds since `start`.
#[derive(Debug)]
pub(super) struct Bucket {
    start: Instant,
    full_at: AtomicU64,
}

impl Bucket {
    pub(super) fn new() -> Bucket {
        Bucket {
            start: Instant::now(),
            full_at: AtomicU64::new(0),
        }
    }

    /// It is full.
    pub(super) fn fill(&self) {
        self.full_at.store(0, Ordering::Relaxed);
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        let seconds = since.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(since.subsec_nanos().into())
    }

    /// Takes one of `per_second` and at most `burst`.
    ///
    /// # Errors
    /// How long it takes until there is one.
    #[inline]
    pub(super) fn take(&self, per_second: u32, burst: u32, now: Instant) -> Result<(), Duration> {
        let now = self.nanos(now);
        let each = 1_000_000_000 / u64::from(per_second.max(1));
        let depth = each.saturating_mul(u64::from(burst.max(1)));
        let next = |full_at: u64| {
            let next = full_at.max(now).saturating_add(each);
            (next - now <= depth).then_some(next)
        };
        let bucket = &self.full_at;
        let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(drop).map_err(|full_at| {
            let next = full_at.max(now).saturating_add(each);
            Duration::from_nanos((next - now).saturating_sub(depth))
        })
    }

    /// Whether there is anything in it, at `per_second` and at most `burst`.
    ///
    /// # Errors
    /// How long it takes until there is.
    #[inline]
    pub(super) fn has_some(
        &self,
        per_second: u64,
        burst: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        let now = self.nanos(now);
        let owed = self.full_at.load(Ordering::Relaxed).saturating_sub(now);
        let depth = time_of(burst, per_second);
        match owed.checked_sub(depth) {
            None => Ok(()),
            // At the very edge it is empty still.
            Some(over) => Err(Duration::from_nanos(over.max(1))),
        }
    }

    /// Takes `amount`, be it more than there is: then it takes the longer until there is some again.
    #[inline]
    pub(super) fn charge(&self, amount: u64, per_second: u64, now: Instant) {
        let now = self.nanos(now);
        let cost = time_of(amount, per_second);
        let next = |full_at: u64| Some(full_at.max(now).saturating_add(cost));
        // It always gives another number, so it cannot fail.
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// How long `amount` takes to flow in, in nanoseconds.
#[inline]
fn time_of(amount: u64, per_second: u64) -> u64 {
    let per_second = per_second.max(1);
    // Wide numbers take ten times as long to divide, and are for amounts beyond 18 GB.
    if let Some(amount) = amount.checked_mul(1_000_000_000) {
        return amount / per_second;
    }
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(per_second);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_waits_for_its_turn() {
        let (bucket, now) = (Bucket::new(), Instant::now());
        assert!(bucket.take(10, 2, now).is_ok() && bucket.take(10, 2, now).is_ok());
        assert_eq!(bucket.take(10, 2, now), Err(Duration::from_millis(100)));
        assert!(bucket.take(10, 2, now + Duration::from_millis(100)).is_ok());
    }

    /// Otherwise one that is larger than the burst could never be sent.
    #[test]
    fn a_large_amount_passes_and_is_paid_for_afterwards() {
        let (bucket, now) = (Bucket::new(), Instant::now());
        let some = |at: u64| bucket.has_some(1000, 500, now + Duration::from_millis(at));
        assert!(some(0).is_ok());
        bucket.charge(1500, 1000, now);
        assert_eq!(some(0), Err(Duration::from_millis(1000)));
        assert_eq!(some(999), Err(Duration::from_millis(1)));
        assert!(some(1001).is_ok());
        // Numbers from the edge of what there is.
        bucket.charge(u64::MAX, 1, now);
        assert!(bucket.has_some(u64::MAX, u64::MAX, now).is_err());
    }
}
