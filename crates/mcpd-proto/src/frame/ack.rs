//! ACK: the request is accepted and durable.

use super::{expect_empty, meta_flag};
use crate::error::FrameError;
use crate::header::{Flags, Header, Kind, Qos, put};
use crate::limits::HEADER_LEN;
use crate::meta::Meta;

/// Sent for a request whose QoS bits are 1 or 2 once it is in the journal; IGNORABLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ack<'a> {
    /// The request's `seq_id`.
    pub seq: u16,
    /// The request's priority.
    pub priority: u8,
    /// What was granted.
    pub qos: Qos,
    /// See [`Meta`].
    pub meta: Meta<'a>,
}

impl<'a> Ack<'a> {
    pub(super) fn from_parts(
        header: &Header,
        meta: Meta<'a>,
        rest: &[u8],
    ) -> Result<Ack<'a>, FrameError> {
        expect_empty(Kind::Ack, rest)?;
        Ok(Ack {
            seq: header.seq,
            priority: header.priority,
            qos: header.flags.qos(),
            meta,
        })
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = meta_flag(&self.meta)
            .with(Flags::IGNORABLE)
            .with_qos(self.qos);
        put(
            out,
            Kind::Ack,
            self.seq,
            self.meta.encoded_len(),
            self.priority,
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

    fn sample(meta: &MetaBuf) -> Frame<'_> {
        let qos = Qos::EffectivelyOnce;
        Frame::Ack(Ack {
            seq: 4,
            priority: 5,
            qos,
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
        testing::truncation(sample(&meta()), Side::Client, 0);
    }

    #[test]
    fn literal_bytes() {
        literal(sample(&MetaBuf::new()), "01040004000000000512");
    }

    #[test]
    fn flag_variants() {
        testing::flags(sample(&meta()), Side::Client, Flags::DUP.with(Flags::REPLY));
        testing::refuses_payload(sample(&meta()), Side::Client);
    }
}
