//! REQUEST: `u16 topic_len`, topic, body.

use super::meta_flag;
use crate::error::FrameError;
use crate::header::{Flags, Header, Kind, Qos, put};
use crate::limits::HEADER_LEN;
use crate::meta::Meta;
use crate::read::Reader;

/// A client's message to a topic.
///
/// The topic is the raw bytes of the frame: whether they make a valid topic is judged later, since a
/// bad topic ends the request and not the connection (see [`crate::topic::Topic::parse`]).
///
/// ```
/// use mcpd_proto::{Frame, Request, Side};
/// let request = Request { seq: 1, topic: b"echo", body: b"hi", ..Request::default() };
/// let mut wire = Vec::new();
/// request.encode(&mut wire);
/// assert_eq!(wire.len(), request.encoded_len());
/// let (frame, used) = Frame::decode_one(&wire, Side::Server, 1 << 20)?;
/// assert_eq!((frame, used), (Frame::Request(request), wire.len()));
/// # Ok::<(), mcpd_proto::FrameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request<'a> {
    /// Chosen by the client, 1–65535, not among its unanswered ones.
    pub seq: u16,
    /// 0–7, higher is more urgent.
    pub priority: u8,
    /// The least delivery the sender will accept.
    pub qos: Qos,
    /// A retransmission; diagnostic only.
    pub dup: bool,
    /// Where it goes; at most 65,535 bytes are encoded, 255 are valid.
    pub topic: &'a [u8],
    /// What it says.
    pub body: &'a [u8],
    /// See [`Meta`].
    pub meta: Meta<'a>,
}

impl<'a> Request<'a> {
    /// Decodes the payload of a checked header. An unknown critical tag is not an error here.
    #[inline(always)]
    pub(crate) fn decode(header: &Header, payload: &'a [u8]) -> Result<Request<'a>, FrameError> {
        let (meta, rest) = Meta::of(header, payload)?;
        Request::from_parts(header, meta, rest)
    }

    #[inline(always)]
    pub(super) fn from_parts(
        header: &Header,
        meta: Meta<'a>,
        rest: &'a [u8],
    ) -> Result<Request<'a>, FrameError> {
        let mut reader = Reader::new(rest, meta.encoded_len());
        let len = usize::from(reader.u16("topic length")?);
        let topic = reader.take("topic", len)?;
        Ok(Request {
            seq: header.seq,
            priority: header.priority,
            qos: header.flags.qos(),
            dup: header.flags.has(Flags::DUP),
            topic,
            body: reader.rest(),
            meta,
        })
    }

    #[inline]
    fn wire_topic(&self) -> (&'a [u8], u16) {
        match u16::try_from(self.topic.len()) {
            Ok(len) => (self.topic, len),
            Err(_) => (&self.topic[..usize::from(u16::MAX)], u16::MAX),
        }
    }

    /// Bytes of the whole frame.
    #[inline(always)]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len() + 2 + self.wire_topic().0.len() + self.body.len()
    }

    /// Appends everything in front of the body.
    #[inline(always)]
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        let flags = meta_flag(&self.meta)
            .with_qos(self.qos)
            .with_if(self.dup, Flags::DUP);
        let payload = self.encoded_len() - HEADER_LEN;
        put(out, Kind::Request, self.seq, payload, self.priority, flags);
        self.meta.put(out);
        let (topic, len) = self.wire_topic();
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(topic);
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
    use crate::{Frame, Side};

    fn sample(meta: &crate::MetaBuf) -> Frame<'_> {
        let (topic, body) = (&b"order/update"[..], &b"{}"[..]);
        let qos = Qos::EffectivelyOnce;
        Frame::Request(Request {
            seq: 4,
            priority: 5,
            qos,
            dup: true,
            topic,
            body,
            meta: meta.view(),
        })
    }

    #[test]
    fn round_trip() {
        testing::round_trip(sample(&meta()), Side::Server);
        testing::round_trip(sample(&crate::MetaBuf::new()), Side::Server);
    }

    #[test]
    fn truncation_at_every_byte() {
        // A body has no length of its own, so only what is in front of it can be cut off.
        testing::truncation(sample(&meta()), Side::Server, 2);
    }

    #[test]
    fn literal_bytes() {
        literal(
            Frame::Request(Request {
                seq: 1,
                topic: b"echo",
                ..Request::default()
            }),
            "0101000100000006000000046563686f",
        );
    }

    #[test]
    fn flag_variants() {
        testing::flags(
            sample(&meta()),
            Side::Server,
            Flags::REPLY.with(Flags::IGNORABLE),
        );
        for bits in [0, 1, 2] {
            let qos = Qos::from_wire(bits).unwrap();
            testing::round_trip(
                Frame::Request(Request {
                    seq: 1,
                    qos,
                    topic: b"a",
                    ..Request::default()
                }),
                Side::Server,
            );
        }
    }

    #[test]
    fn a_topic_past_u16_is_cut_rather_than_corrupting_the_stream() {
        let long = vec![b't'; 70_000];
        testing::encodes_consistently(Frame::Request(Request {
            seq: 1,
            topic: &long,
            ..Request::default()
        }));
    }
}
