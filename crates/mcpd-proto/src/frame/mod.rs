//! The messages, one a file, and the decoding of any of them.
//!
//! Decoding borrows from the input. Encoding appends to a caller's buffer: `encode` writes the whole
//! frame, `encode_head` everything in front of the body, so that the body can go out as a slice of
//! its own in a vectored write.

mod ack;
mod cancel;
mod confirm;
mod error;
mod goaway;
mod heartbeat;
mod hello;
mod request;
mod response;

pub use ack::Ack;
pub use cancel::Cancel;
pub use confirm::Confirm;
pub use error::ErrorFrame;
pub use goaway::{GoAway, GoAwayReason};
pub use heartbeat::Heartbeat;
pub use hello::Hello;
pub use request::Request;
pub use response::Response;

use crate::error::FrameError;
use crate::header::{Flags, Header, Kind, Side};
use crate::limits::{HEADER_LEN, MAX_TEXT_LEN};
use crate::meta::Meta;

/// Any frame, borrowing from the bytes it was decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// See [`Request`].
    Request(Request<'a>),
    /// See [`Response`].
    Response(Response<'a>),
    /// See [`Heartbeat`].
    Heartbeat(Heartbeat<'a>),
    /// See [`Ack`].
    Ack(Ack<'a>),
    /// See [`ErrorFrame`].
    Error(ErrorFrame<'a>),
    /// See [`Hello`].
    Hello(Hello<'a>),
    /// See [`GoAway`].
    GoAway(GoAway<'a>),
    /// See [`Cancel`].
    Cancel(Cancel<'a>),
    /// See [`Confirm`].
    Confirm(Confirm<'a>),
    /// An unknown type that says it may be ignored.
    Ignored,
}

impl<'a> Frame<'a> {
    /// Decodes the payload that belongs to a checked header; `receiver` is the side that got it.
    ///
    /// # Errors
    /// The first rule that is broken, metadata before the type's own layout.
    #[inline(always)]
    pub fn decode(
        header: &Header,
        payload: &'a [u8],
        receiver: Side,
    ) -> Result<Frame<'a>, FrameError> {
        // The two that matter for speed come first and are small enough to be inlined, so that a
        // caller who looks at one kind never sees the others' fields go through memory.
        match header.kind {
            Some(Kind::Request) => return Request::decode(header, payload).map(Frame::Request),
            Some(Kind::Response) if !header.flags.has(Flags::META) => {
                let response = Response::from_parts(header, Meta::EMPTY, payload);
                return Ok(Frame::Response(response));
            }
            _ => {}
        }
        // Taken apart and put together again: only this copy has to be in memory for the call.
        let header = Header { ..*header };
        Frame::decode_any(&header, payload, receiver)
    }

    /// [`Frame::decode`] for every other kind.
    #[inline(never)]
    fn decode_any(
        header: &Header,
        payload: &'a [u8],
        receiver: Side,
    ) -> Result<Frame<'a>, FrameError> {
        let Some(kind) = header.kind else {
            return Ok(Frame::Ignored);
        };
        let (meta, rest) = Meta::of(header, payload)?;
        if let Some(tag) = meta.unknown_critical() {
            return Err(FrameError::MetaCritical(tag));
        }
        match kind {
            Kind::Request => Request::from_parts(header, meta, rest).map(Frame::Request),
            Kind::Response => Ok(Frame::Response(Response::from_parts(header, meta, rest))),
            Kind::Heartbeat => Heartbeat::from_parts(header, meta, rest).map(Frame::Heartbeat),
            Kind::Ack => Ack::from_parts(header, meta, rest).map(Frame::Ack),
            Kind::Error => ErrorFrame::from_parts(header, meta, rest, receiver).map(Frame::Error),
            Kind::Hello => Hello::from_parts(header, meta, rest).map(Frame::Hello),
            Kind::GoAway => GoAway::from_parts(meta, rest).map(Frame::GoAway),
            Kind::Cancel => Cancel::from_parts(header, meta, rest).map(Frame::Cancel),
            Kind::Confirm => Confirm::from_parts(meta, rest).map(Frame::Confirm),
        }
    }

    /// Decodes exactly one frame from the front of `bytes`, as `receiver` would; gives the frame and
    /// its length. Convenient for tools and tests; a connection uses a [`crate::Deframer`].
    ///
    /// # Errors
    /// As [`Header::parse`] and [`Frame::decode`]; [`FrameError::Short`] when bytes are missing.
    #[inline(always)]
    pub fn decode_one(
        bytes: &'a [u8],
        receiver: Side,
        max_payload: u32,
    ) -> Result<(Frame<'a>, usize), FrameError> {
        let short = |what, offset: usize, need: usize| FrameError::Short {
            what,
            offset,
            need,
            have: bytes.len().saturating_sub(offset),
        };
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(short("header", 0, HEADER_LEN));
        };
        Header::verify(head, receiver, max_payload)?;
        let header = Header::read(head);
        let len = header.payload_len as usize;
        let payload = rest
            .get(..len)
            .ok_or_else(|| short("payload", HEADER_LEN, len))?;
        Ok((
            Frame::decode(&header, payload, receiver)?,
            header.frame_len(),
        ))
    }

    /// Appends the frame to `out`. [`Frame::Ignored`] appends nothing.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Request(frame) => frame.encode(out),
            Frame::Response(frame) => frame.encode(out),
            Frame::Heartbeat(frame) => frame.encode(out),
            Frame::Ack(frame) => frame.encode(out),
            Frame::Error(frame) => frame.encode(out),
            Frame::Hello(frame) => frame.encode(out),
            Frame::GoAway(frame) => frame.encode(out),
            Frame::Cancel(frame) => frame.encode(out),
            Frame::Confirm(frame) => frame.encode(out),
            Frame::Ignored => {}
        }
    }

    /// Bytes that [`Frame::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Frame::Request(frame) => frame.encoded_len(),
            Frame::Response(frame) => frame.encoded_len(),
            Frame::Heartbeat(frame) => frame.encoded_len(),
            Frame::Ack(frame) => frame.encoded_len(),
            Frame::Error(frame) => frame.encoded_len(),
            Frame::Hello(frame) => frame.encoded_len(),
            Frame::GoAway(frame) => frame.encoded_len(),
            Frame::Cancel(frame) => frame.encoded_len(),
            Frame::Confirm(frame) => frame.encoded_len(),
            Frame::Ignored => 0,
        }
    }
}

/// The META flag, if `meta` has anything to say.
#[inline]
fn meta_flag(meta: &Meta<'_>) -> Flags {
    Flags::NONE.with_if(!meta.is_empty(), Flags::META)
}

/// Refuses bytes after the metadata of a type that has none.
fn expect_empty(kind: Kind, rest: &[u8]) -> Result<(), FrameError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(FrameError::Payload {
            kind,
            len: rest.len(),
        })
    }
}

/// Checks the text of an ERROR or GOAWAY.
fn text(kind: Kind, bytes: &[u8]) -> Result<&str, FrameError> {
    if bytes.len() > MAX_TEXT_LEN {
        return Err(FrameError::Text(kind));
    }
    std::str::from_utf8(bytes).map_err(|_| FrameError::Text(kind))
}

/// The longest prefix of a text that is within the limit and ends on a character.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_LEN)]
}

#[cfg(test)]
mod testing;
