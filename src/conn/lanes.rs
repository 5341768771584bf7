//! What waits to be written: a control lane ahead of eight priority lanes.
//!
//! A lane is one run of encoded frames, small bodies copied in, large ones kept as slices of their
//! own, so that everything that is ready goes out in one vectored write. Frames are never torn apart:
//! what a short write cut off is finished before a more urgent lane gets its turn.

use crate::telemetry::FrameCounts;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bodies from this size on go out without being copied. Below it, copying costs less than another
/// slice of a vectored write.
pub(super) const SHARED_BODY_MIN: usize = 4 * 1024;

/// Slices of one vectored write; more wait for the next one. Small frames need one slice a lane.
const MAX_SLICES: usize = 64;

/// Written bytes of a lane from which on moving the others to the front is worth it.
const COMPACT_MIN: usize = 16 * 1024;

const LANES: usize = 9;
/// The lane of control frames; the others are numbered by priority.
const CONTROL: usize = LANES - 1;

#[derive(Debug, Default)]
struct Lane {
    /// Encoded frames without their shared bodies.
    encoded: Vec<u8>,
    /// Bytes of `encoded` that are written.
    written: usize,
    /// Shared bodies, each with the position in `encoded` in front of which it goes.
    shared: VecDeque<(usize, Bytes)>,
    /// Bytes queued and sent since the lane was last empty.
    queued: usize,
    sent: usize,
    /// Where each frame ends, counted like `queued`; passed ones stay until it is compacted or empty.
    ends: Vec<usize>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.sent == self.queued
    }

    /// Adds slices for the bytes from `skip` up to `limit`, in order.
    fn gather<'a>(&'a self, out: &mut Slices<'a>, skip: usize, limit: usize) {
        let (mut position, mut at) = (0, self.written);
        let mut add = |bytes: &'a [u8]| {
            let start = skip.saturating_sub(position).min(bytes.len());
            let end = limit.saturating_sub(position).min(bytes.len());
            position += bytes.len();
            start >= end || out.push(&bytes[start..end])
        };
        for (place, body) in &self.shared {
            if !add(&self.encoded[at..*place]) || !add(body) {
                return;
            }
            at = *place;
        }
        add(&self.encoded[at..]);
    }

    /// Takes up to `n` written bytes off the front; gives what is left of `n`.
    fn advance(&mut self, n: usize) -> usize {
        let mut left = n.min(self.queued - self.sent);
        self.sent += left;
        let rest = n - left;
        while left > 0 {
            let place = self
                .shared
                .front()
                .map_or(self.encoded.len(), |(place, _)| *place);
            let step = left.min(place - self.written);
            self.written += step;
            left -= step;
            if let Some((_, body)) = self.shared.front_mut()
                && self.written == place
            {
                let step = left.min(body.len());
                bytes::Buf::advance(body, step);
                left -= step;
                if body.is_empty() {
                    self.shared.pop_front();
                }
            }
        }
        if self.is_empty() {
            self.reset();
        } else if self.written >= COMPACT_MIN && self.written >= self.encoded.len() / 2 {
            self.compact();
        }
        rest
    }

    /// Gives back the room of what is written: a lane that its reader never lets run empty would grow
    /// for as long as the connection lives.
    fn compact(&mut self) {
        self.encoded.drain(..self.written);
        for (place, _) in &mut self.shared {
            *place -= self.written;
        }
        self.written = 0;
        // The end of the last whole frame stays, as the begin of the one that may be cut.
        let passed = self.ends.partition_point(|end| *end <= self.sent);
        self.ends.drain(..passed.saturating_sub(1));
    }

    fn reset(&mut self) {
        (self.written, self.queued, self.sent) = (0, 0, 0);
        self.encoded.clear();
        self.shared.clear();
        self.ends.clear();
    }

    /// Bytes left of the frame that the last write cut, 0 between frames.
    fn torn(&self) -> usize {
        let at = self.ends.partition_point(|end| *end <= self.sent);
        let begin = at
            .checked_sub(1)
            .and_then(|at| self.ends.get(at))
            .copied()
            .unwrap_or(0);
        match self.ends.get(at) {
            Some(end) if begin < self.sent => end - self.sent,
            _ => 0,
        }
    }
}

/// The slices of one vectored write.
pub(super) struct Slices<'a> {
    slices: [IoSlice<'a>; MAX_SLICES],
    used: usize,
}

impl<'a> Slices<'a> {
    fn push(&mut self, bytes: &'a [u8]) -> bool {
        let Some(slot) = self.slices.get_mut(self.used) else {
            return false;
        };
        *slot = IoSlice::new(bytes);
        self.used += 1;
        true
    }

    fn concat(&self) -> Vec<u8> {
        self.as_slice()
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }

    /// The slices, most urgent first.
    pub(super) fn as_slice(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.used]
    }
}

/// Everything of one connection that waits to be written.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: [Lane; LANES],
    /// Bit n is set while lane n has something.
    busy: u16,
    len: usize,
    /// The lane whose first frame was cut by a short write, and the bytes left of that frame.
    torn: Option<(usize, usize)>,
    /// Frames queued since the last write, by kind.
    pub(super) frames: FrameCounts,
    /// Most bytes that waited at one time since the lanes were cleared.
    peak: usize,
}

impl Lanes {
    /// Bytes that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues a frame that `encode` appends, in the lane of its priority.
    #[inline]
    pub(super) fn push(&mut self, priority: u8, encode: impl FnOnce(&mut Vec<u8>)) {
        self.push_to(usize::from(priority).min(CONTROL - 1), encode);
    }

    /// Queues a frame whose body goes out as a slice of its own; `encode` appends the rest.
    pub(super) fn push_shared(
        &mut self,
        priority: u8,
        body: Bytes,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let at = usize::from(priority).min(CONTROL - 1);
        let len = body.len();
        self.push_to(at, encode);
        let lane = &mut self.lanes[at];
        lane.shared.push_back((lane.encoded.len(), body));
        lane.queued += len;
        if let Some(end) = lane.ends.last_mut() {
            *end += len;
        }
        self.len += len;
    }

    /// Lets `append` add any number of control frames, which go ahead of everything else.
    #[inline]
    pub(super) fn control<R>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.push_to(CONTROL, append)
    }

    #[inline]
    fn push_to<R>(&mut self, at: usize, encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let lane = &mut self.lanes[at];
        let before = lane.encoded.len();
        let result = encode(&mut lane.encoded);
        let added = lane.encoded.len() - before;
        if added > 0 {
            lane.queued += added;
            lane.ends.push(lane.queued);
            self.len += added;
            self.peak = self.peak.max(self.len);
            self.busy |= 1 << at;
            // The second byte of a frame is its type.
            let kind = lane
                .encoded
                .get(before + 1)
                .map_or(0, |kind| usize::from(*kind));
            self.frames.add(kind.wrapping_sub(1));
        }
        result
    }

    /// The only slice there is, when there is just one: the common case, which a plain write serves.
    #[inline]
    pub(super) fn single(&self) -> Option<&[u8]> {
        if !self.busy.is_power_of_two() || self.torn.is_some() {
            return None;
        }
        let lane = &self.lanes[self.busy.trailing_zeros() as usize];
        lane.shared
            .is_empty()
            .then(|| &lane.encoded[lane.written..])
    }

    /// Everything that is ready, most urgent first, up to the number of slices a write takes.
    pub(super) fn slices(&self) -> Slices<'_> {
        let mut slices = Slices {
            slices: [IoSlice::new(&[]); MAX_SLICES],
            used: 0,
        };
        if let Some((at, left)) = self.torn {
            self.lanes[at].gather(&mut slices, 0, left);
        }
        for at in (0..LANES).rev().filter(|at| self.busy & (1 << at) != 0) {
            let skip = self
                .torn
                .filter(|(torn, _)| *torn == at)
                .map_or(0, |(_, left)| left);
            self.lanes[at].gather(&mut slices, skip, usize::MAX);
        }
        slices
    }

    /// `n` bytes of what [`Lanes::slices`] gave are written.
    #[inline]
    pub(super) fn advance(&mut self, n: usize) {
        if n == self.len {
            while self.busy != 0 {
                self.lanes[self.busy.trailing_zeros() as usize].reset();
                self.busy &= self.busy - 1;
            }
            (self.len, self.torn) = (0, None);
        } else {
            self.advance_partly(n);
        }
    }

    fn advance_partly(&mut self, n: usize) {
        self.len -= n.min(self.len);
        let mut left = n;
        if let Some((at, torn)) = self.torn.take() {
            let finishing = left.min(torn);
            self.lanes[at].advance(finishing);
            left -= finishing;
            if finishing < torn {
                self.torn = Some((at, torn - finishing));
                return;
            }
        }
        for at in (0..LANES).rev() {
            left = self.lanes[at].advance(left);
        }
        for (at, lane) in self.lanes.iter().enumerate() {
            if lane.is_empty() {
                self.busy &= !(1 << at);
            } else if lane.torn() > 0 {
                self.torn = Some((at, lane.torn()));
            }
        }
    }

    /// Drops every frame but the one that a short write cut, which must be finished.
    pub(super) fn drop_whole_frames(&mut self) {
        let torn = self.torn;
        let mut kept = Vec::new();
        if let Some((at, left)) = torn {
            let mut slices = Slices {
                slices: [IoSlice::new(&[]); MAX_SLICES],
                used: 0,
            };
            self.lanes[at].gather(&mut slices, 0, left);
            kept = slices.concat();
        }
        self.advance(self.len);
        if let Some((at, _)) = torn {
            self.push_to(at, |out| out.extend_from_slice(&kept));
            self.torn = Some((at, kept.len()));
        }
    }

    /// Empties the lanes for another connection, keeping buffers of up to `max_kept` bytes.
    #[inline]
    pub(super) fn clear(&mut self, max_kept: usize) {
        self.advance(self.len);
        // A buffer holds less than twice of what was ever in it.
        if std::mem::take(&mut self.peak) > max_kept / 2 {
            self.give_up_large(max_kept);
        }
    }

    #[cold]
    fn give_up_large(&mut self, max_kept: usize) {
        for lane in &mut self.lanes {
            if lane.encoded.capacity() > max_kept {
                lane.encoded = Vec::new();
                lane.ends = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame of `len` bytes that tells its lane and number.
    fn put(lanes: &mut Lanes, at: u8, number: u8, len: usize, shared: bool) {
        let frame = [vec![at, number], vec![b'.'; len]].concat();
        if at == 8 {
            lanes.control(|out| out.extend_from_slice(&frame));
        } else if shared {
            let (head, body) = frame.split_at(2);
            lanes.push_shared(at, Bytes::copy_from_slice(body), |out| {
                out.extend_from_slice(head)
            });
        } else {
            lanes.push(at, |out| out.extend_from_slice(&frame));
        }
    }

    /// Writes at most `n` bytes, as a socket would take them.
    fn write(lanes: &mut Lanes, n: usize, socket: &mut Vec<u8>) {
        let ready = match lanes.single() {
            Some(bytes) => bytes.to_vec(),
            None => lanes.slices().concat(),
        };
        let taken = n.min(ready.len());
        socket.extend_from_slice(&ready[..taken]);
        lanes.advance(taken);
    }

    #[test]
    fn control_goes_first_then_the_higher_priority() {
        let mut lanes = Lanes::default();
        for (at, number) in [(0, 1), (7, 2), (3, 3), (8, 4), (7, 5)] {
            put(&mut lanes, at, number, 0, false);
        }
        let mut socket = Vec::new();
        write(&mut lanes, usize::MAX, &mut socket);
        assert_eq!(socket, [8, 4, 7, 2, 7, 5, 3, 3, 0, 1]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_frame_that_was_cut_is_finished_before_a_more_urgent_one() {
        let mut lanes = Lanes::default();
        put(&mut lanes, 0, 1, 8, false);
        put(&mut lanes, 0, 2, 0, false);
        let mut socket = Vec::new();
        write(&mut lanes, 5, &mut socket);
        put(&mut lanes, 8, 3, 0, false);
        write(&mut lanes, 3, &mut socket);
        write(&mut lanes, usize::MAX, &mut socket);
        assert_eq!(socket, b"\0\x01........\x08\x03\0\x02");
    }

    #[test]
    fn only_the_cut_frame_survives_dropping() {
        let mut lanes = Lanes::default();
        put(&mut lanes, 0, 1, 8, true);
        put(&mut lanes, 5, 2, 3, false);
        let mut socket = Vec::new();
        write(&mut lanes, 1, &mut socket); // one byte of the frame of priority 5
        lanes.drop_whole_frames();
        put(&mut lanes, 8, 9, 0, false);
        write(&mut lanes, usize::MAX, &mut socket);
        assert_eq!(socket, b"\x05\x02...\x08\x09");
    }

    #[test]
    fn a_lane_that_never_runs_empty_does_not_grow() {
        for shared in [false, true] {
            let (mut lanes, mut socket) = (Lanes::default(), Vec::new());
            for round in 0..20_000 {
                put(&mut lanes, 0, round as u8, 100, shared);
                put(&mut lanes, 0, round as u8, 100, shared);
                write(&mut lanes, if round == 0 { 150 } else { 204 }, &mut socket);
                socket.clear();
            }
            assert_eq!(lanes.len(), 54);
            let lane = &lanes.lanes[0];
            assert!(lane.encoded.capacity() < 8 * COMPACT_MIN && lane.ends.capacity() < 32_768);
        }
    }

    proptest! {
        /// However writes are cut and frames come in between, every frame arrives whole, once, and in
        /// order within its lane.
        #[test]
        fn frames_arrive_whole(ops in prop::collection::vec((0u8..9, 0usize..30, any::<bool>(), 0usize..60), 1..60)) {
            let (mut lanes, mut socket, mut sent) = (Lanes::default(), Vec::new(), Vec::new());
            for (number, (at, len, shared, n)) in ops.into_iter().enumerate() {
                let number = number as u8;
                put(&mut lanes, at, number, len, shared);
                sent.push((at, number, len));
                write(&mut lanes, n, &mut socket);
            }
            let mut turns = 0;
            while !lanes.is_empty() {
                write(&mut lanes, 7, &mut socket);
                turns += 1;
                prop_assert!(turns < 10_000);
            }
            let mut got = Vec::new();
            let mut rest = &socket[..];
            while let [at, number, after @ ..] = rest {
                let len = sent.iter().find(|(_, n, _)| n == number).map(|(_, _, len)| *len).unwrap();
                prop_assert!(after.len() >= len && after[..len].iter().all(|b| *b == b'.'));
                got.push((*at, *number, len));
                rest = &after[len..];
            }
            prop_assert!(rest.is_empty());
            got.sort_by_key(|(at, number, _)| (*at, *number));
            sent.sort_by_key(|(at, number, _)| (*at, *number));
            prop_assert_eq!(&got, &sent);
        }
    }
}
