//! The metadata block: optional, tagged values in front of a payload.
//!
//! [`Meta`] is a checked view of a received block that borrows it; [`MetaBuf`] builds one. Both can
//! be put on a frame, so a block is forwarded without being taken apart.

mod build;
mod check;
pub mod tag;
mod traceparent;

pub use build::{MetaBuf, MetaError};
pub use traceparent::TraceParentError;

use crate::error::FrameError;
use crate::header::{Flags, Header};
use crate::read::Reader;
use std::time::Duration;

/// A checked metadata block. Cheap to copy; empty when the frame had none.
///
/// Each accessor gives `None` when the tag is absent. Looking up walks the block, but only when the
/// tag is known to be there.
///
/// ```
/// use mcpd_proto::{Meta, MetaBuf};
/// let mut built = MetaBuf::new();
/// built.set_timeout_ms(1500);
/// let meta: Meta<'_> = built.view();
/// assert_eq!(meta.timeout_ms(), Some(1500));
/// assert_eq!(meta.client_id(), None);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// The entries, without the block's length field.
    block: &'a [u8],
    /// Bit n is set when known tag n occurs; known tags are all below 64.
    present: u64,
    /// First critical tag that is not known, 0 for none.
    critical: u8,
}

/// A W3C trace context: who asked, and whether they record it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Trace {
    /// The trace, shared by everything one cause sets off.
    pub trace_id: [u8; 16],
    /// The sender's span.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

impl Trace {
    const LEN: usize = 25;

    /// Whether the sender records its span, bit 0 of the flags.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 != 0
    }

    fn from_bytes(bytes: &[u8]) -> Option<Trace> {
        let (trace_id, rest) = bytes.split_first_chunk::<16>()?;
        let (span_id, rest) = rest.split_first_chunk::<8>()?;
        let [flags] = *rest else { return None };
        // All zero counts as absent: so encoders may reserve the room and fill it in later.
        let absent = *trace_id == [0; 16] && *span_id == [0; 8] && flags == 0;
        (!absent).then_some(Trace {
            trace_id: *trace_id,
            span_id: *span_id,
            flags,
        })
    }

    /// The 25 bytes on the wire.
    pub fn to_bytes(self) -> [u8; 25] {
        let mut bytes = [0; Trace::LEN];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }
}

impl<'a> Meta<'a> {
    /// No metadata.
    pub const EMPTY: Meta<'static> = Meta {
        block: &[],
        present: 0,
        critical: 0,
    };

    /// Checks the entries of a block (without its length field).
    ///
    /// # Errors
    /// Any entry that breaks the protocol. An unknown critical tag is not an error here, see
    /// [`Meta::unknown_critical`].
    pub fn parse(block: &'a [u8]) -> Result<Meta<'a>, FrameError> {
        check::block(block)
    }

    /// Splits a payload into its metadata, if the header says there is some, and what follows.
    #[inline(always)]
    pub(crate) fn of(
        header: &Header,
        payload: &'a [u8],
    ) -> Result<(Meta<'a>, &'a [u8]), FrameError> {
        if header.flags.has(Flags::META) {
            Meta::split(payload)
        } else {
            Ok((Meta::EMPTY, payload))
        }
    }

    fn split(payload: &'a [u8]) -> Result<(Meta<'a>, &'a [u8]), FrameError> {
        let mut reader = Reader::new(payload, 0);
        let len = usize::from(reader.u16("metadata length")?);
        if len > crate::limits::MAX_META_LEN {
            return Err(FrameError::MetaTooLarge(len));
        }
        let block = reader.take("metadata block", len)?;
        Ok((Meta::parse(block)?, reader.rest()))
    }

    /// Whether there is nothing to write: a frame with this has no META flag.
    pub const fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// The entries as they stand on the wire, without the block's length field.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.block
    }

    /// Bytes this takes on a frame, its length field included.
    #[inline]
    pub const fn encoded_len(&self) -> usize {
        if self.block.is_empty() {
            0
        } else {
            2 + self.block.len()
        }
    }

    #[inline]
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        if !self.block.is_empty() {
            // Both ways to make a Meta bound the block by MAX_META_LEN.
            let len = u16::try_from(self.block.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(self.block);
        }
    }

    /// The first critical tag (0x80 and above) that this build does not know.
    pub const fn unknown_critical(&self) -> Option<u8> {
        if self.critical == 0 {
            None
        } else {
            Some(self.critical)
        }
    }

    /// Every entry in wire order, unknown tags included.
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            reader: Reader::new(self.block, 0),
        }
    }

    fn get(&self, tag: u8) -> Option<&'a [u8]> {
        if self.present & (1 << tag) == 0 {
            return None;
        }
        self.entries()
            .find(|(found, _)| *found == tag)
            .map(|(_, value)| value)
    }

    fn array<const N: usize>(&self, tag: u8) -> Option<[u8; N]> {
        self.get(tag)?.try_into().ok()
    }

    fn text(&self, tag: u8) -> Option<&'a str> {
        std::str::from_utf8(self.get(tag)?).ok()
    }

    fn u32(&self, tag: u8) -> Option<u32> {
        self.array(tag).map(u32::from_be_bytes)
    }

    /// TRACE; an all-zero one counts as absent.
    pub fn trace(&self) -> Option<Trace> {
        Trace::from_bytes(self.get(tag::TRACE)?)
    }

    /// TRACESTATE, ASCII, ≤ 512 bytes.
    pub fn tracestate(&self) -> Option<&'a str> {
        self.text(tag::TRACESTATE)
    }

    /// TIMEOUT_MS: what is left of the sender's patience; 0 is already over.
    pub fn timeout_ms(&self) -> Option<u32> {
        self.u32(tag::TIMEOUT_MS)
    }

    /// MESSAGE_ID, chosen by the client.
    pub fn message_id(&self) -> Option<[u8; 16]> {
        self.array(tag::MESSAGE_ID)
    }

    /// CONTENT_TYPE: media type of the body, ASCII, ≤ 255 bytes.
    pub fn content_type(&self) -> Option<&'a str> {
        self.text(tag::CONTENT_TYPE)
    }

    /// RETRY_AFTER_MS: wait at least this, plus jitter of one's own.
    pub fn retry_after_ms(&self) -> Option<u32> {
        self.u32(tag::RETRY_AFTER_MS)
    }

    /// HEADER entries in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let any = self.present & (1 << tag::HEADER) != 0;
        let entries = if any {
            self.entries()
        } else {
            Meta::EMPTY.entries()
        };
        entries
            .filter(|(tag, _)| *tag == tag::HEADER)
            .filter_map(|(_, entry)| {
                let (len, rest) = entry.split_first()?;
                let (key, value) = rest.split_at_checked(usize::from(*len))?;
                Some((std::str::from_utf8(key).ok()?, value))
            })
    }

    /// ROUTE_REVISION: of the table that routed the request.
    pub fn route_revision(&self) -> Option<u64> {
        self.array(tag::ROUTE_REVISION).map(u64::from_be_bytes)
    }

    /// HOPS: forwarding hops left.
    pub fn hops(&self) -> Option<u8> {
        self.array(tag::HOPS).map(|[hops]| hops)
    }

    /// AGE_MS: time since this message id was first sent.
    pub fn age_ms(&self) -> Option<u32> {
        self.u32(tag::AGE_MS)
    }

    /// STATUS: the upstream's own status, on HANDLER_ERROR.
    pub fn status(&self) -> Option<u16> {
        self.array(tag::STATUS).map(u16::from_be_bytes)
    }

    /// CLIENT_ID: 1–128 of `[A-Za-z0-9._:@-]`.
    pub fn client_id(&self) -> Option<&'a str> {
        self.text(tag::CLIENT_ID)
    }

    /// AUTH_TOKEN. Never log it.
    pub fn auth_token(&self) -> Option<&'a [u8]> {
        self.get(tag::AUTH_TOKEN)
    }

    /// HEARTBEAT_MS as a duration, 1–600 s.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.u32(tag::HEARTBEAT_MS)
            .map(|ms| Duration::from_millis(ms.into()))
    }

    /// MAX_PAYLOAD: largest `payload_len` the sender takes.
    pub fn max_payload(&self) -> Option<u32> {
        self.u32(tag::MAX_PAYLOAD)
    }

    /// MAX_IN_FLIGHT: unanswered requests the server allows on this connection.
    pub fn max_in_flight(&self) -> Option<u16> {
        self.array(tag::MAX_IN_FLIGHT).map(u16::from_be_bytes)
    }

    /// SERVER_ID, ≤ 128 bytes.
    pub fn server_id(&self) -> Option<&'a str> {
        self.text(tag::SERVER_ID)
    }

    /// AGENT: library and version, ≤ 128 bytes.
    pub fn agent(&self) -> Option<&'a str> {
        self.text(tag::AGENT)
    }

    /// INCARNATION: names one memory of message ids.
    pub fn incarnation(&self) -> Option<[u8; 16]> {
        self.array(tag::INCARNATION)
    }

    /// DEDUP_WINDOW_S: how long message ids are remembered, in seconds.
    pub fn dedup_window_s(&self) -> Option<u32> {
        self.u32(tag::DEDUP_WINDOW_S)
    }

    /// FEATURES both HELLOs must name before one is used.
    pub fn features(&self) -> impl Iterator<Item = u16> + use<'a> {
        let bytes = self.get(tag::FEATURES).unwrap_or_default();
        bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }
}

impl std::fmt::Debug for Meta<'_> {
    /// Shows every entry but the token, which never reaches a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for (tag, value) in self.entries() {
            match tag {
                tag::AUTH_TOKEN => map.entry(&tag::name(tag), &"…"),
                _ => map.entry(&tag::name(tag), &value.escape_ascii().to_string()),
            };
        }
        map.finish()
    }
}

/// The entries of a checked block: see [`Meta::entries`].
#[derive(Clone)]
pub struct Entries<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        check::entry(&mut self.reader).ok().flatten()
    }
}

#[cfg(test)]
mod tests;
