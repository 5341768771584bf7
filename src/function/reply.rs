//! From a function's result to an answer.

use crate::message::Reply;
use bytes::Bytes;
use mcpd_proto::{ErrorCode, MetaBuf};
use std::convert::Infallible;
use std::time::Duration;

/// What a function may give.
pub trait IntoReply {
    /// The answer.
    fn into_reply(self) -> Reply;
}

impl IntoReply for Reply {
    fn into_reply(self) -> Reply {
        self
    }
}

impl IntoReply for Infallible {
    fn into_reply(self) -> Reply {
        match self {}
    }
}

/// An empty RESPONSE.
impl IntoReply for () {
    fn into_reply(self) -> Reply {
        Reply::default()
    }
}

macro_rules! body {
    ($($kind:ty),*) => {$(
        impl IntoReply for $kind {
            fn into_reply(self) -> Reply {
                Reply { body: self.into(), ..Reply::default() }
            }
        }
    )*};
}

body!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl<T: IntoReply, E: IntoReply> IntoReply for Result<T, E> {
    fn into_reply(self) -> Reply {
        match self {
            Ok(value) => value.into_reply(),
            Err(error) => error.into_reply(),
        }
    }
}

impl Reply {
    /// A RESPONSE with this body.
    pub fn new(body: impl Into<Bytes>) -> Reply {
        Reply {
            body: body.into(),
            ..Reply::default()
        }
    }

    /// With this CONTENT_TYPE: ASCII, at most 255 bytes; anything else is left out.
    #[must_use]
    pub fn content_type(mut self, media_type: &str) -> Reply {
        let _ = self.meta.set_content_type(media_type);
        self
    }

    /// With one HEADER more: a key of `[a-z0-9_.-]{1,64}`, a value of at most 4 KiB without CR, LF and
    /// NUL, at most 64 of them; anything else is left out, rather than failing what has been done.
    #[must_use]
    pub fn header(mut self, key: &str, value: impl AsRef<[u8]>) -> Reply {
        if let Err(error) = self.meta.add_header(key, value.as_ref()) {
            tracing::debug!(key, %error, "a HEADER of an answer is left out");
        }
        self
    }
}

/// Why there is no RESPONSE, and what the client may conclude.
///
/// *Rejected* says that the function has looked at the request and will not have it, now or ever:
/// HANDLER_ERROR, which is final. *Failed* says that something broke on the way, and nobody knows what has
/// been done: INTERNAL, after which a message of QoS 1 is tried again. *Refused* promises that nothing
/// has been done: OVERLOADED, after which clients try again by themselves.
///
/// ```
/// use mcpd::function::Failure;
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     Ok(text.parse::<u32>()?) // any error: failed
/// }
/// let failure = parse("x").unwrap_err();
/// assert_eq!(failure.to_string(), "INTERNAL: the handler failed");
/// let failure = Failure::rejected("amount: is more than there is").status(409);
/// assert!(failure.to_string().starts_with("HANDLER_ERROR"));
/// ```
#[derive(Clone)]
pub struct Failure(Box<Reply>);

impl Failure {
    fn new(code: ErrorCode, text: impl Into<Bytes>) -> Failure {
        Failure(Box::new(Reply {
            code: Some(code),
            body: text.into(),
            meta: MetaBuf::new(),
        }))
    }

    /// The request will not do: HANDLER_ERROR with this text.
    pub fn rejected(text: impl Into<String>) -> Failure {
        Failure::new(ErrorCode::HANDLER_ERROR, text.into())
    }

    /// The same with a body of some media type in place of a text.
    pub fn rejected_with(media_type: &str, body: impl Into<Bytes>) -> Failure {
        let mut failure = Failure::new(ErrorCode::HANDLER_ERROR, body);
        // A media type that is none would only hide the body.
        let _ = failure.0.meta.set_content_type(media_type);
        failure
    }

    /// Something broke: INTERNAL with this text, at most 1 KiB of which goes out.
    pub fn failed(text: impl Into<String>) -> Failure {
        Failure::new(ErrorCode::INTERNAL, text.into())
    }

    /// Nothing was done, and after a while it may be: OVERLOADED with RETRY_AFTER_MS. Only right
    /// where it is true: the client will send the request again.
    pub fn refused(text: impl Into<String>, retry_after: Duration) -> Failure {
        let mut failure = Failure::new(ErrorCode::OVERLOADED, text.into());
        failure.0.meta.set_retry_after(retry_after);
        failure
    }

    /// With a STATUS, which says what kind of rejection it is; numbers as HTTP has them are usual.
    #[must_use]
    pub fn status(mut self, status: u16) -> Failure {
        self.0.meta.set_status(status);
        self
    }
}

impl IntoReply for Failure {
    fn into_reply(self) -> Reply {
        *self.0
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.0.code.unwrap_or(ErrorCode::INTERNAL);
        write!(f, "{code}: {}", String::from_utf8_lossy(&self.0.body))
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Failed. What the error says goes to the log and not to the client, who is a stranger to what is inside.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text += &format!(": {cause}");
            source = cause.source();
        }
        tracing::warn!(error = text, "a function failed");
        Failure::failed("the handler failed")
    }
}
