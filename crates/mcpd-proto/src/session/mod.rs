//! Either end of a connection as a state machine: frames, bytes and `now` in; events, frames to send
//! and deadlines out. No IO, no clock, no runtime.
//!
//! A driver owns the socket. It reads bytes, cuts them with a [`crate::Deframer`], gives each frame to
//! [`Server::receive`] or [`Client::receive`], acts on the [`ServerEvent`] or [`ClientEvent`], writes
//! what was appended to the control buffer ahead of everything else, and calls `on_deadline` when the
//! time that `deadline` named has come.
//!
//! ```text
//!            HELLO            GOAWAY, its time is over        last answer is out
//!   Opening ───────▶ Open ──────────────────────────▶ Refusing ──────────────▶ Closed(CLOSING)
//!      └── any other first frame ─▲                        ▲
//!   from every state: a broken rule or a dead peer ─▶ Closed(code)
//! ```

mod budget;
mod client;
mod event;
mod link;
mod seq_table;
mod server;
mod settings;

pub use client::{Client, ClientEvent, Fate, SendError};
pub use event::{Admitted, ServerEvent};
pub use link::{HeartbeatSettings, LinkReport};
pub use seq_table::SeqTable;
pub use server::Server;
pub use settings::{ClientSettings, ServerSettings, Welcome};

use crate::code::ErrorCode;
use crate::error::FrameError;
use std::time::Duration;

/// Why a connection ends: the code for the last ERROR frame, and a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Ended {
    /// A code of class 0x01.
    pub code: ErrorCode,
    /// What happened, fit to be sent to the peer.
    pub text: String,
    /// How long the peer should wait before it connects again.
    pub retry_after: Option<Duration>,
}

impl Ended {
    /// The end of a connection for a reason of the caller's.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Ended {
        Ended {
            code,
            text: text.into(),
            retry_after: None,
        }
    }
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Ended {
        Ended::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests;
