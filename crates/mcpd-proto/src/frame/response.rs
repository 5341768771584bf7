//! RESPONSE: the body of an answer.

use super::meta_flag;
use crate::header::{Header, Kind, put};
use crate::limits::HEADER_LEN;
use crate::meta::Meta;

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Response<'a> {
    /// The request's `seq_id`.
    pub seq: u16,
    /// The request's priority.
    pub priority: u8,
    /// What the handler says.
    pub body: &'a [u8],
    /// See [`Meta`].
    pub meta: Meta<'a>,
}

impl<'a> Response<'a> {
    #[inline]
    pub(super) fn from_parts(header: &Header, meta: Meta<'a>, body: &'a [u8]) -> Response<'a> {
        Response {
            seq: header.seq,
            priority: header.priority,
            body,
            meta,
        }
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len() + self.body.len()
    }

    /// Appends everything in front of the body.
    #[inline(always)]
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        let payload = self.meta.encoded_len() + self.body.len();
        put(
            out,
            Kind::Response,
            self.seq,
            payload,
            self.priority,
            meta_flag(&self.meta),
        );
        self.meta.put(out);
    }

    /// Appends the whole frame.
    #[inline(always)]
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        out.extend_from_slice(self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal, meta};
    use crate::{Flags, Frame, MetaBuf, Side};

    fn sample(meta: &MetaBuf) -> Frame<'_> {
        Frame::Response(Response {
            seq: 2,
            priority: 7,
            body: b"pong",
            meta: meta.view(),
        })
    }

    #[test]
    fn round_trip() {
        testing::round_trip(sample(&meta()), Side::Client);
        testing::round_trip(sample(&MetaBuf::new()), Side::Client);
    }

    #[test]
    fn truncation_at_every_byte() {
        testing::truncation(sample(&meta()), Side::Client, 4);
    }

    #[test]
    fn literal_bytes() {
        literal(sample(&MetaBuf::new()), "01020002000000040700706f6e67");
    }

    #[test]
    fn flag_variants() {
        let meaningless = Flags::DUP.with(Flags::REPLY).with(Flags::IGNORABLE);
        testing::flags(sample(&meta()), Side::Client, meaningless);
    }
}
