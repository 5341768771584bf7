//! Cutting frames out of a byte stream.

use crate::error::FrameError;
use crate::header::{Header, Side};
use crate::limits::{FRAME_BYTES_PER_SECOND, FRAME_TIMEOUT, HEADER_LEN, VERSION};
use std::time::{Duration, Instant};

/// What a [`Deframer`] holds a frame against.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The side that receives.
    pub side: Side,
    /// Largest payload in bytes; more is refused before anything is allocated for it.
    pub max_payload: u32,
    /// Time for a frame from its first byte to its last, to which one second is added for each
    /// 16 KiB of payload.
    pub frame_timeout: Duration,
}

impl Rules {
    /// The protocol's own times, for a side that takes payloads of up to `max_payload` bytes.
    pub const fn new(side: Side, max_payload: u32) -> Rules {
        Rules {
            side,
            max_payload,
            frame_timeout: FRAME_TIMEOUT,
        }
    }
}

/// A frame whose header is checked and whose payload is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// The checked header.
    pub header: Header,
    /// Everything after it, metadata included; empty if the type is unknown and ignored.
    pub payload: &'a [u8],
}

impl<'a> RawFrame<'a> {
    /// Of the bytes of a frame whose header was checked.
    #[inline(always)]
    fn read(frame: &'a [u8]) -> Option<RawFrame<'a>> {
        let (head, payload) = frame.split_first_chunk()?;
        Some(RawFrame {
            header: Header::read(head),
            payload,
        })
    }
}

/// Cuts a byte stream into frames, wherever the stream was chopped up.
///
/// Frames that are whole in the input are borrowed from it. Only the cut-off rest of an input is
/// kept, so a connection that is idle between two frames owns no buffer at all.
///
/// ```
/// use mcpd_proto::{Deframer, Rules, Side};
/// use std::time::Instant;
/// let (rules, now) = (Rules::new(Side::Server, 1 << 20), Instant::now());
/// let mut input = &b"\x01\x03\0\x01\0\0\0\0\0\0\x01\x03\0\x02\0\0"[..]; // a heartbeat and a half
/// let mut deframer = Deframer::new();
/// let first = deframer.next(&mut input, &rules, now)?.map(|frame| frame.header.seq);
/// assert_eq!(first, Some(1));
/// assert_eq!(deframer.next(&mut input, &rules, now)?, None);
/// assert_eq!(deframer.deadline(&rules), Some(now + rules.frame_timeout));
/// # Ok::<(), mcpd_proto::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Deframer {
    /// Bytes of frames that are not cut yet, from `pos` on.
    rest: Vec<u8>,
    pos: usize,
    /// Bytes of an ignored frame that are still to be dropped.
    skip: usize,
    /// Payload length of the incomplete frame, 0 while its header is incomplete too.
    expected: u32,
    /// When the first byte of the incomplete frame was seen.
    since: Option<Instant>,
}

impl Deframer {
    /// Between two frames; allocates nothing.
    pub const fn new() -> Deframer {
        Deframer {
            rest: Vec::new(),
            pos: 0,
            skip: 0,
            expected: 0,
            since: None,
        }
    }

    /// Cuts the next frame, advancing `input`; `None` when all of it was used up, what is left of a
    /// frame having been stored. A frame of an unknown type that may be ignored comes out as soon as
    /// its header is there, so that it can be counted; its payload is dropped as it arrives.
    ///
    /// # Errors
    /// A header that breaks a rule, as soon as its bytes are there. The stream cannot be used on.
    #[inline(always)]
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
        rules: &Rules,
        now: Instant,
    ) -> Result<Option<RawFrame<'d>>, FrameError> {
        if self.pos == self.rest.len() && self.skip == 0 {
            // The common case: a whole frame in the input. Room that an earlier rest took is kept.
            self.rest.clear();
            self.pos = 0;
            if let Some(head) = input.first_chunk::<HEADER_LEN>() {
                Header::verify(head, rules.side, rules.max_payload)?;
                let header = Header::read(head);
                if header.kind.is_some()
                    && let Some((frame, after)) = input.split_at_checked(header.frame_len())
                {
                    *input = after;
                    return Ok(Some(RawFrame {
                        header,
                        payload: &frame[HEADER_LEN..],
                    }));
                }
            } else if input.is_empty() {
                return Ok(None);
            }
        }
        // A copy and its way back, so that the caller's slice may stay in registers.
        let mut fresh = *input;
        let found = self.next_stored(&mut fresh, rules, now);
        *input = fresh;
        Ok(found?.and_then(RawFrame::read))
    }

    /// [`Deframer::next`] when bytes are stored, or have to be. Gives the frame's bytes, of an
    /// ignored one only its header: fields returned from here would pull those of every other
    /// frame through memory.
    #[inline(never)]
    fn next_stored<'d>(
        &'d mut self,
        input: &mut &[u8],
        rules: &Rules,
        now: Instant,
    ) -> Result<Option<&'d [u8]>, FrameError> {
        if self.skip > 0 {
            self.drop_skipped(input);
        }
        if self.skip > 0 || !self.fill(HEADER_LEN, input) {
            return self.incomplete(now);
        }
        let Some(head) = self.rest[self.pos..].first_chunk::<HEADER_LEN>() else {
            return self.incomplete(now);
        };
        let header = Header::parse(head, rules.side, rules.max_payload)?;
        self.expected = header.payload_len;
        if header.kind.is_none() {
            let start = self.pos;
            self.pos += HEADER_LEN;
            self.skip = header.payload_len as usize;
            // Its time runs for as long as its payload does.
            self.since.get_or_insert(now);
            self.drop_skipped(input);
            return Ok(self.rest.get(start..start + HEADER_LEN));
        }
        if !self.fill(header.frame_len(), input) {
            return self.incomplete(now);
        }
        let start = self.pos;
        self.pos += header.frame_len();
        (self.since, self.expected) = (None, 0);
        Ok(self.rest.get(start..self.pos))
    }

    /// Stores input that is not to be cut yet, because its frames have nowhere to go. They come out
    /// of [`Deframer::next`] later, before any new input.
    pub fn hold(&mut self, input: &[u8]) {
        if !input.is_empty() {
            self.compact();
            self.rest.extend_from_slice(input);
        }
        self.since = None;
    }

    /// Whether bytes are stored: of an incomplete frame, or held ones.
    pub fn has_rest(&self) -> bool {
        self.pos < self.rest.len() || self.skip > 0
    }

    /// Bytes of memory kept between two inputs.
    pub fn capacity(&self) -> usize {
        self.rest.capacity()
    }

    /// Gives memory back if nothing is stored; for a connection that falls idle.
    pub fn release(&mut self) {
        if self.pos == self.rest.len() && self.rest.capacity() > 0 {
            (self.rest, self.pos) = (Vec::new(), 0);
        }
    }

    /// When the incomplete frame must be whole, `None` between frames.
    pub fn deadline(&self, rules: &Rules) -> Option<Instant> {
        let extra = Duration::from_secs(u64::from(self.expected / FRAME_BYTES_PER_SECOND));
        self.since.map(|since| since + rules.frame_timeout + extra)
    }

    /// Starts the time of an incomplete frame anew: this side was not reading, the peer may not be
    /// blamed for that.
    pub fn restart_deadline(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
    }

    fn incomplete<T>(&mut self, now: Instant) -> Result<Option<T>, FrameError> {
        if !self.has_rest() {
            (self.since, self.expected) = (None, 0);
            return Ok(None);
        }
        self.since.get_or_insert(now);
        // One byte is enough to tell that a peer speaks another protocol.
        match self.rest.get(self.pos) {
            Some(version) if *version != VERSION => Err(FrameError::Version(*version)),
            _ => Ok(None),
        }
    }

    /// Drops bytes of an ignored frame, first from what is stored; it ends with the last of them.
    fn drop_skipped(&mut self, input: &mut &[u8]) {
        let stored = self.skip.min(self.rest.len() - self.pos);
        self.pos += stored;
        self.skip -= stored;
        let fresh = self.skip.min(input.len());
        *input = &input[fresh..];
        self.skip -= fresh;
        if self.skip == 0 {
            (self.since, self.expected) = (None, 0);
        }
    }

    /// Makes `need` bytes available in `rest`, as far as the input goes; takes no more than that, so
    /// that the frames behind are cut without copying.
    fn fill(&mut self, need: usize, input: &mut &[u8]) -> bool {
        let have = self.rest.len() - self.pos;
        if have >= need {
            return true;
        }
        self.compact();
        let (taken, after) = input.split_at((need - have).min(input.len()));
        self.rest.extend_from_slice(taken);
        *input = after;
        self.rest.len() >= need
    }

    fn compact(&mut self) {
        if self.pos > 0 {
            self.rest.drain(..self.pos);
            self.pos = 0;
        }
    }
}

#[cfg(test)]
mod tests;
