//! What can be wrong with a frame.

use crate::code::ErrorCode;
use crate::header::Kind;

/// A frame that breaks the protocol. The connection it came on ends with [`FrameError::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not version 1: another protocol, or a later one.
    #[error("version {0} instead of 1; {hint}", hint = hint(*.0))]
    Version(u8),
    /// A priority above 7.
    #[error("priority {0} is above 7")]
    Priority(u8),
    /// QoS 3 or a reserved flag bit.
    #[error("flags 0x{0:02x} use QoS 3 or reserved bits")]
    Flags(u8),
    /// A type this version does not know, without IGNORABLE.
    #[error("unknown type 0x{0:02x} without IGNORABLE")]
    UnknownKind(u8),
    /// A type that this side may not be sent.
    #[error("this side may not be sent such a {}", .0.name())]
    Direction(Kind),
    /// A `seq_id` that its type does not allow.
    #[error("seq_id {seq} on a {}", .kind.name())]
    Seq {
        /// The frame's type.
        kind: Kind,
        /// The number it carried.
        seq: u16,
    },
    /// A payload over the receiver's limit.
    #[error("payload of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// Announced bytes.
        len: u32,
        /// Most that this side takes.
        max: u32,
    },
    /// A length that runs past what contains it.
    #[error("{what} at payload offset {offset} needs {need} bytes, {have} are there")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Where in the payload it starts.
        offset: usize,
        /// Bytes it should have.
        need: usize,
        /// Bytes that are left.
        have: usize,
    },
    /// A metadata block over 16 KiB.
    #[error("metadata of {0} bytes is over the limit of 16384")]
    MetaTooLarge(usize),
    /// A metadata value outside its stated size or characters.
    #[error("metadata tag 0x{0:02x} has a value outside its size or characters")]
    MetaValue(u8),
    /// A tag that may occur once, twice.
    #[error("metadata tag 0x{0:02x} occurs twice")]
    MetaRepeated(u8),
    /// More than 64 HEADER entries.
    #[error("more than 64 HEADER entries")]
    TooManyHeaders,
    /// A critical tag that is not known, on something other than a REQUEST.
    #[error("unknown critical metadata tag 0x{0:02x}")]
    MetaCritical(u8),
    /// A tag that the type cannot do without.
    #[error("metadata tag 0x{tag:02x} is missing on a {}", .kind.name())]
    MetaMissing {
        /// The frame's type.
        kind: Kind,
        /// The missing tag.
        tag: u8,
    },
    /// Bytes where the type has none.
    #[error("{len} bytes of payload on a {}", .kind.name())]
    Payload {
        /// The frame's type.
        kind: Kind,
        /// Bytes after the metadata.
        len: usize,
    },
    /// A text that is too long or not UTF-8.
    #[error("the text of a {} is over 1024 bytes or not UTF-8", .0.name())]
    Text(Kind),
    /// An ERROR that the sender may not send.
    #[error("a client may only send connection errors, not {0}")]
    ForeignError(ErrorCode),
}

/// What a first byte that is no version may come from.
fn hint(version: u8) -> &'static str {
    match version {
        // Content types of TLS: an alert or a handshake.
        21 | 22 => "this is TLS, which only one side speaks: mcps:// is not mcp://",
        _ => "is this an MCP client?",
    }
}

impl FrameError {
    /// The code of the connection ERROR that answers this.
    pub const fn code(&self) -> ErrorCode {
        match self {
            FrameError::Version(_) => ErrorCode::UNSUPPORTED_VERSION,
            FrameError::TooLarge { .. } => ErrorCode::FRAME_TOO_LARGE,
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }
}
