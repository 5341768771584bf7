//! What is made of what the next server says. Its classes are kept, and where it says nothing, none
//! is claimed that is not known.

use crate::message::{Answer, Body, Reply};
use crate::upstream::{Fate, Tried};
use mcpd_client::{Error, ErrorClass, ErrorKind, Meta, MetaBuf};
use mcpd_proto::limits::MAX_TEXT_LEN;
use mcpd_proto::{Class, ErrorCode};
use std::borrow::Cow;

/// What came of an attempt that got a connection.
pub(super) fn tried(result: Result<mcpd_client::Answer, Error>) -> Tried<Answer<'static>> {
    match result {
        Ok(answer) => Tried {
            fate: Fate::Answered { well: true },
            answer: response(answer),
        },
        Err(error) => Tried {
            fate: fate(&error),
            answer: refusal(&error),
        },
    }
}

/// What the next server answered.
pub(super) fn response(answer: mcpd_client::Answer) -> Answer<'static> {
    let meta = kept(answer.meta());
    let body = answer.into_body();
    match meta.is_empty() {
        // Mostly there is nothing else, and it needs no box.
        true => Answer::Response {
            body: Body::Shared(body),
            content_type: None,
        },
        false => Reply {
            code: None,
            body,
            meta,
        }
        .into(),
    }
}

/// What came of an attempt for which there was no connection.
pub(super) fn unreached(error: &Error) -> Tried<Answer<'static>> {
    let answer = Answer::Error {
        code: ErrorCode::UPSTREAM_UNAVAILABLE,
        detail: Cow::Owned(shortened(error.to_string())),
        retry_after: error.retry_after(),
    };
    let fate = Fate::Unreached;
    Tried { fate, answer }
}

/// What came of an attempt that was sent and whose time is over.
pub(super) fn late() -> Tried<Answer<'static>> {
    let text = "no answer within the time given";
    Tried {
        fate: Fate::TimedOut,
        answer: Answer::error(ErrorCode::DEADLINE_EXCEEDED, text),
    }
}

/// What may be concluded, for the request and for the server.
fn fate(error: &Error) -> Fate {
    match (error.class(), error.kind()) {
        (ErrorClass::NotExecuted, ErrorKind::Invalid | ErrorKind::Timeout) => Fate::Rejected,
        (ErrorClass::NotExecuted, ErrorKind::Refused) => match error.code() {
            Some(code) if !speaks_of_itself(code) => Fate::Rejected,
            _ => Fate::Refused {
                retry_after: error.retry_after(),
            },
        },
        // Its connections know that it is gone, and who asks for one next goes elsewhere.
        (ErrorClass::NotExecuted, _) => Fate::Unreached,
        (ErrorClass::Executed, _) => Fate::Answered { well: true },
        (ErrorClass::Unknown, ErrorKind::Timeout) => Fate::TimedOut,
        (ErrorClass::Unknown, _) => Fate::Unknown,
    }
}

/// Whether a refusal is of this server alone, so that another may take what it does not. All others are for
/// the client: the next server has tried what there is to try, and if each on the way tried again, their
/// attempts would multiply.
fn speaks_of_itself(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OVERLOADED
            | ErrorCode::DRAINING
            | ErrorCode::TOO_MANY_IN_FLIGHT
            | ErrorCode::JOURNAL_UNAVAILABLE
    )
}

/// What goes back to whoever asked. TRACE and ROUTE_REVISION speak of the next server.
fn kept(meta: Meta<'_>) -> MetaBuf {
    let mut kept = MetaBuf::new();
    if meta.is_empty() {
        return kept;
    }
    // It was valid where it came from. Only headers can be too many beside what is added here, and an
    // answer to what has been done is not given up for a header.
    if let Some(content_type) = meta.content_type() {
        let _ = kept.set_content_type(content_type);
    }
    if let Some(ms) = meta.retry_after_ms() {
        kept.set_retry_after(std::time::Duration::from_millis(ms.into()));
    }
    for (key, value) in meta.headers() {
        let _ = kept.add_header(key, value);
    }
    if let Some(status) = meta.status() {
        kept.set_status(status);
    }
    kept
}

fn refusal(error: &Error) -> Answer<'static> {
    let said = error
        .code()
        .filter(|code| code.class() != Class::Connection);
    // The next server's word on this very request.
    if let Some(code) = said
        && matches!(
            error.kind(),
            ErrorKind::Refused | ErrorKind::Unknown | ErrorKind::Executed
        )
    {
        let meta = kept(error.meta());
        let body = match error.body() {
            Some(body) => body.clone(),
            None => error.text().as_bytes().to_vec().into(),
        };
        let code = Some(code);
        return Reply { code, body, meta }.into();
    }
    Answer::Error {
        code: concluded(error),
        detail: Cow::Owned(shortened(error.to_string())),
        retry_after: error.retry_after(),
    }
}

/// The code for an end without the next server's word on the request.
fn concluded(error: &Error) -> ErrorCode {
    match (error.class(), error.kind()) {
        (ErrorClass::NotExecuted, ErrorKind::Invalid) => ErrorCode::INVALID_REQUEST,
        (ErrorClass::NotExecuted, ErrorKind::Timeout) => ErrorCode::EXPIRED,
        (ErrorClass::NotExecuted, ErrorKind::Busy | ErrorKind::Refused) => ErrorCode::OVERLOADED,
        (ErrorClass::NotExecuted, _) => ErrorCode::UPSTREAM_UNAVAILABLE,
        (_, ErrorKind::Timeout) => ErrorCode::DEADLINE_EXCEEDED,
        (ErrorClass::Unknown | ErrorClass::Executed, _) => ErrorCode::UPSTREAM_LOST,
    }
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT_LEN));
    text
}
