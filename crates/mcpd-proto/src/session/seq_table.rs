//! A table by `seq_id`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Spreads 16-bit numbers over a table. The table is bounded by MAX_IN_FLIGHT, so a peer that picks
/// its numbers cannot make it slow.
#[derive(Debug, Default, Clone, Copy)]
struct SeqHasher(u64);

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

/// Places of the smallest table.
const LEAST: usize = 64;
/// Places of the largest table that is kept when the last entry goes: enough for as many requests as a
/// server takes by default. A larger one is given back.
const KEPT: usize = 512;
/// As many as there are numbers.
const MOST: usize = 1 << 16;

/// What belongs to a request, by its `seq_id`.
///
/// Whoever chooses numbers mostly takes them one after the other, so those in flight lie close together and
/// nearly always have a place of their own in a small table by their low bits: a look-up is a comparison. One that
/// stays while the others run around it keeps its place; whoever comes to it goes to a map instead, and so do the
/// numbers of a peer that picks them in another way.
/// Owns no memory before the first entry, and never more than for four times its entries at the
/// worst moment since it was empty.
///
/// ```
/// use mcpd_proto::session::SeqTable;
/// let mut table = SeqTable::default();
/// table.insert(7, "seven");
/// table.insert(7 + 64, "the same place");
/// assert_eq!(table.remove(7), Some("seven"));
/// assert_eq!(table.get_mut(71), Some(&mut "the same place"));
/// assert!(!table.contains(7));
/// ```
#[derive(Debug)]
pub struct SeqTable<T> {
    /// A power of two of them, or none.
    places: Vec<Option<(u16, T)>>,
    /// Entries in `places`.
    placed: usize,
    others: HashMap<u16, T, BuildHasherDefault<SeqHasher>>,
}

impl<T> Default for SeqTable<T> {
    fn default() -> SeqTable<T> {
        SeqTable {
            places: Vec::new(),
            placed: 0,
            others: HashMap::default(),
        }
    }
}

impl<T> SeqTable<T> {
    /// Entries in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.placed + self.others.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn place(&self, seq: u16) -> usize {
        // Without places this is any number, and there is nothing to be found at it.
        usize::from(seq) & self.places.len().wrapping_sub(1)
    }

    /// Whether there is an entry of this number.
    #[inline]
    pub fn contains(&self, seq: u16) -> bool {
        match self.places.get(self.place(seq)) {
            Some(Some((found, _))) if *found == seq => true,
            _ => !self.others.is_empty() && self.others.contains_key(&seq),
        }
    }

    /// The entry of this number.
    #[inline]
    pub fn get_mut(&mut self, seq: u16) -> Option<&mut T> {
        let place = self.place(seq);
        match self.places.get_mut(place) {
            Some(Some((found, entry))) if *found == seq => Some(entry),
            _ => self.others.get_mut(&seq),
        }
    }

    /// Places that there is memory for.
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let placed = self.places.iter().flatten();
        let placed = placed.map(|(seq, entry)| (*seq, entry));
        placed.chain(self.others.iter().map(|(seq, entry)| (*seq, entry)))
    }

    /// Adds the entry of a number that has none; replaces it otherwise.
    #[inline]
    pub fn insert(&mut self, seq: u16, entry: T) {
        if self.len() * 2 >= self.places.len() && self.places.len() < MOST {
            self.grow();
        }
        self.put(seq, entry);
    }

    #[inline]
    fn put(&mut self, seq: u16, entry: T) {
        let place = self.place(seq);
        match self.places.get_mut(place) {
            Some(Some((found, old))) if *found == seq => *old = entry,
            Some(free @ None) if self.others.is_empty() || !self.others.contains_key(&seq) => {
                *free = Some((seq, entry));
                self.placed += 1;
            }
            _ => {
                self.others.insert(seq, entry);
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.places.len() * 2).clamp(LEAST, MOST);
        let old = std::mem::take(self);
        self.places.resize_with(size, || None);
        for (seq, entry) in old {
            self.put(seq, entry);
        }
    }

    /// Takes the entry of this number.
    #[inline]
    pub fn remove(&mut self, seq: u16) -> Option<T> {
        let place = self.place(seq);
        let removed = match self.places.get_mut(place) {
            Some(here @ Some(_)) if here.as_ref().is_some_and(|(found, _)| *found == seq) => {
                self.placed -= 1;
                here.take().map(|(_, entry)| entry)
            }
            _ => self.others.remove(&seq),
        };
        if self.is_empty() && self.places.len() > KEPT {
            *self = SeqTable::default();
        }
        removed
    }

    /// All entries, to be changed, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut T)> {
        let placed = self.places.iter_mut().flatten();
        let placed = placed.map(|(seq, entry)| (*seq, entry));
        let others = self.others.iter_mut();
        placed.chain(others.map(|(seq, entry)| (*seq, entry)))
    }
}

impl<T> IntoIterator for SeqTable<T> {
    type Item = (u16, T);
    type IntoIter = std::iter::Chain<
        std::iter::Flatten<std::vec::IntoIter<Option<(u16, T)>>>,
        std::collections::hash_map::IntoIter<u16, T>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.places.into_iter().flatten().chain(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(ops in prop::collection::vec((0_u8..4, 0_u16..400, any::<u32>()), 0..600)) {
            let (mut table, mut map) = (SeqTable::default(), HashMap::new());
            for (op, seq, value) in ops {
                // Numbers that share places at every size.
                let seq = seq % 20 + 64 * (seq / 20);
                match op {
                    0 => prop_assert_eq!(table.remove(seq), map.remove(&seq)),
                    1 => prop_assert_eq!(table.get_mut(seq), map.get_mut(&seq)),
                    _ => {
                        table.insert(seq, value);
                        map.insert(seq, value);
                    }
                }
                prop_assert_eq!(table.contains(seq), map.contains_key(&seq));
                prop_assert_eq!(table.len(), map.len());
            }
            let mut looked: Vec<_> = table.iter().map(|(seq, value)| (seq, *value)).collect();
            let mut seen: Vec<_> = table.iter_mut().map(|(seq, value)| (seq, *value)).collect();
            let mut all: Vec<_> = table.into_iter().collect();
            let mut expected: Vec<_> = map.into_iter().collect();
            for list in [&mut looked, &mut seen, &mut all, &mut expected] {
                list.sort_unstable();
            }
            prop_assert_eq!((&looked, &seen, &all), (&expected, &expected, &expected));
        }
    }

    #[test]
    fn one_that_stays_does_not_make_it_grow_and_a_burst_is_given_back() {
        let mut table = SeqTable::default();
        table.insert(1, ());
        for seq in 2..=u16::MAX {
            table.insert(seq, ());
            assert_eq!(table.remove(seq), Some(()));
        }
        assert_eq!(table.places.len(), LEAST);
        (1..=u16::MAX).for_each(|seq| table.insert(seq, ()));
        assert_eq!((table.len(), table.places.len()), (65_535, MOST));
        (1..=u16::MAX).for_each(|seq| assert_eq!(table.remove(seq), Some(())));
        assert_eq!(table.places.len(), 0);
    }
}
