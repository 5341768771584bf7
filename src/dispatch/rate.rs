//! A token bucket that any number of threads take from without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tokens come back evenly; a full bucket holds `burst`. The whole state is one number: when the
/// bucket will be full again (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct TokenBucket {
    start: Instant,
    full_at: AtomicU64,
    each_ns: u64,
    depth_ns: u64,
}

impl TokenBucket {
    pub(super) fn new(per_second: u32, burst: u32, start: Instant) -> TokenBucket {
        let each_ns = 1_000_000_000 / u64::from(per_second.max(1));
        let depth_ns = each_ns.saturating_mul(u64::from(burst.max(1)));
        TokenBucket {
            start,
            full_at: AtomicU64::new(0),
            each_ns,
            depth_ns,
        }
    }

    /// Takes a token, or says how long it takes until there is one.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.start).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        let next = |full_at: u64| {
            let next = full_at.max(now).saturating_add(self.each_ns);
            (next - now <= self.depth_ns).then_some(next)
        };
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(|_| ()).map_err(|full_at| {
            let over = full_at.max(now) + self.each_ns - now - self.depth_ns;
            Duration::from_nanos(over)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_then_the_time_to_wait() {
        let start = Instant::now();
        let bucket = TokenBucket::new(10, 3, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(start + Duration::from_millis(100)), Ok(()));
        assert_eq!(
            bucket.take(start + Duration::from_millis(150)),
            Err(Duration::from_millis(50))
        );
        // A long rest fills the bucket, no further.
        let later = start + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| bucket.take(later).is_ok()).count(), 3);
    }
}
