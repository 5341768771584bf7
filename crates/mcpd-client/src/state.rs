//! How a connection is doing, as its users see it.

use crate::error::{Error, ErrorClass, ErrorKind, retry_after};
use mcpd_proto::limits::DEFAULT_HEARTBEAT;
use mcpd_proto::session::{Client, Ended};
use mcpd_proto::{ErrorCode, ErrorFrame, GoAway, GoAwayReason, Meta};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What a server says of itself in its HELLO; the protocol's defaults where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// SERVER_ID, ≤ 128 bytes.
    pub server_id: Option<String>,
    /// AGENT: its software and version.
    pub agent: Option<String>,
    /// Largest payload it takes, in bytes, metadata included.
    pub max_payload: u32,
    /// Unanswered requests it allows on this connection.
    pub max_in_flight: u16,
    /// It shows a sign of life within this time.
    pub heartbeat: Duration,
    /// Names its memory of message ids.
    pub incarnation: Option<[u8; 16]>,
    /// How long it remembers message ids.
    pub dedup_window: Option<Duration>,
}

impl ServerInfo {
    pub(crate) fn new(session: &Client, meta: &Meta<'_>) -> ServerInfo {
        let seconds = |s: u32| Duration::from_secs(s.into());
        ServerInfo {
            server_id: meta.server_id().map(str::to_owned),
            agent: meta.agent().map(str::to_owned),
            max_payload: session.max_payload(),
            max_in_flight: session.max_in_flight(),
            heartbeat: meta.heartbeat().unwrap_or(DEFAULT_HEARTBEAT),
            incarnation: meta.incarnation(),
            dedup_window: meta.dedup_window_s().map(seconds),
        }
    }
}

/// How a connection is doing.
#[derive(Debug, Clone)]
pub enum State {
    /// It takes requests.
    Open,
    /// The server asks to move: it goes on serving this connection for a while, and new requests
    /// belong on a new one.
    GoingAway(GoingAway),
    /// It has ended.
    Closed(Closed),
}

/// The server's wish that the client moves to a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoingAway {
    /// Why.
    pub reason: GoAwayReason,
    /// For a person.
    pub text: String,
    /// Wait this long, and up to as much again at random, before connecting anew.
    pub retry_after: Option<Duration>,
}

impl GoingAway {
    pub(crate) fn new(frame: &GoAway<'_>) -> GoingAway {
        GoingAway {
            reason: frame.reason(),
            text: frame.text.to_owned(),
            retry_after: retry_after(&frame.meta),
        }
    }
}

/// Who or what ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCause {
    /// This side: it was closed or its last handle dropped.
    Local,
    /// The server said so by an ERROR for the connection; CLOSING is the orderly one.
    Server,
    /// The server broke the protocol, fell silent, or stopped reading; this side gave it up.
    GivenUp,
    /// The stream ended or failed without a word.
    Lost,
}

/// How a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Closed {
    /// Who or what ended it.
    pub cause: CloseCause,
    /// The code the server ended it with, or this side told the server.
    pub code: Option<ErrorCode>,
    /// For a person.
    pub text: String,
    /// Wait this long, and up to as much again at random, before connecting anew.
    pub retry_after: Option<Duration>,
    source: Option<Arc<io::Error>>,
}

impl Closed {
    fn new(cause: CloseCause, code: Option<ErrorCode>, text: impl Into<String>) -> Closed {
        Closed {
            cause,
            code,
            text: text.into(),
            retry_after: None,
            source: None,
        }
    }

    pub(crate) fn local() -> Closed {
        Closed::new(CloseCause::Local, None, "the connection was closed here")
    }

    pub(crate) fn by_server(frame: &ErrorFrame<'_>) -> Closed {
        Closed {
            retry_after: retry_after(&frame.meta),
            ..Closed::new(CloseCause::Server, Some(frame.code), frame.text())
        }
    }

    pub(crate) fn given_up(ended: Ended) -> Closed {
        Closed::new(CloseCause::GivenUp, Some(ended.code), ended.text)
    }

    pub(crate) fn end_of_stream() -> Closed {
        let text = "the server ended the stream without a word";
        Closed::new(CloseCause::Lost, None, text)
    }

    pub(crate) fn end_of_task() -> Closed {
        let text = "the connection's runtime was shut down";
        Closed::new(CloseCause::Lost, None, text)
    }

    pub(crate) fn failed(error: io::Error) -> Closed {
        let text = match error.kind() {
            // TLS, which has an end of its own.
            io::ErrorKind::UnexpectedEof => "the stream was cut off".to_owned(),
            _ => format!("the connection failed: {error}"),
        };
        Closed {
            source: Some(Arc::new(error)),
            ..Closed::new(CloseCause::Lost, None, text)
        }
    }

    /// Whether it ended as the protocol wants: by this side's wish or with CLOSING.
    pub fn is_orderly(&self) -> bool {
        self.cause == CloseCause::Local || self.code == Some(ErrorCode::CLOSING)
    }

    /// The input or output error that ended it.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_deref()
    }

    /// What a call is told whose connection ended so.
    pub(crate) fn error(&self, class: ErrorClass) -> Error {
        // HEARTBEAT_TIMEOUT and SLOW_CONSUMER are failings of the link, not of the server's bytes.
        let broken =
            self.cause == CloseCause::GivenUp && self.code.is_some_and(ErrorCode::is_permanent);
        let kind = if broken {
            ErrorKind::Protocol
        } else {
            ErrorKind::Closed
        };
        self.describe(Error::new(kind, class, self.text.as_str()))
    }

    /// What a call to connect is told when the connection ended before it was open.
    pub(crate) fn connect_error(&self) -> Error {
        self.describe(Error::connect(self.text.as_str()))
    }

    fn describe(&self, error: Error) -> Error {
        let error = error
            .with_code(self.code)
            .with_retry_after(self.retry_after);
        match &self.source {
            Some(source) => error.with_source(source.clone()),
            None => error,
        }
    }
}
