//! Random numbers for pauses and choices, and message ids.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers good enough to spread load and pauses (splitmix64); many may draw at once.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    /// Seeded by the system, so that no two processes make the same choices.
    pub(crate) fn new() -> Result<Random> {
        Ok(Random::seeded(u64::from_ne_bytes(bytes()?)))
    }

    pub(crate) fn seeded(seed: u64) -> Random {
        Random(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when there is none.
    pub(crate) fn below(&self, n: usize) -> usize {
        let scaled = (u128::from(self.next()) * n as u128) >> 64;
        // Below `n`, which is a usize.
        scaled as usize
    }

    /// Anywhere from nothing to `most`.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let nanos = most.as_nanos().min(u128::from(u64::MAX));
        let scaled = (u128::from(self.next()) * nanos) >> 64;
        // Below 2^64.
        Duration::from_nanos(scaled as u64)
    }

    /// What a server asked to wait, bounded, and up to as much again.
    pub(crate) fn retry_after(&self, asked: Duration, most: Duration) -> Duration {
        let asked = asked.min(most);
        asked + self.up_to(asked)
    }
}

fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(problem) => {
            Err(Error::invalid("the system has no random numbers").with_source(Arc::new(problem)))
        }
    }
}

/// A UUIDv7: the time in milliseconds in front, so that ids of one time lie together in a server's
/// memory of them, and 74 random bits.
pub(crate) fn message_id() -> Result<[u8; 16]> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis() as u64);
    Ok(uuid_v7(ms, bytes()?))
}

fn uuid_v7(ms: u64, random: [u8; 10]) -> [u8; 16] {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id[6..].copy_from_slice(&random);
    id[6] = 0x70 | id[6] & 0x0f;
    id[8] = 0x80 | id[8] & 0x3f;
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_pauses_stay_in_their_bounds_and_use_all_of_them() {
        let random = Random::seeded(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|n| (100..300).contains(n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        let most = Duration::from_secs(4);
        let pauses: Vec<Duration> = (0..1000).map(|_| random.up_to(most)).collect();
        assert!(pauses.iter().all(|pause| *pause <= most));
        let mean = pauses.iter().sum::<Duration>() / 1000;
        assert!((1800..2200).contains(&mean.as_millis()), "{mean:?}");
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
        assert!(random.up_to(Duration::MAX) <= Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn what_a_server_asks_is_bounded_and_jittered_upwards() {
        let random = Random::seeded(2);
        let (second, cap) = (Duration::from_secs(1), Duration::from_secs(30));
        for _ in 0..100 {
            assert!((second..=2 * second).contains(&random.retry_after(second, cap)));
            let days = Duration::from_millis(u32::MAX.into());
            assert!((cap..=2 * cap).contains(&random.retry_after(days, cap)));
        }
    }

    #[test]
    fn a_message_id_is_a_uuid_of_version_7() {
        let id = uuid_v7(0x0123_4567_89ab, [0xff; 10]);
        let expected = [
            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x7f, 0xff, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff,
        ];
        assert_eq!(id, expected);
        assert_eq!(uuid_v7(0, [0; 10])[6..9], [0x70, 0, 0x80]);
        let (a, b) = (message_id().unwrap(), message_id().unwrap());
        assert_ne!(a, b);
        assert!(a[..6] <= b[..6]);
    }
}
