//! ERROR: a request or the connection failed.

use super::{meta_flag, text};
use crate::code::{Class, ErrorCode};
use crate::error::FrameError;
use crate::header::{Header, Kind, Side, put};
use crate::limits::{HEADER_LEN, MAX_TEXT_LEN};
use crate::meta::Meta;
use crate::read::Reader;

/// Says why there is no other answer; with `seq` 0, why there is no connection any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorFrame<'a> {
    /// The request's `seq_id`; 0 is the connection itself.
    pub seq: u16,
    /// The request's priority.
    pub priority: u8,
    /// What the sender may conclude.
    pub code: ErrorCode,
    /// UTF-8 text of at most 1 KiB; for HANDLER_ERROR a body of CONTENT_TYPE.
    pub detail: &'a [u8],
    /// See [`Meta`].
    pub meta: Meta<'a>,
}

impl<'a> ErrorFrame<'a> {
    pub(super) fn from_parts(
        header: &Header,
        meta: Meta<'a>,
        rest: &'a [u8],
        receiver: Side,
    ) -> Result<ErrorFrame<'a>, FrameError> {
        let mut reader = Reader::new(rest, meta.encoded_len());
        let code = ErrorCode::new(reader.u16("error code")?);
        let detail = reader.rest();
        if receiver == Side::Server && code.class() != Class::Connection {
            return Err(FrameError::ForeignError(code));
        }
        // A connection error belongs to no request.
        if code.class() == Class::Connection && header.seq != 0 {
            return Err(FrameError::Seq {
                kind: Kind::Error,
                seq: header.seq,
            });
        }
        if code != ErrorCode::HANDLER_ERROR {
            text(Kind::Error, detail)?;
        }
        Ok(ErrorFrame {
            seq: header.seq,
            priority: header.priority,
            code,
            detail,
            meta,
        })
    }

    /// The detail as text; a HANDLER_ERROR's body that is not UTF-8 gives `""`.
    pub fn text(&self) -> &'a str {
        std::str::from_utf8(self.detail).unwrap_or_default()
    }

    /// What goes out: a text is cut to its limit, a handler's body is not.
    fn wire_detail(&self) -> &'a [u8] {
        if self.code == ErrorCode::HANDLER_ERROR || self.detail.len() <= MAX_TEXT_LEN {
            return self.detail;
        }
        super::clip(self.text()).as_bytes()
    }

    /// Bytes of the whole frame.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.meta.encoded_len() + 2 + self.wire_detail().len()
    }

    /// Appends everything in front of the detail.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        let payload = self.encoded_len() - HEADER_LEN;
        put(
            out,
            Kind::Error,
            self.seq,
            payload,
            self.priority,
            meta_flag(&self.meta),
        );
        self.meta.put(out);
        out.extend_from_slice(&self.code.get().to_be_bytes());
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        out.extend_from_slice(self.wire_detail());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{self, literal, meta};
    use crate::{Flags, Frame, MetaBuf};

    fn sample<'a>(meta: &'a MetaBuf, code: ErrorCode, detail: &'a [u8]) -> Frame<'a> {
        let seq = if code.class() == Class::Connection {
            0
        } else {
            7
        };
        Frame::Error(ErrorFrame {
            seq,
            priority: 2,
            code,
            detail,
            meta: meta.view(),
        })
    }

    #[test]
    fn round_trip() {
        let (with, none) = (meta(), MetaBuf::new());
        for code in ErrorCode::ALL {
            testing::round_trip(sample(&with, *code, b"why"), Side::Client);
            testing::round_trip(sample(&none, *code, b""), Side::Client);
        }
        testing::round_trip(sample(&none, ErrorCode::CALM_DOWN, b"client"), Side::Server);
        let body = [0xff; 3000];
        testing::round_trip(sample(&none, ErrorCode::HANDLER_ERROR, &body), Side::Client);
    }

    #[test]
    fn truncation_at_every_byte() {
        testing::truncation(
            sample(&meta(), ErrorCode::NO_ROUTE, b"why"),
            Side::Client,
            3,
        );
    }

    #[test]
    fn literal_bytes() {
        let none = MetaBuf::new();
        literal(
            sample(&none, ErrorCode::CLOSING, b"drained"),
            "010500000000000902000105647261696e6564",
        );
    }

    #[test]
    fn flag_variants() {
        let meaningless = Flags::DUP.with(Flags::REPLY).with(Flags::IGNORABLE);
        testing::flags(
            sample(&meta(), ErrorCode::NO_ROUTE, b"x"),
            Side::Client,
            meaningless,
        );
    }

    #[test]
    fn text_is_bounded_and_utf8_but_a_handlers_body_is_free() {
        let none = MetaBuf::new();
        let (long, bad) = ([b'x'; 1025], [0xffu8; 2]);
        testing::decodes_to(
            &raw(ErrorCode::NO_ROUTE, &long),
            Side::Client,
            FrameError::Text(Kind::Error),
        );
        testing::decodes_to(
            &raw(ErrorCode::NO_ROUTE, &bad),
            Side::Client,
            FrameError::Text(Kind::Error),
        );
        testing::encodes_consistently(sample(&none, ErrorCode::NO_ROUTE, &long));
    }

    #[test]
    fn a_client_may_only_send_connection_errors() {
        let (code, wire) = (ErrorCode::NO_ROUTE, raw(ErrorCode::NO_ROUTE, b""));
        let mut zero = wire.clone();
        zero[3] = 0;
        testing::decodes_to(&zero, Side::Server, FrameError::ForeignError(code));
        let wire = raw(ErrorCode::CALM_DOWN, b"");
        testing::decodes_to(
            &wire,
            Side::Client,
            FrameError::Seq {
                kind: Kind::Error,
                seq: 7,
            },
        );
    }

    fn raw(code: ErrorCode, detail: &[u8]) -> Vec<u8> {
        let len = u8::try_from((2 + detail.len()) >> 8).unwrap();
        let mut wire = vec![1, 5, 0, 7, 0, 0, len, (2 + detail.len()) as u8, 0, 0];
        wire.extend_from_slice(&code.get().to_be_bytes());
        wire.extend_from_slice(detail);
        wire
    }
}
