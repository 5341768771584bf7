//! How many connections a process may try to open in a second.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Attempts a second of a whole process, unless told otherwise: a thousand clients that lost their
/// server are back within ten seconds, and the server that comes up does not go down again.
const PER_SECOND: u32 = 100;
/// The part of a second whose attempts may come at once: a few connections need not wait for each
/// other, and a thousand are spread.
const BURST: u32 = 10;

static PROCESS: LazyLock<ConnectLimit> = LazyLock::new(|| ConnectLimit::per_second(PER_SECOND));

/// A bound on attempts to connect in a second, shared by all clients that are given it.
///
/// All clients of a process share [`ConnectLimit::process`] (100 a second) unless they are given
/// another.
///
/// ```
/// use mcpd_client::{Client, ConnectLimit};
/// let gentle = ConnectLimit::per_second(5);
/// let builder = Client::builder("localhost:8080").connect_limit(gentle.clone());
/// # drop(builder);
/// ```
#[derive(Debug, Clone)]
pub struct ConnectLimit(Arc<Mutex<Schedule>>);

impl ConnectLimit {
    /// So many attempts a second, at least one.
    pub fn per_second(attempts: u32) -> ConnectLimit {
        ConnectLimit(Arc::new(Mutex::new(Schedule::new(attempts))))
    }

    /// The bound of this process.
    pub fn process() -> ConnectLimit {
        PROCESS.clone()
    }

    /// Changes the bound, at least one, for everyone who shares it.
    pub fn set(&self, attempts: u32) {
        let mut schedule = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        schedule.every = every(attempts);
    }

    /// Takes the next place, and gives the time until it has come.
    pub(crate) fn reserve(&self, now: Instant) -> Duration {
        let mut schedule = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        schedule.reserve(now)
    }
}

fn every(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

/// The generic cell rate algorithm: one instant instead of a count and a clock.
#[derive(Debug)]
struct Schedule {
    every: Duration,
    /// When the next attempt would be due if all came evenly.
    next: Option<Instant>,
}

impl Schedule {
    fn new(per_second: u32) -> Schedule {
        Schedule {
            every: every(per_second),
            next: None,
        }
    }

    fn reserve(&mut self, now: Instant) -> Duration {
        let slack = Duration::from_secs(1) / BURST;
        let due = self.next.map_or(now, |next| next.max(now));
        self.next = Some(due + self.every);
        // Attempts may be ahead of their even times by the burst, less the attempt itself.
        let slack = slack.saturating_sub(self.every);
        due.saturating_duration_since(now).saturating_sub(slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_at_once_are_spread_evenly() {
        let start = Instant::now();
        let limit = ConnectLimit::per_second(100);
        let mut waits: Vec<Duration> = (0..1000).map(|_| limit.reserve(start)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 10);
        waits.sort();
        for second in 0..9 {
            let window = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let count = waits.iter().filter(|&wait| window.contains(wait)).count();
            assert!((100..=110).contains(&count), "{count} in second {second}");
        }
        assert!(waits[999] <= Duration::from_secs(10));
        // After a quiet time a few may come at once again, and no more.
        let later = start + Duration::from_secs(3600);
        let free = (0..100).filter(|_| limit.reserve(later).is_zero()).count();
        assert_eq!(free, 10);
    }

    #[test]
    fn a_slow_limit_lets_one_through_at_a_time() {
        let start = Instant::now();
        let limit = ConnectLimit::per_second(0);
        let waits: Vec<u64> = (0..3).map(|_| limit.reserve(start).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2]);
        limit.set(1000);
        assert_eq!(
            limit.reserve(start + Duration::from_secs(3)),
            Duration::ZERO
        );
    }
}
