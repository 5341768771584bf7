//! Which requests are unanswered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Spreads 16-bit numbers over a table. The table is bounded by MAX_IN_FLIGHT, so a peer that picks
/// its numbers cannot make it slow.
#[derive(Debug, Default, Clone, Copy)]
pub struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u16(&mut self, seq: u16) {
        self.0 = u64::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A table of unanswered requests by `seq_id`. Owns no memory while there is none.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    entries: HashMap<u16, T, BuildHasherDefault<SeqHasher>>,
}

/// Entries whose table is kept when the last one goes; a larger one is given back, so that a burst
/// does not cost memory for the rest of a connection's life.
const KEPT: usize = 64;

impl<T> InFlight<T> {
    pub(super) fn new() -> InFlight<T> {
        InFlight {
            entries: HashMap::default(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn contains(&self, seq: u16) -> bool {
        !self.entries.is_empty() && self.entries.contains_key(&seq)
    }

    pub(super) fn insert(&mut self, seq: u16, entry: T) {
        self.entries.insert(seq, entry);
    }

    pub(super) fn remove(&mut self, seq: u16) -> Option<T> {
        let removed = self.entries.remove(&seq);
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = HashMap::default();
        }
        removed
    }

    pub(super) fn release(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > 0 {
            self.entries = HashMap::default();
        }
    }
}
