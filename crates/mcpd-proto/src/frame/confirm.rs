//! CONFIRM: the outcome of a QoS 2 message has arrived.

use super::expect_empty;
use crate::error::FrameError;
use crate::header::{Flags, Kind, put};
use crate::limits::HEADER_LEN;
use crate::meta::{Meta, tag};

/// The client has the outcome of the MESSAGE_ID in `meta`; the server may forget its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confirm<'a> {
    /// Carries MESSAGE_ID.
    pub meta: Meta<'a>,
}

impl<'a> Confirm<'a> {
    pub(super) fn from_parts(meta: Meta<'a>, rest: &[u8]) -> Result<Confirm<'a>, FrameError> {
        expect_empty(Kind::Confirm, rest)?;
        if meta.message_id().is_none() {
            return Err(FrameError::MetaMissing {
                kind: Kind::Confirm,
                tag: tag::MESSAGE_ID,
            });
        }
        Ok(Confirm { meta })
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put(
            out,
            Kind::Confirm,
            0,
            self.meta.encoded_len(),
            0,
            Flags::META,
        );
        self.meta.put(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal};
    use crate::{Frame, MetaBuf, Side};

    fn id() -> MetaBuf {
        let mut meta = MetaBuf::new();
        meta.set_message_id(*b"0123456789abcdef");
        meta
    }

    #[test]
    fn round_trip() {
        testing::round_trip(Frame::Confirm(Confirm { meta: id().view() }), Side::Server);
    }

    #[test]
    fn truncation_at_every_byte() {
        testing::truncation(
            Frame::Confirm(Confirm { meta: id().view() }),
            Side::Server,
            0,
        );
    }

    #[test]
    fn literal_bytes() {
        literal(
            Frame::Confirm(Confirm { meta: id().view() }),
            "0109000000000015000800130400103031323334353637383961626364656600"
                .trim_end_matches("00"),
        );
    }

    #[test]
    fn flag_variants() {
        let meaningless = Flags::DUP.with(Flags::REPLY).with(Flags::IGNORABLE);
        testing::flags(
            Frame::Confirm(Confirm { meta: id().view() }),
            Side::Server,
            meaningless,
        );
        testing::refuses_payload(Frame::Confirm(Confirm { meta: id().view() }), Side::Server);
    }
}
