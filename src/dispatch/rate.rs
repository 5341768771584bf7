//! Rate limits that any number of threads take from, without a lock where all clients share one.

mod keyed;

use crate::message::Call;
use crate::router::document::{RateAlgorithm, RateLimitSpec, RatePer};
use keyed::Keyed;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A bucket of requests, or one for each client. The whole state of one is a number: when it will be
/// empty again (the generic cell rate algorithm).
///
/// As a token bucket it lets a burst run at once and then one each interval; as a leaky bucket it has
/// a burst wait for their intervals. What is over the burst is refused by either.
#[derive(Debug)]
pub(super) struct Bucket {
    start: Instant,
    state: State,
    each_ns: u64,
    depth_ns: u64,
    leaky: bool,
}

#[derive(Debug)]
enum State {
    One(AtomicU64),
    Each(RatePer, Box<Keyed>),
}

/// Whose bucket it is. Clients that do not say who they are share one.
fn key<'c>(per: RatePer, call: &Call<'c>) -> &'c str {
    let key = match per {
        RatePer::Route => None,
        RatePer::ClientId => call.peer.client_id.as_deref(),
        RatePer::Principal => call.peer.identity.as_ref().map(|identity| identity.name()),
    };
    key.unwrap_or_default()
}

impl Bucket {
    pub(super) fn new(spec: &RateLimitSpec, start: Instant) -> Bucket {
        let each_ns = 1_000_000_000 / u64::from(spec.per_second.max(1));
        let depth_ns = each_ns.saturating_mul(u64::from(spec.burst.max(1)));
        Bucket {
            start,
            state: match spec.per {
                RatePer::Route => State::One(AtomicU64::new(0)),
                per => State::Each(per, Box::default()),
            },
            each_ns,
            depth_ns,
            leaky: spec.algorithm == RateAlgorithm::LeakyBucket,
        }
    }

    pub(super) fn is_leaky(&self) -> bool {
        self.leaky
    }

    /// Takes a place for a request that may wait for less than `patience`: how long it has to. `Err` is
    /// how long it takes until there is a place.
    #[inline]
    pub(super) fn take(&self, call: &Call<'_>, patience: Duration) -> Result<Duration, Duration> {
        self.take_as(|per| key(per, call), call.now(), patience)
    }

    #[inline]
    fn take_as<'k>(
        &self,
        key: impl FnOnce(RatePer) -> &'k str,
        now: Instant,
        patience: Duration,
    ) -> Result<Duration, Duration> {
        let now = self.since_start(now);
        let next = |empty_at| self.next(empty_at, now, patience);
        let taken = match &self.state {
            State::One(empty_at) => {
                empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            }
            State::Each(per, keyed) => keyed.update(key(*per), now, next),
        };
        match taken {
            Ok(empty_at) if self.leaky => Ok(Duration::from_nanos(empty_at.saturating_sub(now))),
            Ok(_) => Ok(Duration::ZERO),
            Err(empty_at) => Err(over(empty_at, now, self.each_ns, self.depth(patience))),
        }
    }

    /// How deep the bucket is for who waits for less than `patience`.
    #[inline]
    fn depth(&self, patience: Duration) -> u64 {
        match self.leaky {
            true => self
                .depth_ns
                .min(self.each_ns.saturating_add(nanos(patience))),
            false => self.depth_ns,
        }
    }

    /// When it is empty again with one more in it; `None` if there is no place.
    #[inline]
    fn next(&self, empty_at: u64, now: u64, patience: Duration) -> Option<u64> {
        let next = empty_at.max(now).saturating_add(self.each_ns);
        (next - now <= self.depth(patience)).then_some(next)
    }

    /// How long it takes until there is a place, if there is none now. Takes nothing.
    pub(super) fn is_full(&self, call: &Call<'_>) -> Option<Duration> {
        self.is_full_for(|per| key(per, call), call.now())
    }

    fn is_full_for<'k>(
        &self,
        key: impl FnOnce(RatePer) -> &'k str,
        now: Instant,
    ) -> Option<Duration> {
        let now = self.since_start(now);
        let empty_at = match &self.state {
            State::One(empty_at) => empty_at.load(Ordering::Relaxed),
            State::Each(per, keyed) => keyed.get(key(*per), now),
        };
        let over = over(empty_at, now, self.each_ns, self.depth_ns);
        (!over.is_zero()).then_some(over)
    }

    fn since_start(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }
}

/// How long until one more fits into a bucket of this depth.
fn over(empty_at: u64, now: u64, each: u64, depth: u64) -> Duration {
    let next = empty_at.max(now).saturating_add(each);
    Duration::from_nanos((next - now).saturating_sub(depth))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn bucket(algorithm: RateAlgorithm, start: Instant) -> Bucket {
        let spec = RateLimitSpec {
            per_second: 10,
            burst: 3,
            algorithm,
            per: RatePer::default(),
        };
        Bucket::new(&spec, start)
    }

    fn take(bucket: &Bucket, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        bucket.take_as(|_| "a", now, patience)
    }

    fn is_full(bucket: &Bucket, now: Instant) -> Option<Duration> {
        bucket.is_full_for(|_| "a", now)
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn tokens_a_burst_then_the_rate_then_the_time_to_wait() {
        let start = Instant::now();
        let bucket = bucket(RateAlgorithm::TokenBucket, start);
        for _ in 0..3 {
            assert_eq!(take(&bucket, start, LONG), Ok(Duration::ZERO));
        }
        assert_eq!(take(&bucket, start, LONG), Err(Duration::from_millis(100)));
        assert_eq!(take(&bucket, after(start, 100), LONG), Ok(Duration::ZERO));
        assert_eq!(
            take(&bucket, after(start, 150), LONG),
            Err(Duration::from_millis(50))
        );
        // A long rest fills the bucket, no further.
        let later = after(start, 60_000);
        assert_eq!(
            (0..10)
                .filter(|_| take(&bucket, later, LONG).is_ok())
                .count(),
            3
        );
    }

    #[test]
    fn a_leaky_bucket_has_a_burst_wait_and_refuses_the_rest() {
        let start = Instant::now();
        let bucket = bucket(RateAlgorithm::LeakyBucket, start);
        let waits = [0, 1, 2].map(|_| take(&bucket, start, LONG));
        assert_eq!(waits, [0, 100, 200].map(|ms| Ok(Duration::from_millis(ms))));
        assert_eq!(is_full(&bucket, start), Some(Duration::from_millis(100)));
        assert_eq!(take(&bucket, start, LONG), Err(Duration::from_millis(100)));
        // Nor does one wait in vain.
        let patience = Duration::from_millis(250);
        assert_eq!(
            take(&bucket, after(start, 20), patience),
            Err(Duration::from_millis(80))
        );
        // One has leaked out by now: there is room behind the other two.
        assert_eq!(is_full(&bucket, after(start, 100)), None);
        assert_eq!(
            take(&bucket, after(start, 100), LONG),
            Ok(Duration::from_millis(200))
        );
        assert_eq!(
            take(&bucket, after(start, 60_000), LONG),
            Ok(Duration::ZERO)
        );
    }
}
