//! Turns by weight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Deals out turns so that of as many in a row as the weights add up to, each place gets exactly its
/// weight, spread evenly. Any number of threads take turns without a lock.
///
/// The n-th turn falls on a point of a circle as long as the weights together, and each place owns an
/// arc of it. One step goes on by about the golden ratio of the circle, which spreads any share evenly
/// and, as it shares no factor with the length, visits every point once a round. Each round begins
/// elsewhere: clients that send in step would otherwise always hit the same place.
#[derive(Debug)]
pub(super) struct Rotation {
    turn: AtomicU64,
    /// Where the arc of each place ends.
    ends: Box<[u32]>,
    length: u64,
    step: u64,
}

impl Rotation {
    /// At least one of the weights is not 0; otherwise every turn falls to the first place.
    fn new(weights: &[u32]) -> Rotation {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let mut end = 0u32;
        let ends = weights.iter().map(|weight| {
            end = end.saturating_add(weight / divisor);
            end
        });
        let ends: Box<[u32]> = ends.collect();
        let length = u64::from(end.max(1));
        Rotation {
            turn: AtomicU64::new(0),
            ends,
            length,
            step: step(length),
        }
    }

    /// The one that was there before if it deals out alike, so that a change of other routes does not
    /// begin the round anew.
    pub(super) fn keeping(before: Option<&Arc<Rotation>>, weights: &[u32]) -> Arc<Rotation> {
        let fresh = Rotation::new(weights);
        let same = before.filter(|before| before.ends == fresh.ends);
        same.map_or_else(|| Arc::new(fresh), Arc::clone)
    }

    /// Whose turn it is.
    #[inline]
    pub(super) fn next(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (round, at) = (turn / self.length, turn % self.length);
        let point = (at * self.step + mixed(round) % self.length) % self.length;
        self.place(point)
    }

    /// Whose this key is: always the same place for it, on every server, and when weights change with
    /// their sum the same, only as many keys move as have to.
    #[inline]
    pub(super) fn of(&self, key: &[u8]) -> usize {
        let scaled = u128::from(hash(key)) * u128::from(self.length);
        self.place(u64::try_from(scaled >> 64).unwrap_or(0))
    }

    fn place(&self, point: u64) -> usize {
        let owner = self.ends.iter().position(|end| point < u64::from(*end));
        owner.unwrap_or(0)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        b => gcd(b, a % b),
    }
}

/// The number next to the golden ratio of `length` that shares no factor with it.
fn step(length: u64) -> u64 {
    let ideal = (length as f64 * 0.618_033_988_75) as u64;
    let coprime = |n: &u64| {
        let (mut a, mut b) = (length, *n);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    (ideal..=length).find(coprime).unwrap_or(1)
}

/// FNV-1a, the same for all servers and versions, with its bits mixed.
fn hash(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed(fnv)
}

/// Spreads a number over all bits (the end of MurmurHash3).
fn mixed(mut n: u64) -> u64 {
    n = (n ^ (n >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    n = (n ^ (n >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ (n >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(weights: &[u32], count: usize) -> Vec<usize> {
        let rotation = Rotation::new(weights);
        let mut taken = vec![0; weights.len()];
        (0..count).for_each(|_| taken[rotation.next()] += 1);
        taken
    }

    #[test]
    fn shares_are_exact_over_a_round_and_nothing_is_nothing() {
        assert_eq!(turns(&[90, 10], 10), [9, 1]);
        assert_eq!(turns(&[90, 10], 100_000), [90_000, 10_000]);
        assert_eq!(turns(&[0, 100], 1000), [0, 1000]);
        assert_eq!(turns(&[1, 0, 0], 1000), [1000, 0, 0]);
        assert_eq!(turns(&[9_999, 1], 20_000), [19_998, 2]);
        assert_eq!(turns(&[5], 3), [3]);
    }

    #[test]
    fn a_share_is_spread_and_does_not_keep_step_with_its_clients() {
        let rotation = Rotation::new(&[80, 20]);
        let taken: Vec<usize> = (0..10_000).map(|_| rotation.next()).collect();
        // Never far from its share, wherever one begins to count.
        for window in taken.windows(50) {
            let small = window.iter().filter(|place| **place == 1).count();
            assert!((8..=12).contains(&small), "{small} of 50");
        }
        // Five clients in turn: none of them has all of it.
        for client in 0..5 {
            let own = taken.iter().skip(client).step_by(5);
            let small = own.filter(|place| **place == 1).count();
            assert!((300..=500).contains(&small), "{small} of 2000");
        }
    }

    #[test]
    fn a_key_stays_where_it_is_and_few_move_with_the_weights() {
        let keys: Vec<String> = (0..10_000).map(|n| format!("client-{n}")).collect();
        let places = |weights: &[u32]| {
            let rotation = Rotation::new(weights);
            let places = keys.iter().map(|key| rotation.of(key.as_bytes()));
            places.collect::<Vec<usize>>()
        };
        let before = places(&[90, 10]);
        assert_eq!(before, places(&[9, 1]));
        let small = before.iter().filter(|place| **place == 1).count();
        assert!((900..=1100).contains(&small), "{small} of 10000");
        let after = places(&[80, 20]);
        // Whoever had the small share keeps it.
        let lost = before.iter().zip(&after).filter(|pair| *pair == (&1, &0));
        assert_eq!(lost.count(), 0);
    }

    #[test]
    fn the_hash_of_a_key_never_changes() {
        // Servers of two versions would send a client to two handlers.
        assert_eq!(hash(b"client-1"), 0xf93b_d2c1_6ac6_882d);
        assert_eq!(Rotation::new(&[1; 16]).of(b"client-1"), 15);
    }

    proptest! {
        #[test]
        fn every_round_is_exact(weights in prop::collection::vec(0u32..40, 1..6)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let sum: u32 = weights.iter().sum();
            let taken = turns(&weights, sum as usize * 3);
            let due: Vec<usize> = weights.iter().map(|weight| *weight as usize * 3).collect();
            prop_assert_eq!(taken, due);
        }
    }
}
