//! What can go wrong with a request or a connection, and what may be concluded from it.

use crate::reply::Reply;
use mcpd_proto::session::{self, SendError};
use mcpd_proto::{Class, ErrorCode, ErrorFrame, Meta, MetaError, Trace};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Refused on this side: an option, address, topic, header or size is not allowed. Nothing was
    /// sent, and the same call will fail again.
    Invalid,
    /// No connection came about: the name, the network or the server's HELLO said no.
    Connect,
    /// The client was closed, or its runtime is no more.
    Shutdown,
    /// This side has as many calls waiting for a connection as it may.
    Busy,
    /// The connection ended, or was closed, before the answer came.
    Closed,
    /// The server broke the protocol, so the connection was ended.
    Protocol,
    /// The time given to the call is over.
    Timeout,
    /// The server answered that it did not execute the request.
    Refused,
    /// The server answered that it cannot say whether the request ran.
    Unknown,
    /// The request ran and there is no ordinary answer: the handler says no ([`Error::body`]), or
    /// its answer is not to be had.
    Executed,
}

/// What the sender may conclude about the request's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It did not run: sending it again does no harm.
    NotExecuted,
    /// It may have run.
    Unknown,
    /// It ran.
    Executed,
}

/// Why a call failed. Cheap to move; look at [`Error::kind`] and [`Error::class`] to decide, at the
/// text to explain.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    class: ErrorClass,
    code: Option<ErrorCode>,
    text: String,
    retry_after: Option<Duration>,
    reply: Option<Reply>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Not a byte of it was made into a frame.
    unsent: bool,
    attempts: u32,
    /// An earlier attempt than the one told of may have run.
    earlier: bool,
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, class: ErrorClass, text: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            class,
            code: None,
            text: text.into(),
            retry_after: None,
            reply: None,
            source: None,
            unsent: false,
            attempts: 1,
            earlier: false,
        }))
    }

    /// Says that the call never got as far as the socket's task.
    pub(crate) fn unsent(mut self) -> Error {
        self.0.unsent = true;
        self
    }

    pub(crate) fn is_unsent(&self) -> bool {
        self.0.unsent
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Error {
        self.0.attempts = attempts;
        self
    }

    /// Says that this call may have run before, whatever became of its last attempt.
    pub(crate) fn after_unknown(mut self) -> Error {
        if self.0.class == ErrorClass::NotExecuted {
            self.0.class = ErrorClass::Unknown;
            self.0.earlier = true;
            if self.0.kind == ErrorKind::Refused {
                self.0.kind = ErrorKind::Unknown;
            }
        }
        self
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, ErrorClass::NotExecuted, text)
    }

    pub(crate) fn connect(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::Connect, ErrorClass::NotExecuted, text)
    }

    pub(crate) fn with_source(mut self, source: Arc<dyn StdError + Send + Sync>) -> Error {
        self.0.source = Some(source);
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn with_text(mut self, text: String) -> Error {
        self.0.text = text;
        self
    }

    pub(crate) fn with_code(mut self, code: Option<ErrorCode>) -> Error {
        self.0.code = code;
        self
    }

    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Error {
        self.0.retry_after = wait;
        self
    }

    /// The same once more, for another of those whom it concerns.
    pub(crate) fn again(&self) -> Error {
        let error = Error::new(self.0.kind, self.0.class, self.0.text.as_str())
            .with_code(self.0.code)
            .with_retry_after(self.0.retry_after);
        match &self.0.source {
            Some(source) => error.with_source(source.clone()),
            None => error,
        }
    }

    /// The server's ERROR for a request.
    pub(crate) fn from_frame(frame: &ErrorFrame<'_>, payload: &[u8]) -> Error {
        let (kind, class) = match frame.code.class() {
            Class::NotExecuted => (ErrorKind::Refused, ErrorClass::NotExecuted),
            Class::Executed => (ErrorKind::Executed, ErrorClass::Executed),
            // A class this version does not know reads as "it may have run".
            _ => (ErrorKind::Unknown, ErrorClass::Unknown),
        };
        let text = match frame.code {
            ErrorCode::HANDLER_ERROR => "",
            _ => frame.text(),
        };
        let mut error = Error::new(kind, class, text);
        error.0.code = Some(frame.code);
        error.0.retry_after = retry_after(&frame.meta);
        error.0.reply = Some(Reply::copy(payload, &frame.meta, frame.detail));
        error
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What may be concluded about the request's effects.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The server's code: of the request's ERROR, or of the one that ended the connection.
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.code
    }

    /// What is wrong, for a person, without code and class: the server's own words where it sent
    /// an ERROR. Empty where there are none, as for HANDLER_ERROR, which has [`Error::body`].
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether the same call would fail again, as far as can be told.
    pub fn is_permanent(&self) -> bool {
        match self.0.code {
            Some(code) => code.is_permanent(),
            None => self.0.kind == ErrorKind::Invalid,
        }
    }

    /// How often the request was sent; 0 when it never was. A bare connection sends once.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The least time the server asks to wait before a new attempt; add up to as much again at
    /// random, so that clients do not come back all at once.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the handler says, for HANDLER_ERROR; its type is [`Error::content_type`].
    pub fn body(&self) -> Option<&bytes::Bytes> {
        let handler = self.0.code == Some(ErrorCode::HANDLER_ERROR);
        self.0.reply.as_ref().filter(|_| handler).map(Reply::body)
    }

    /// The media type of [`Error::body`]; `text/plain` when the server named none.
    pub fn content_type(&self) -> Option<&str> {
        self.body()?;
        Some(self.meta().content_type().unwrap_or("text/plain"))
    }

    /// The upstream's own status, on HANDLER_ERROR.
    pub fn status(&self) -> Option<u16> {
        self.meta().status()
    }

    /// The server's span, when it has answered a request that carried a trace.
    pub fn trace(&self) -> Option<Trace> {
        self.meta().trace()
    }

    /// The metadata of the server's ERROR; empty when there was none.
    pub fn meta(&self) -> Meta<'_> {
        self.0.reply.as_ref().map_or(Meta::EMPTY, Reply::meta)
    }
}

pub(crate) fn retry_after(meta: &Meta<'_>) -> Option<Duration> {
    meta.retry_after_ms()
        .map(|ms| Duration::from_millis(ms.into()))
}

impl From<session::Fate> for ErrorClass {
    fn from(fate: session::Fate) -> ErrorClass {
        match fate {
            session::Fate::NotExecuted => ErrorClass::NotExecuted,
            session::Fate::Unknown => ErrorClass::Unknown,
        }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Error {
        let kind = match error {
            SendError::Topic(_) | SendError::TooLarge { .. } => ErrorKind::Invalid,
            SendError::TooManyInFlight(_) => ErrorKind::Refused,
            _ => ErrorKind::Closed,
        };
        let text = error.to_string();
        let error = Error::new(kind, ErrorClass::NotExecuted, text).with_source(Arc::new(error));
        error.unsent()
    }
}

impl From<MetaError> for Error {
    fn from(error: MetaError) -> Error {
        Error::invalid(error.to_string()).with_source(Arc::new(error))
    }
}

impl ErrorClass {
    fn explanation(self) -> &'static str {
        match self {
            ErrorClass::NotExecuted => "it was not executed",
            ErrorClass::Unknown => "it may have been executed",
            ErrorClass::Executed => "it was executed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind, code, text, ..
        } = &*self.0;
        match code {
            Some(code) => {
                write!(
                    f,
                    "{code}: {}",
                    code.explanation().unwrap_or("a code unknown here")
                )?;
                if !text.is_empty() {
                    write!(f, " ({text})")?;
                }
            }
            None => f.write_str(text)?,
        }
        if matches!(
            kind,
            ErrorKind::Closed | ErrorKind::Protocol | ErrorKind::Timeout
        ) {
            write!(f, "; {}", self.0.class.explanation())?;
        } else if self.0.earlier {
            f.write_str("; an earlier attempt may have been executed")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind)
            .field("class", &self.0.class);
        if let Some(code) = &self.0.code {
            out.field("code", code);
        }
        out.field("text", &self.0.text);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(&**source)
    }
}
