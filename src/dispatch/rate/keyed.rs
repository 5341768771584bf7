//! A bounded number of buckets, one for each client.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks: threads that look for different clients seldom meet.
const SHARDS: usize = 16;

/// Buckets behind each lock: 16,384 for a route, of two numbers each. Clients come and go, and the table
/// must not grow with those that have gone.
const PER_SHARD: usize = 1024;

/// What a bucket is known by where there is no room for one of its own.
const OVERFLOW: u64 = 0;

/// When each client's bucket will be empty again.
///
/// A client that is over a full table takes the place of one whose bucket is empty, as forgetting that
/// loses nothing. Where all of them hold something, it shares a bucket with others that came too late.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    seed: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// By the hash of a client's key, which is seeded: nobody can look for one that is another's.
type Shard = HashMap<u64, u64, RandomState>;

impl Keyed {
    fn find(&self, key: &str) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.seed.hash_one(key).max(OVERFLOW + 1);
        let shard = &self.shards[hash as usize % SHARDS];
        (hash, shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the bucket of this client will be empty.
    pub(super) fn get(&self, key: &str, now: u64) -> u64 {
        let (hash, mut shard) = self.find(key);
        let hash = place(hash, &mut shard, now);
        shard.get(&hash).copied().unwrap_or(0)
    }

    /// Changes when it will be empty to what `next` says, if it says anything. Gives what it was, as `Ok`
    /// if it was changed.
    pub(super) fn update(
        &self,
        key: &str,
        now: u64,
        next: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        let (hash, mut shard) = self.find(key);
        let hash = place(hash, &mut shard, now);
        let before = shard.get(&hash).copied().unwrap_or(0);
        match next(before) {
            Some(after) => {
                shard.insert(hash, after);
                Ok(before)
            }
            None => Err(before),
        }
    }
}

/// The bucket of a client: its own, or the shared one where there is no room.
fn place(hash: u64, shard: &mut Shard, now: u64) -> u64 {
    if shard.len() < PER_SHARD || shard.contains_key(&hash) {
        return hash;
    }
    shard.retain(|_, empty_at| *empty_at > now);
    match shard.len() < PER_SHARD {
        true => hash,
        false => OVERFLOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets a client's bucket.
    fn put(keyed: &Keyed, key: &str, now: u64, empty_at: u64) -> u64 {
        keyed.update(key, now, |_| Some(empty_at)).unwrap()
    }

    fn held(keyed: &Keyed) -> usize {
        let shards = keyed.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn each_has_its_own() {
        let keyed = Keyed::default();
        put(&keyed, "a", 0, 7);
        assert_eq!((keyed.get("a", 5), keyed.get("b", 5)), (7, 0));
        assert_eq!(keyed.update("a", 0, |_| None), Err(7));
        assert_eq!(put(&keyed, "a", 0, 9), 7);
        assert_eq!((keyed.get("a", 5), held(&keyed)), (9, 1));
    }

    #[test]
    fn a_full_table_forgets_who_holds_nothing_and_has_the_others_share() {
        let keyed = Keyed::default();
        let most = SHARDS * (PER_SHARD + 1);
        for n in 0..100_000 {
            put(&keyed, &format!("old-{n}"), 0, 10);
        }
        assert!(held(&keyed) <= most, "{}", held(&keyed));
        // All of those hold something until 10: who comes now shares.
        put(&keyed, "late", 5, 20);
        assert_eq!(keyed.get("late", 5), 20);
        let mut others = (0..1000).map(|n| keyed.get(&format!("other-{n}"), 5));
        assert!(others.any(|empty_at| empty_at == 20));
        // By 11 they are empty, and there is room.
        put(&keyed, "new", 11, 30);
        assert_eq!(keyed.get("new", 11), 30);
        for n in 0..1000 {
            put(&keyed, &format!("young-{n}"), 11, 40);
        }
        assert_eq!(keyed.get("new", 11), 30);
        assert!(held(&keyed) <= most);
    }
}
