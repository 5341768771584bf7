//! GOAWAY: the server asks the client to move.

use super::{clip, meta_flag, text};
use crate::error::FrameError;
use crate::header::{Flags, Kind, put};
use crate::limits::HEADER_LEN;
use crate::meta::Meta;
use crate::read::Reader;

/// Why a client should move to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum GoAwayReason {
    /// 1: the server is going to stop. Any unknown reason reads as this.
    Draining = 1,
    /// 2: the connection has reached its greatest age.
    MaxAge = 2,
    /// 3: another server has more room.
    Rebalance = 3,
    /// 4: the credentials must be shown again.
    Reauthenticate = 4,
}

impl GoAwayReason {
    /// Every reason.
    pub const ALL: [GoAwayReason; 4] = [
        GoAwayReason::Draining,
        GoAwayReason::MaxAge,
        GoAwayReason::Rebalance,
        GoAwayReason::Reauthenticate,
    ];

    /// The reason of a wire value; unknown ones read as draining.
    pub const fn from_wire(value: u16) -> GoAwayReason {
        match value {
            2 => GoAwayReason::MaxAge,
            3 => GoAwayReason::Rebalance,
            4 => GoAwayReason::Reauthenticate,
            _ => GoAwayReason::Draining,
        }
    }

    /// A name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            GoAwayReason::Draining => "draining",
            GoAwayReason::MaxAge => "max_age",
            GoAwayReason::Rebalance => "rebalance",
            GoAwayReason::Reauthenticate => "reauthenticate",
        }
    }
}

/// "Open a new connection and send new requests there"; IGNORABLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// The reason's wire value, see [`GoAway::reason`].
    pub reason: u16,
    /// For a person; at most 1 KiB is encoded.
    pub text: &'a str,
    /// May carry RETRY_AFTER_MS.
    pub meta: Meta<'a>,
}

impl<'a> GoAway<'a> {
    pub(super) fn from_parts(meta: Meta<'a>, rest: &'a [u8]) -> Result<GoAway<'a>, FrameError> {
        let mut reader = Reader::new(rest, meta.encoded_len());
        let reason = reader.u16("goaway reason")?;
        Ok(GoAway {
            reason,
            text: text(Kind::GoAway, reader.rest())?,
            meta,
        })
    }

    /// Why, with unknown values read as draining.
    pub const fn reason(&self) -> GoAwayReason {
        GoAwayReason::from_wire(self.reason)
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len() + 2 + clip(self.text).len()
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = meta_flag(&self.meta).with(Flags::IGNORABLE);
        put(
            out,
            Kind::GoAway,
            0,
            self.encoded_len() - HEADER_LEN,
            0,
            flags,
        );
        self.meta.put(out);
        out.extend_from_slice(&self.reason.to_be_bytes());
        out.extend_from_slice(clip(self.text).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal, meta};
    use crate::{Frame, MetaBuf, Side};

    fn sample(meta: &MetaBuf) -> Frame<'_> {
        Frame::GoAway(GoAway {
            reason: 1,
            text: "rollout",
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
        testing::truncation(sample(&meta()), Side::Client, "rollout".len());
    }

    #[test]
    fn literal_bytes() {
        literal(
            sample(&MetaBuf::new()),
            "010700000000000900100001726f6c6c6f7574",
        );
    }

    #[test]
    fn flag_variants() {
        testing::flags(sample(&meta()), Side::Client, Flags::DUP.with(Flags::REPLY));
    }

    #[test]
    fn an_unknown_reason_reads_as_draining() {
        let frame = GoAway {
            reason: 77,
            text: "",
            meta: Meta::EMPTY,
        };
        assert_eq!(frame.reason(), GoAwayReason::Draining);
        for reason in GoAwayReason::ALL {
            assert_eq!(GoAwayReason::from_wire(reason as u16), reason);
        }
    }
}
