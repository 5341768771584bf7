//! Eight lanes, one for each priority, with one bound for all: who waits, whose turn it is, and who
//! has to go when there is no room. Pure: no clock, no lock, no task.

use std::collections::VecDeque;

/// Priorities of the protocol.
pub(super) const LANES: usize = 8;

/// What a turn costs a lane of priority 0 in virtual time; each priority above it pays half as much,
/// so that of two lanes that always have somebody waiting the higher gets twice the turns.
const TURN: u64 = 1 << (LANES - 1);

/// A lane that has lost this many in a row to the bound without getting a turn keeps its next one:
/// shedding the lowest first must not mean that the lowest is never served.
const STARVING: u32 = 64;

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<(u64, T)>,
    /// Virtual time of its next turn.
    pass: u64,
    /// Lost to the bound since it last had a turn.
    lost: u32,
}

impl<T> Lane<T> {
    fn is_starving(&self) -> bool {
        self.lost >= STARVING
    }

    /// Whether one of this lane may make room for a higher one.
    fn may_lose(&self) -> bool {
        self.waiting.len() > usize::from(self.is_starving())
    }
}

/// Those who wait, by priority and in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lanes: [Lane<T>; LANES],
    len: usize,
    next_id: u64,
    /// Virtual time of the last turn.
    now: u64,
}

/// What became of one who came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed<T> {
    /// It waits, under this number.
    In(u64),
    /// It waits, and this one of a lower priority had to make room for it.
    InFor(u64, u8, T),
    /// There is no room, and nobody lower to make any.
    Full(T),
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let lane = |_| Lane {
            waiting: VecDeque::new(),
            pass: 0,
            lost: 0,
        };
        Queue {
            lanes: std::array::from_fn(lane),
            len: 0,
            next_id: 0,
            now: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Lets one wait if fewer than `max` do, or if it can take the place of the newest of the lowest
    /// priority below its own. A lane that starves may have one above `max`, so there are never more
    /// than `max` and one for each lane.
    pub(super) fn push(&mut self, priority: u8, item: T, max: usize) -> Pushed<T> {
        let at = index(priority);
        let mut evicted = None;
        if self.len >= max {
            evicted = self.make_room(at);
            if evicted.is_none() && !self.has_guaranteed_place(at, max) {
                self.lanes[at].lost = self.lanes[at].lost.saturating_add(1);
                return Pushed::Full(item);
            }
        }
        let id = self.insert(at, item);
        match evicted {
            Some((lane, item)) => Pushed::InFor(id, lane, item),
            None => Pushed::In(id),
        }
    }

    fn has_guaranteed_place(&self, at: usize, max: usize) -> bool {
        max > 0 && self.lanes[at].is_starving() && self.lanes[at].waiting.is_empty()
    }

    fn insert(&mut self, at: usize, item: T) -> u64 {
        let (id, now, lane) = (self.next_id, self.now, &mut self.lanes[at]);
        if lane.waiting.is_empty() {
            // As far away as after a turn: time in which nobody waited gives no claim to turns.
            lane.pass = lane.pass.max(now + (TURN >> at));
        }
        lane.waiting.push_back((id, item));
        self.next_id += 1;
        self.len += 1;
        id
    }

    /// Takes the newest of the lowest lane below `at` that may lose one.
    fn make_room(&mut self, at: usize) -> Option<(u8, T)> {
        let lane = (0..at).find(|lane| self.lanes[*lane].may_lose())?;
        let (_, item) = self.lanes[lane].waiting.pop_back()?;
        self.lanes[lane].lost = self.lanes[lane].lost.saturating_add(1);
        self.len -= 1;
        Some((lane as u8, item))
    }

    /// The priority whose turn it is: of those that wait and that `may` have it, the one whose time
    /// came first, the higher of two.
    pub(super) fn turn(&self, may: impl Fn(u8) -> bool) -> Option<u8> {
        if self.len == 0 {
            return None;
        }
        let waiting = (0..LANES).rev().filter(|at| {
            let lane = &self.lanes[*at];
            !lane.waiting.is_empty() && may(*at as u8)
        });
        waiting
            .min_by_key(|at| self.lanes[*at].pass)
            .map(|at| at as u8)
    }

    /// Gives a priority its turn.
    pub(super) fn pop(&mut self, priority: u8) -> Option<T> {
        let at = index(priority);
        let lane = &mut self.lanes[at];
        let (_, item) = lane.waiting.pop_front()?;
        self.now = self.now.max(lane.pass);
        lane.pass += TURN >> at;
        lane.lost = 0;
        self.len -= 1;
        Some(item)
    }

    /// Takes out one who gave up; gives whether it was still there.
    pub(super) fn remove(&mut self, priority: u8, id: u64) -> bool {
        let waiting = &mut self.lanes[index(priority)].waiting;
        let found = waiting.binary_search_by_key(&id, |(id, _)| *id);
        let removed = found.ok().and_then(|at| waiting.remove(at)).is_some();
        self.len -= usize::from(removed);
        removed
    }
}

fn index(priority: u8) -> usize {
    usize::from(priority).min(LANES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(queue: &mut Queue<u32>) -> Option<u8> {
        let turn = queue.turn(|_| true)?;
        queue.pop(turn)?;
        Some(turn)
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_their_order() {
        let mut queue = Queue::default();
        for (priority, item) in [(0, 1), (7, 2), (3, 3), (7, 4)] {
            assert!(matches!(queue.push(priority, item, 10), Pushed::In(_)));
        }
        let order = [7, 7, 3, 0].map(|priority| {
            assert_eq!(queue.turn(|_| true), Some(priority));
            queue.pop(priority)
        });
        assert_eq!(order, [Some(2), Some(4), Some(3), Some(1)]);
    }

    #[test]
    fn each_priority_gets_twice_the_turns_of_the_one_below_and_none_starves() {
        let mut queue = Queue::default();
        let mut turns = [0u32; LANES];
        for _ in 0..255 * 4 {
            for priority in 0..8 {
                let _ = queue.push(priority, 0, usize::MAX);
            }
            turns[usize::from(next(&mut queue).unwrap())] += 1;
        }
        for lane in 1..LANES {
            let ratio = f64::from(turns[lane]) / f64::from(turns[lane - 1]);
            assert!((1.8..=2.3).contains(&ratio), "{turns:?}");
        }
        assert!(turns[0] >= 3, "{turns:?}");
    }

    #[test]
    fn a_lane_that_was_empty_has_no_claim_to_the_turns_it_missed() {
        let mut queue = Queue::default();
        for _ in 0..1000 {
            let _ = queue.push(6, 0, 10);
            next(&mut queue);
        }
        for _ in 0..5 {
            let _ = queue.push(0, 0, 10);
            let _ = queue.push(6, 0, 10);
        }
        let turns: Vec<u8> = std::iter::from_fn(|| next(&mut queue)).take(5).collect();
        assert!(
            turns.iter().filter(|turn| **turn == 0).count() <= 1,
            "{turns:?}"
        );
    }

    #[test]
    fn when_it_is_full_the_newest_of_the_lowest_goes() {
        let mut queue = Queue::default();
        for (priority, item) in [(1, 10), (0, 1), (0, 2)] {
            let _ = queue.push(priority, item, 3);
        }
        assert_eq!(queue.push(0, 3, 3), Pushed::Full(3));
        assert!(matches!(queue.push(7, 70, 3), Pushed::InFor(_, 0, 2)));
        assert!(matches!(queue.push(7, 71, 3), Pushed::InFor(_, 0, 1)));
        assert!(matches!(queue.push(7, 72, 3), Pushed::InFor(_, 1, 10)));
        assert_eq!(queue.push(7, 73, 3), Pushed::Full(73));
        assert_eq!(queue.push(1, 11, 3), Pushed::Full(11));
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_lane_that_loses_all_the_time_keeps_one() {
        let mut queue = Queue::default();
        for item in 0..10 {
            let _ = queue.push(7, item, 10);
        }
        let refused = (0..).take_while(|item| matches!(queue.push(0, *item, 10), Pushed::Full(_)));
        assert_eq!(refused.count(), STARVING as usize);
        // It has its place now, and no other one of its lane gets in, nor does a higher one take it.
        assert_eq!(queue.push(0, 1000, 10), Pushed::Full(1000));
        assert_eq!(queue.push(7, 1001, 10), Pushed::Full(1001));
        assert_eq!(queue.len(), 11);
        let turns: Vec<u8> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert!(turns.contains(&0));
        // A turn ends the privilege.
        assert!(matches!(queue.push(0, 1, 1), Pushed::In(_)));
        assert!(matches!(queue.push(7, 2, 1), Pushed::InFor(_, 0, 1)));
    }

    #[test]
    fn without_room_for_any_nobody_waits_however_long_it_starves() {
        let mut queue = Queue::default();
        for _ in 0..1000 {
            assert_eq!(queue.push(0, 1, 0), Pushed::Full(1));
        }
    }

    proptest! {
        /// Whatever happens: everybody leaves once, nobody is made up, the bound holds.
        #[test]
        fn everyone_who_waits_leaves_exactly_once(
            steps in prop::collection::vec((0u8..8, 0u8..4), 1..400),
            max in 0usize..20,
        ) {
            let mut queue = Queue::default();
            let mut inside = std::collections::BTreeMap::new();
            for (item, (priority, step)) in (0u32..).zip(steps) {
                match step {
                    0 | 1 => match queue.push(priority, item, max) {
                        Pushed::In(id) => { inside.insert(item, (priority, id)); }
                        Pushed::InFor(id, lane, out) => {
                            prop_assert!(lane < priority);
                            prop_assert_eq!(inside.remove(&out).map(|(p, _)| p), Some(lane));
                            inside.insert(item, (priority, id));
                        }
                        Pushed::Full(back) => prop_assert_eq!(back, item),
                    },
                    2 => if let Some(turn) = queue.turn(|lane| lane >= priority) {
                        prop_assert!(turn >= priority);
                        let out = queue.pop(turn).unwrap();
                        prop_assert_eq!(inside.remove(&out).map(|(p, _)| p), Some(turn));
                    },
                    _ => if let Some((item, (priority, id))) = inside.pop_last() {
                        prop_assert!(queue.remove(priority, id), "{} is there", item);
                        prop_assert!(!queue.remove(priority, id));
                    },
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert!(queue.len() <= max + LANES);
            }
        }
    }
}
