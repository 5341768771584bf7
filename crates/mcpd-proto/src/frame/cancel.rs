//! CANCEL: a request to give up.

use super::{expect_empty, meta_flag};
use crate::error::FrameError;
use crate::header::{Header, Kind, put};
use crate::limits::HEADER_LEN;
use crate::meta::Meta;

/// The client no longer wants the answer to `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cancel<'a> {
    /// The request's `seq_id`.
    pub seq: u16,
    /// See [`Meta`].
    pub meta: Meta<'a>,
}

impl<'a> Cancel<'a> {
    pub(super) fn from_parts(
        header: &Header,
        meta: Meta<'a>,
        rest: &[u8],
    ) -> Result<Cancel<'a>, FrameError> {
        expect_empty(Kind::Cancel, rest)?;
        Ok(Cancel {
            seq: header.seq,
            meta,
        })
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put(
            out,
            Kind::Cancel,
            self.seq,
            self.meta.encoded_len(),
            0,
            meta_flag(&self.meta),
        );
        self.meta.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal, meta};
    use crate::{Flags, Frame, MetaBuf, Side};

    fn sample(meta: &MetaBuf) -> Frame<'_> {
        Frame::Cancel(Cancel {
            seq: 5,
            meta: meta.view(),
        })
    }

    #[test]
    fn round_trip() {
        testing::round_trip(sample(&meta()), Side::Server);
        testing::round_trip(sample(&MetaBuf::new()), Side::Server);
    }

    #[test]
    fn truncation_at_every_byte() {
        testing::truncation(sample(&meta()), Side::Server, 0);
    }

    #[test]
    fn literal_bytes() {
        literal(sample(&MetaBuf::new()), "01080005000000000000");
    }

    #[test]
    fn flag_variants() {
        let meaningless = Flags::DUP.with(Flags::REPLY).with(Flags::IGNORABLE);
        testing::flags(sample(&meta()), Side::Server, meaningless);
        testing::refuses_payload(sample(&meta()), Side::Server);
    }
}
