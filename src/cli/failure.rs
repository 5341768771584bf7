//! Why a command came to nothing, for people and for scripts.

use super::advice;
use super::exit::Exit;
use super::output::complain;
use super::render;
use mcpd_client::{Bytes, Error, ErrorClass, ErrorCode, ErrorKind};
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

/// Longest words of a handler that are shown within the line; more goes below it.
const SHORT: usize = 200;

/// A failure with all that is known of it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) kind: &'static str,
    pub(super) code: Option<ErrorCode>,
    pub(super) class: ErrorClass,
    pub(super) permanent: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) text: String,
    /// The error of the client, with what the server sent.
    pub(super) error: Option<Error>,
    advice: &'static str,
}

impl Failure {
    /// The command cannot be done as it was given; nothing was sent.
    pub(super) fn usage(text: String) -> Failure {
        let class = ErrorClass::NotExecuted;
        let advice = advice::for_kind(ErrorKind::Invalid, class);
        Failure::local(Exit::Usage, "invalid", class, true, text, advice)
    }

    pub(super) fn internal(text: String) -> Failure {
        let advice = "check the limits of this process (files, memory, threads)";
        let class = ErrorClass::NotExecuted;
        Failure::local(Exit::Internal, "internal", class, false, text, advice)
    }

    /// No connection came about within the time for it.
    pub(super) fn not_open_within(time: Duration) -> Failure {
        let text = format!("the connection was not open within {time:?}");
        let class = ErrorClass::NotExecuted;
        let advice = advice::for_kind(ErrorKind::Connect, class);
        Failure::local(
            Exit::Unreachable,
            "no_connection",
            class,
            false,
            text,
            advice,
        )
    }

    /// Ctrl-C, with or without a request under way.
    pub(super) fn interrupted(class: ErrorClass) -> Failure {
        let (text, advice) = match class {
            ErrorClass::NotExecuted => ("stopped before it was sent", "send it again at will"),
            _ => (
                "stopped while it waited for the answer; the request was cancelled",
                "find out whether it ran before you send it again",
            ),
        };
        let exit = Exit::Interrupted;
        Failure::local(exit, "interrupted", class, false, text.to_owned(), advice)
    }

    fn local(
        exit: Exit,
        kind: &'static str,
        class: ErrorClass,
        permanent: bool,
        text: String,
        advice: &'static str,
    ) -> Failure {
        Failure {
            exit,
            kind,
            code: None,
            class,
            permanent,
            retry_after: None,
            text,
            error: None,
            advice,
        }
    }

    /// What a terminal shows: what happened and may be concluded; what to do.
    pub(super) fn show(&self) {
        let name = match self.code {
            Some(code) => code.to_string(),
            None => self.kind.replace('_', " "),
        };
        let class = match self.class {
            ErrorClass::NotExecuted => "not executed",
            ErrorClass::Unknown => "may have been executed",
            ErrorClass::Executed => "executed",
        };
        let lasting = if self.permanent {
            "permanent"
        } else {
            "transient"
        };
        let (text, body) = self.words();
        complain(&format!("{name} ({class}, {lasting}): {text}"));
        match self.retry_after {
            Some(wait) => complain(&format!("hint: {}; wait at least {wait:?}", self.advice)),
            None => complain(&format!("hint: {}", self.advice)),
        }
        if let Some(body) = body {
            complain(body.trim_end());
        }
    }

    /// The text for the line and, where a handler says more than fits it, what it says.
    fn words(&self) -> (String, Option<String>) {
        let explanation = || self.code.and_then(ErrorCode::explanation).unwrap_or("?");
        let Some(body) = self.body().filter(|body| !body.is_empty()) else {
            let text = render::one_line(&self.text);
            let text = if text.is_empty() {
                explanation().to_owned()
            } else {
                text
            };
            return (text, None);
        };
        match std::str::from_utf8(body) {
            Ok(text) if text.len() <= SHORT && !text.trim_end().contains('\n') => {
                (render::one_line(text), None)
            }
            _ => {
                let content_type = self.error.as_ref().and_then(Error::content_type);
                let shown = render::for_terminal(body, content_type);
                (explanation().to_owned(), Some(shown))
            }
        }
    }

    /// What the handler says, where it said no.
    pub(super) fn body(&self) -> Option<&Bytes> {
        self.error.as_ref()?.body()
    }

    /// The word for the class in JSON.
    pub(super) fn class_word(&self) -> &'static str {
        match self.class {
            ErrorClass::NotExecuted => "not_executed",
            ErrorClass::Unknown => "unknown",
            ErrorClass::Executed => "executed",
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (kind, class) = (error.kind(), error.class());
        let advice = match error.code() {
            Some(code) => advice::for_code(code, class),
            None => {
                tls_cause(&error).map_or_else(|| advice::for_kind(kind, class), advice::for_tls)
            }
        };
        Failure {
            exit: Exit::of(&error),
            kind: kind_word(kind),
            code: error.code(),
            class,
            permanent: error.is_permanent(),
            retry_after: error.retry_after(),
            text: error.text().to_owned(),
            error: Some(error),
            advice,
        }
    }
}

/// What TLS itself says of an error, if it is about that.
pub(super) fn tls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An error of input and output does not give what is in it as its source.
        let inner = error.downcast_ref().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn kind_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Connect => "no_connection",
        ErrorKind::Closed => "connection_lost",
        ErrorKind::Protocol => "protocol_broken",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Refused => "refused",
        ErrorKind::Executed => "executed",
        _ => "unknown",
    }
}
