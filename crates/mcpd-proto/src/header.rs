//! The ten bytes in front of every frame.

use crate::error::FrameError;
use crate::limits::{HEADER_LEN, MAX_PRIORITY, VERSION};

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that was connected to.
    Server,
    /// The end that connected.
    Client,
}

/// A message type of protocol version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// 0x01, a client's request to a topic.
    Request = 0x01,
    /// 0x02, its answer.
    Response = 0x02,
    /// 0x03, a sign of life from either side.
    Heartbeat = 0x03,
    /// 0x04, a request is accepted and durable.
    Ack = 0x04,
    /// 0x05, a request or the connection failed.
    Error = 0x05,
    /// 0x06, who is speaking and what they can take.
    Hello = 0x06,
    /// 0x07, the server asks the client to move to a new connection.
    GoAway = 0x07,
    /// 0x08, the client gives a request up.
    Cancel = 0x08,
    /// 0x09, a QoS 2 outcome has arrived.
    Confirm = 0x09,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 9] = [
        Kind::Request,
        Kind::Response,
        Kind::Heartbeat,
        Kind::Ack,
        Kind::Error,
        Kind::Hello,
        Kind::GoAway,
        Kind::Cancel,
        Kind::Confirm,
    ];

    /// The kind of a wire value, or `None` for a type this version does not know.
    pub const fn from_wire(value: u8) -> Option<Kind> {
        // Spelled out, this compiles to a comparison; indexing ALL would load from a table.
        match value {
            0x01 => Some(Kind::Request),
            0x02 => Some(Kind::Response),
            0x03 => Some(Kind::Heartbeat),
            0x04 => Some(Kind::Ack),
            0x05 => Some(Kind::Error),
            0x06 => Some(Kind::Hello),
            0x07 => Some(Kind::GoAway),
            0x08 => Some(Kind::Cancel),
            0x09 => Some(Kind::Confirm),
            _ => None,
        }
    }

    /// The name of the type as the protocol writes it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Response => "response",
            Kind::Heartbeat => "heartbeat",
            Kind::Ack => "ack",
            Kind::Error => "error",
            Kind::Hello => "hello",
            Kind::GoAway => "goaway",
            Kind::Cancel => "cancel",
            Kind::Confirm => "confirm",
        }
    }

    /// Whether `receiver` may be sent this kind by its peer.
    const fn reaches(self, receiver: Side) -> bool {
        match self {
            Kind::Heartbeat | Kind::Error | Kind::Hello => true,
            Kind::Request | Kind::Cancel | Kind::Confirm => matches!(receiver, Side::Server),
            Kind::Response | Kind::Ack | Kind::GoAway => matches!(receiver, Side::Client),
        }
    }
}

/// The delivery a request asks for, or an ACK grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// 0: at most once.
    #[default]
    AtMostOnce = 0,
    /// 1: at least once.
    AtLeastOnce = 1,
    /// 2: effectively once, within a window.
    EffectivelyOnce = 2,
}

impl Qos {
    /// The QoS of a number, or `None` above 2.
    pub const fn from_wire(value: u8) -> Option<Qos> {
        match value {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::EffectivelyOnce),
            _ => None,
        }
    }
}

/// The flags byte.
///
/// ```
/// use mcpd_proto::{Flags, Qos};
/// let flags = Flags::NONE.with_qos(Qos::AtLeastOnce).with(Flags::DUP);
/// assert_eq!(flags.bits(), 0b0000_0101);
/// assert!(flags.has(Flags::DUP));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag set.
    pub const NONE: Flags = Flags(0);
    /// A retransmission; diagnostic only.
    pub const DUP: Flags = Flags(1 << 2);
    /// The payload starts with a metadata block.
    pub const META: Flags = Flags(1 << 3);
    /// A receiver that does not know the type skips the frame.
    pub const IGNORABLE: Flags = Flags(1 << 4);
    /// The answer to a HEARTBEAT or HELLO.
    pub const REPLY: Flags = Flags(1 << 5);
    const QOS_MASK: u8 = 0b11;
    const RESERVED: u8 = 0b1100_0000;

    /// The byte on the wire.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Flags from a wire byte, unchecked: [`Header::parse`] refuses what is reserved.
    pub const fn from_bits(bits: u8) -> Flags {
        Flags(bits)
    }

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and `other`.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These flags, and `other` if `condition` holds.
    #[must_use]
    pub const fn with_if(self, condition: bool, other: Flags) -> Flags {
        if condition { self.with(other) } else { self }
    }

    /// These flags with the QoS bits set to `qos`.
    #[must_use]
    pub const fn with_qos(self, qos: Qos) -> Flags {
        Flags(self.0 & !Self::QOS_MASK | qos as u8)
    }

    /// The QoS bits; 3, which [`Header::parse`] refuses, reads as 0.
    pub const fn qos(self) -> Qos {
        match Qos::from_wire(self.0 & Self::QOS_MASK) {
            Some(qos) => qos,
            None => Qos::AtMostOnce,
        }
    }

    const fn is_valid(self) -> bool {
        self.0 & Self::QOS_MASK != 3 && self.0 & Self::RESERVED == 0
    }
}

/// The first two bytes of the frames that matter for speed: version and type.
const PLAIN_REQUEST: u16 = u16::from_be_bytes([VERSION, Kind::Request as u8]);
const PLAIN_RESPONSE: u16 = u16::from_be_bytes([VERSION, Kind::Response as u8]);

/// Bits that are 0 in every valid pair of priority and flags.
const RESERVED_BITS: u16 = u16::from_be_bytes([!MAX_PRIORITY, Flags::RESERVED]);

/// A checked frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type, or `None` for an unknown one that says it may be ignored.
    pub kind: Option<Kind>,
    /// Matches an answer to its request; 0 is the connection itself.
    pub seq: u16,
    /// Bytes that follow the header.
    pub payload_len: u32,
    /// 0–7, higher is more urgent.
    pub priority: u8,
    /// The flags byte, free of reserved bits.
    pub flags: Flags,
}

impl Header {
    /// Checks a header that `receiver` was sent, in the protocol's order: version, priority, flags,
    /// type and direction, `seq_id`, length.
    ///
    /// # Errors
    /// The first rule that is broken; [`FrameError::code`] is what to answer.
    #[inline(always)]
    pub fn parse(
        bytes: &[u8; HEADER_LEN],
        receiver: Side,
        max_payload: u32,
    ) -> Result<Header, FrameError> {
        Header::verify(bytes, receiver, max_payload)?;
        Ok(Header::read(bytes))
    }

    /// [`Header::parse`] without its result, which would be packed into words to be handed on.
    #[inline(always)]
    pub(crate) fn verify(
        bytes: &[u8; HEADER_LEN],
        receiver: Side,
        max_payload: u32,
    ) -> Result<(), FrameError> {
        // Nearly every frame is a request to a server or its response, and breaks no rule: a few
        // comparisons find that out. Whatever is not as simple is looked at rule by rule.
        let [v, k, s0, s1, l0, l1, l2, l3, priority, flags] = *bytes;
        let plain = match receiver {
            Side::Server => PLAIN_REQUEST,
            Side::Client => PLAIN_RESPONSE,
        };
        let is_plain = u16::from_be_bytes([v, k]) == plain
            && u16::from_be_bytes([s0, s1]) != 0
            && u32::from_be_bytes([l0, l1, l2, l3]) <= max_payload
            && u16::from_be_bytes([priority, flags]) & RESERVED_BITS == 0
            && flags & Flags::QOS_MASK != 3;
        if is_plain {
            return Ok(());
        }
        Header::check(*bytes, receiver, max_payload)
    }

    /// The fields of a header that is checked already, or about to be.
    #[inline(always)]
    pub(crate) const fn read(bytes: &[u8; HEADER_LEN]) -> Header {
        let [_, kind, s0, s1, l0, l1, l2, l3, priority, flags] = *bytes;
        Header {
            kind: Kind::from_wire(kind),
            seq: u16::from_be_bytes([s0, s1]),
            payload_len: u32::from_be_bytes([l0, l1, l2, l3]),
            priority,
            flags: Flags(flags),
        }
    }

    /// Every rule, in the protocol's order.
    #[cold]
    #[inline(never)]
    fn check(bytes: [u8; HEADER_LEN], receiver: Side, max_payload: u32) -> Result<(), FrameError> {
        let header = Header::read(&bytes);
        let [version, kind, ..] = bytes;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if header.priority > MAX_PRIORITY {
            return Err(FrameError::Priority(header.priority));
        }
        if !header.flags.is_valid() {
            return Err(FrameError::Flags(header.flags.bits()));
        }
        header.check_kind(kind, receiver)?;
        if header.payload_len > max_payload {
            return Err(FrameError::TooLarge {
                len: header.payload_len,
                max: max_payload,
            });
        }
        Ok(())
    }

    fn check_kind(&self, wire: u8, receiver: Side) -> Result<(), FrameError> {
        let Some(kind) = self.kind else {
            let skip = self.flags.has(Flags::IGNORABLE);
            return if skip {
                Ok(())
            } else {
                Err(FrameError::UnknownKind(wire))
            };
        };
        if !kind.reaches(receiver) {
            return Err(FrameError::Direction(kind));
        }
        // A HELLO is asked by the client and answered by the server, never the other way round.
        if kind == Kind::Hello && self.flags.has(Flags::REPLY) != (receiver == Side::Client) {
            return Err(FrameError::Direction(kind));
        }
        let allowed = match kind {
            Kind::Request | Kind::Cancel | Kind::Response | Kind::Ack => self.seq != 0,
            Kind::Confirm | Kind::GoAway => self.seq == 0,
            Kind::Error => receiver == Side::Client || self.seq == 0,
            Kind::Heartbeat | Kind::Hello => true,
        };
        let seq = self.seq;
        allowed.then_some(()).ok_or(FrameError::Seq { kind, seq })
    }

    /// Header, metadata and payload together.
    pub const fn frame_len(&self) -> usize {
        HEADER_LEN + self.payload_len as usize
    }
}

/// Writes a header for `kind`; `payload_len` counts metadata, its length field and everything after.
#[inline(always)]
pub(crate) fn put(
    out: &mut Vec<u8>,
    kind: Kind,
    seq: u16,
    payload_len: usize,
    priority: u8,
    flags: Flags,
) {
    // A payload past u32 cannot be allocated by any caller that checks MAX_PAYLOAD first.
    let len = u32::try_from(payload_len).unwrap_or(u32::MAX);
    // One word instead of bytes: those would be stored one by one and then waited for.
    let word = u64::from(u16::from_be_bytes([VERSION, kind as u8])) << 48
        | u64::from(seq) << 32
        | u64::from(len);
    let mut head = [0; HEADER_LEN];
    head[..8].copy_from_slice(&word.to_be_bytes());
    head[8..].copy_from_slice(&[priority, flags.bits()]);
    out.extend_from_slice(&head);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: [u8; HEADER_LEN] = [1, 1, 0, 1, 0, 0, 0, 6, 0, 0];

    fn broken(change: &[(usize, u8)]) -> Result<Header, FrameError> {
        let mut bytes = OK;
        for (at, value) in change {
            bytes[*at] = *value;
        }
        Header::parse(&bytes, Side::Server, 100)
    }

    #[test]
    fn the_first_broken_rule_is_the_one_reported() {
        // Every rule is broken in the first row; each further row mends the one before.
        let all = [(0, 2), (8, 9), (9, 3), (1, 2), (3, 0), (4, 1)];
        assert_eq!(broken(&all), Err(FrameError::Version(2)));
        assert_eq!(broken(&all[1..]), Err(FrameError::Priority(9)));
        assert_eq!(broken(&all[2..]), Err(FrameError::Flags(3)));
        assert_eq!(
            broken(&all[3..]),
            Err(FrameError::Direction(Kind::Response))
        );
        assert_eq!(
            broken(&all[4..]),
            Err(FrameError::Seq {
                kind: Kind::Request,
                seq: 0
            })
        );
        assert_eq!(
            broken(&all[5..]),
            Err(FrameError::TooLarge {
                len: 0x0100_0006,
                max: 100
            })
        );
        assert!(broken(&[]).is_ok());
        let alone = |one| broken(&[one]).is_err();
        assert!(all.into_iter().all(alone), "each is enough by itself");
    }

    #[test]
    fn an_unknown_type_is_skipped_only_if_it_says_so() {
        assert_eq!(broken(&[(1, 0x33)]), Err(FrameError::UnknownKind(0x33)));
        assert_eq!(broken(&[(1, 0x33), (9, 0x10)]).map(|h| h.kind), Ok(None));
        // A type that is known but may not be sent is refused, ignorable or not.
        assert_eq!(
            broken(&[(1, 0x04), (9, 0x10)]),
            Err(FrameError::Direction(Kind::Ack))
        );
    }
}
