//! Error codes: what a sender may conclude from one.

use std::fmt;

/// What an error says about the fate of the request it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// 0x01: the connection ends.
    Connection,
    /// 0x02: the request was not executed.
    NotExecuted,
    /// 0x03: it may have run.
    Unknown,
    /// 0x04: it ran; there is no answer to show for it.
    Executed,
    /// Another high byte: a class this version does not know, to be read as [`Class::Unknown`].
    Other(u8),
}

/// A code of an ERROR frame. The high byte is its [`Class`], bit 7 of the low byte says *permanent*.
///
/// Any `u16` is a code: one this build has no name for is still judged by class and permanence.
///
/// ```
/// use mcpd_proto::{Class, ErrorCode};
/// assert_eq!(ErrorCode::NO_ROUTE.get(), 0x0281);
/// assert_eq!(ErrorCode::NO_ROUTE.class(), Class::NotExecuted);
/// assert!(ErrorCode::NO_ROUTE.is_permanent());
/// assert_eq!(ErrorCode::NO_ROUTE.to_string(), "NO_ROUTE");
/// assert_eq!(ErrorCode::new(0x0277).to_string(), "0x0277");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(u16);

macro_rules! codes {
    ($($value:literal $name:ident $help:literal;)*) => {
        impl ErrorCode {
            $(#[doc = concat!($help, ".")] pub const $name: ErrorCode = ErrorCode($value);)*

            /// Every code that has a name, in ascending order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code's name, or `None` for one this build does not know.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }

            /// One line of explanation, or `None` for a code this build does not know.
            pub const fn explanation(self) -> Option<&'static str> {
                match self.0 { $($value => Some($help),)* _ => None }
            }

            /// The code of a name as [`ErrorCode::name`] gives it.
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name { $(stringify!($name) => Some(ErrorCode::$name),)* _ => None }
            }

            /// Position in [`ErrorCode::ALL`], for tables with a slot a code; `None` if unnamed.
            pub const fn index(self) -> Option<usize> {
                let mut at = 0;
                while at < Self::ALL.len() {
                    if Self::ALL[at].0 == self.0 { return Some(at); }
                    at += 1;
                }
                None
            }
        }
    };
}

codes! {
    0x0101 HEARTBEAT_TIMEOUT "the peer was silent for three of its heartbeat intervals";
    0x0102 SLOW_CONSUMER "the peer did not read for the write deadline";
    0x0103 TOO_MANY_CONNECTIONS "the server holds as many connections as it may";
    0x0104 CALM_DOWN "too many control frames";
    0x0105 CLOSING "the server ended the connection in order; what is unanswered was not executed";
    0x0181 UNSUPPORTED_VERSION "the frame is not of protocol version 1";
    0x0182 PROTOCOL_ERROR "the frame breaks the protocol";
    0x0183 FRAME_TOO_LARGE "the payload is larger than this side takes";
    0x0184 UNAUTHENTICATED "credentials are missing or wrong";
    0x0201 OVERLOADED "no room to run it now";
    0x0202 RATE_LIMITED "over the route's rate";
    0x0203 DRAINING "this connection takes no new requests; open another";
    0x0204 CIRCUIT_OPEN "the upstream is failing and is left alone for a while";
    0x0205 EXPIRED "its time was over before it could start";
    0x0206 TOO_MANY_IN_FLIGHT "more unanswered requests than this connection may have";
    0x0207 UPSTREAM_UNAVAILABLE "the upstream cannot be reached";
    0x0208 JOURNAL_UNAVAILABLE "it could not be made durable";
    0x0281 NO_ROUTE "no route leads this topic anywhere";
    0x0282 PERMISSION_DENIED "this principal may not use this topic";
    0x0283 QOS_UNSUPPORTED "the route does not give the QoS that was asked for";
    0x0284 MESSAGE_ID_REQUIRED "this QoS needs MESSAGE_ID and CLIENT_ID";
    0x0285 INVALID_REQUEST "the topic is not a valid one";
    0x0286 UNSUPPORTED "it carries critical metadata that is not understood";
    0x0287 HOP_LIMIT "it was forwarded too often";
    0x0288 MESSAGE_ID_REUSED "the message id was used for another message";
    0x0301 DEADLINE_EXCEEDED "the handler did not answer in time";
    0x0302 CANCELLED "it was cancelled while it ran";
    0x0303 UPSTREAM_LOST "it was sent upstream and no answer came";
    0x0304 INTERNAL "the handler broke";
    0x0305 OUTCOME_UNKNOWN "the record of its outcome is lost";
    0x0306 DEAD_LETTERED "it was tried as often as it may be and is kept for inspection";
    0x0481 HANDLER_ERROR "the handler ran and says no";
    0x0482 RESULT_EVICTED "it ran; its outcome is no longer kept";
    0x0483 RESULT_TOO_LARGE "it ran; the answer is larger than the peer takes";
}

impl ErrorCode {
    /// A code from its number.
    pub const fn new(code: u16) -> ErrorCode {
        ErrorCode(code)
    }

    /// The code's number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// What the sender may conclude.
    pub const fn class(self) -> Class {
        match (self.0 >> 8) as u8 {
            1 => Class::Connection,
            2 => Class::NotExecuted,
            3 => Class::Unknown,
            4 => Class::Executed,
            other => Class::Other(other),
        }
    }

    /// Whether the same bytes would be refused again.
    pub const fn is_permanent(self) -> bool {
        self.0 & 0x80 != 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_both_ways() {
        for (at, code) in ErrorCode::ALL.iter().enumerate() {
            let name = code.name().expect("listed codes have names");
            assert_eq!(ErrorCode::from_name(name), Some(*code));
            assert_eq!(code.index(), Some(at));
        }
        assert!(ErrorCode::ALL.is_sorted());
    }

    #[test]
    fn an_unknown_code_is_judged_by_class_and_bit() {
        let code = ErrorCode::new(0x02f0);
        assert_eq!(code.class(), Class::NotExecuted);
        assert!(code.is_permanent());
        assert_eq!(code.name(), None);
        assert!(!ErrorCode::OVERLOADED.is_permanent());
        assert_eq!(ErrorCode::new(0x0901).class(), Class::Other(9));
    }
}
