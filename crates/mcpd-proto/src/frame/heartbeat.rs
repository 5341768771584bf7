//! HEARTBEAT: a sign of life, and the answer to one.

use super::meta_flag;
use crate::error::FrameError;
use crate::header::{Flags, Header, Kind, put};
use crate::limits::{HEADER_LEN, MAX_HEARTBEAT_LEN};
use crate::meta::Meta;

/// "I am here." The answer has REPLY, the same `seq_id` and the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heartbeat<'a> {
    /// The sender's number; heartbeats have a number space of their own.
    pub seq: u16,
    /// Whether this answers one.
    pub reply: bool,
    /// Up to 64 opaque bytes.
    pub data: &'a [u8],
    /// May carry HEARTBEAT_MS, a new interval.
    pub meta: Meta<'a>,
}

impl<'a> Heartbeat<'a> {
    pub(super) fn from_parts(
        header: &Header,
        meta: Meta<'a>,
        data: &'a [u8],
    ) -> Result<Heartbeat<'a>, FrameError> {
        if data.len() > MAX_HEARTBEAT_LEN {
            return Err(FrameError::Payload {
                kind: Kind::Heartbeat,
                len: data.len(),
            });
        }
        Ok(Heartbeat {
            seq: header.seq,
            reply: header.flags.has(Flags::REPLY),
            data,
            meta,
        })
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len() + self.data.len()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = meta_flag(&self.meta).with_if(self.reply, Flags::REPLY);
        put(
            out,
            Kind::Heartbeat,
            self.seq,
            self.encoded_len() - HEADER_LEN,
            0,
            flags,
        );
        self.meta.put(out);
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal, meta};
    use crate::{Frame, MetaBuf, Side};

    fn sample(meta: &MetaBuf, reply: bool) -> Frame<'_> {
        Frame::Heartbeat(Heartbeat {
            seq: 9,
            reply,
            data: b"12345678",
            meta: meta.view(),
        })
    }

    #[test]
    fn round_trip() {
        for side in [Side::Server, Side::Client] {
            testing::round_trip(sample(&meta(), false), side);
            testing::round_trip(sample(&MetaBuf::new(), true), side);
        }
    }

    #[test]
    fn truncation_at_every_byte() {
        testing::truncation(sample(&meta(), false), Side::Server, 8);
    }

    #[test]
    fn literal_bytes() {
        literal(
            sample(&MetaBuf::new(), true),
            "010300090000000800203132333435363738",
        );
    }

    #[test]
    fn flag_variants() {
        let meaningless = Flags::DUP.with(Flags::IGNORABLE);
        testing::flags(sample(&meta(), true), Side::Server, meaningless);
    }
}
