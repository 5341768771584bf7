//! HELLO: who is speaking, and what they can take.

use super::{expect_empty, meta_flag};
use crate::error::FrameError;
use crate::header::{Flags, Header, Kind, put};
use crate::limits::HEADER_LEN;
use crate::meta::Meta;

/// Introduces a client, or answers with what the server allows. All of it is metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello<'a> {
    /// The client's number, repeated in the answer.
    pub seq: u16,
    /// Whether this is the server's answer.
    pub reply: bool,
    /// See [`Meta`].
    pub meta: Meta<'a>,
}

impl<'a> Hello<'a> {
    pub(super) fn from_parts(
        header: &Header,
        meta: Meta<'a>,
        rest: &[u8],
    ) -> Result<Hello<'a>, FrameError> {
        expect_empty(Kind::Hello, rest)?;
        Ok(Hello {
            seq: header.seq,
            reply: header.flags.has(Flags::REPLY),
            meta,
        })
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = meta_flag(&self.meta).with_if(self.reply, Flags::REPLY);
        put(
            out,
            Kind::Hello,
            self.seq,
            self.meta.encoded_len(),
            0,
            flags,
        );
        self.meta.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal, meta};
    use crate::{Frame, MetaBuf, Side};

    fn sample(meta: &MetaBuf, reply: bool) -> Frame<'_> {
        Frame::Hello(Hello {
            seq: 1,
            reply,
            meta: meta.view(),
        })
    }

    #[test]
    fn round_trip() {
        testing::round_trip(sample(&meta(), false), Side::Server);
        testing::round_trip(sample(&MetaBuf::new(), true), Side::Client);
    }

    #[test]
    fn truncation_at_every_byte() {
        testing::truncation(sample(&meta(), false), Side::Server, 0);
    }

    #[test]
    fn literal_bytes() {
        literal(sample(&MetaBuf::new(), true), "01060001000000000020");
    }

    #[test]
    fn flag_variants() {
        testing::flags(
            sample(&meta(), false),
            Side::Server,
            Flags::DUP.with(Flags::IGNORABLE),
        );
        testing::refuses_payload(sample(&meta(), false), Side::Server);
        // Asked by the client, answered by the server; never the other way round.
        testing::refused(
            sample(&meta(), true),
            Side::Server,
            FrameError::Direction(Kind::Hello),
        );
        testing::refused(
            sample(&meta(), false),
            Side::Client,
            FrameError::Direction(Kind::Hello),
        );
    }
}
