//! The wire contract of MCP, the *Message Communication Protocol*: frames, metadata, topics, error
//! codes, limits, and the state of one connection.
//!
//! Nothing in here does IO, reads a clock or needs an async runtime. Decoding borrows from the input;
//! encoding appends to a caller's buffer.
//!
//! - [`Deframer`] cuts frames out of a byte stream, however it is chopped up;
//! - [`Frame`] and the messages decode and encode them;
//! - [`Meta`] reads and [`MetaBuf`] builds the metadata block;
//! - [`topic`] has topics and the patterns that match them;
//! - [`session`] is either end of a connection as a state machine.
//!
//! ```
//! use mcpd_proto::{ErrorCode, Frame, Request, Side};
//! let mut wire = Vec::new();
//! Request { seq: 7, topic: b"user/login", body: b"{}", ..Request::default() }.encode(&mut wire);
//! assert!(matches!(Frame::decode_one(&wire, Side::Server, 1 << 20)?.0, Frame::Request(r) if r.seq == 7));
//!
//! wire[0] = 2;
//! let refused = Frame::decode_one(&wire, Side::Server, 1 << 20).unwrap_err();
//! assert_eq!(refused.code(), ErrorCode::UNSUPPORTED_VERSION);
//! # Ok::<(), mcpd_proto::FrameError>(())
//! ```

mod code;
mod deframe;
mod error;
mod frame;
mod header;
pub mod limits;
mod meta;
mod read;
pub mod session;
pub mod topic;

pub use code::{Class, ErrorCode};
pub use deframe::{Deframer, RawFrame, Rules};
pub use error::FrameError;
pub use frame::{
    Ack, Cancel, Confirm, ErrorFrame, Frame, GoAway, GoAwayReason, Heartbeat, Hello, Request,
    Response,
};
pub use header::{Flags, Header, Kind, Qos, Side};
pub use meta::{Entries, Meta, MetaBuf, MetaError, Trace, TraceParentError, tag};
