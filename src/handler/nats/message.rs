//! Messages of NATS made of calls, and answers made of messages.

use super::client::Failure;
use crate::handler::{is_reserved_header, onward};
use crate::message::{Answer, Call, Reply};
use crate::telemetry::AttemptOutcome;
use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, StatusCode};
use bytes::Bytes;
use mcpd_proto::{ErrorCode, MetaBuf, Trace};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Names a message for JetStream, which takes it once within its window.
const MESSAGE_ID: &str = "Nats-Msg-Id";
const TRACEPARENT: &str = "traceparent";
const CONTENT_TYPE: &str = "Content-Type";
/// How services say that they failed.
const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// Whether a header means something to servers on the way, or is set by us: no HEADER becomes one of them,
/// nor the reverse. Those of HTTP are among them, for the gateways that there are from NATS to that.
fn is_reserved(key: &str) -> bool {
    let of_nats = key
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("nats-"));
    of_nats || is_reserved_header(key)
}

/// The headers of a call's message.
///
/// # Errors
/// The refusal of one that NATS cannot carry.
pub(super) fn headers(call: &Call<'_>) -> Result<HeaderMap, Answer<'static>> {
    let mut headers = HeaderMap::new();
    for (key, value) in call.meta.headers().filter(|(key, _)| !is_reserved(key)) {
        let text = std::str::from_utf8(value).ok();
        let value = text.and_then(|text| HeaderValue::from_str(text).ok());
        let (Some(value), Ok(key)) = (value, HeaderName::from_str(key)) else {
            let text = format!("the header {key:?} is no text that NATS can carry");
            return Err(Answer::error(ErrorCode::INVALID_REQUEST, text));
        };
        headers.append(key, value);
    }
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    if let Some(content_type) = call.meta.content_type() {
        set(CONTENT_TYPE, content_type);
    }
    if let Some(state) = call.meta.tracestate() {
        set("tracestate", state);
    }
    if let Some(key) = onward::message_key(call) {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        set(MESSAGE_ID, &hex);
    }
    if let Some(trace) = onward::trace(call) {
        set(TRACEPARENT, &trace.to_string());
    }
    let left = call.deadline().saturating_duration_since(call.now());
    set("mcp-timeout-ms", &left.as_millis().to_string());
    set("mcp-priority", &call.priority.to_string());
    set("mcp-topic", call.topic.as_str());
    if let Some(client) = &call.peer.client_id {
        set("mcp-client-id", client);
    }
    if let Some(who) = &call.peer.identity {
        set("mcp-principal", who.name());
    }
    Ok(headers)
}

/// Puts a message into the trace of the attempt that it is sent by.
pub(super) fn belongs_to(headers: &mut HeaderMap, trace: Trace) {
    if let Ok(value) = HeaderValue::from_str(&trace.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
}

/// An answer, and how to count what it came of.
pub(super) type Said = (AttemptOutcome, Answer<'static>);

/// Nobody got it.
fn unheard(text: &'static str) -> Said {
    let answer = Answer::error(ErrorCode::UPSTREAM_UNAVAILABLE, text);
    (AttemptOutcome::Refused, answer)
}

/// The answer that a service's reply is.
pub(super) fn reply(message: Message) -> Said {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return unheard("nobody listens on the subject");
    }
    let headers = message.headers.unwrap_or_default();
    let Some(error) = header(&headers, SERVICE_ERROR) else {
        let meta = meta(&headers);
        let (code, body) = (None, message.payload);
        return (AttemptOutcome::Answered, Reply { code, body, meta }.into());
    };
    let mut meta = meta(&headers);
    let status = header(&headers, SERVICE_ERROR_CODE);
    if let Some(status) = status.and_then(|status| status.trim().parse().ok()) {
        meta.set_status(status);
    }
    let body = match message.payload.is_empty() {
        true => Bytes::copy_from_slice(error.as_bytes()),
        false => message.payload,
    };
    let code = Some(ErrorCode::HANDLER_ERROR);
    (AttemptOutcome::Failed, Reply { code, body, meta }.into())
}

/// The first value of a header, however its name is written.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.iter();
    let (_, values) = all.find(|(key, _)| AsRef::<str>::as_ref(key).eq_ignore_ascii_case(name))?;
    values.first().map(HeaderValue::as_str)
}

/// What of a reply's headers goes back. An answer to what has been done is not given up for a header
/// that does not fit: it stays behind.
fn meta(headers: &HeaderMap) -> MetaBuf {
    let mut meta = MetaBuf::new();
    if let Some(content_type) = header(headers, CONTENT_TYPE) {
        let _ = meta.set_content_type(content_type);
    }
    let keys = headers.iter().map(|(key, values)| {
        let key: &str = key.as_ref();
        (key.to_ascii_lowercase(), values)
    });
    let mut keys: Vec<_> = keys.filter(|(key, _)| !is_reserved(key)).collect();
    // Their order is that of a hash table.
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, values) in keys {
        for value in values {
            let _ = meta.add_header(&key, value.as_str().trim().as_bytes());
        }
    }
    meta
}

/// JetStream's word on a message.
#[derive(Deserialize)]
#[serde(untagged)]
enum Acknowledged {
    Not { error: JetStreamError },
    Stored(Stored),
}

#[derive(Deserialize, Serialize)]
struct JetStreamError {
    code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    err_code: Option<u32>,
    #[serde(default)]
    description: String,
}

/// Where a message is kept.
#[derive(Deserialize, Serialize)]
struct Stored {
    stream: String,
    seq: u64,
    /// JetStream knew its id already and did not take it again.
    #[serde(default)]
    duplicate: bool,
}

/// The answer that JetStream's acknowledgement is.
pub(super) fn acknowledgement(message: &Message) -> Said {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return unheard("no stream takes messages on the subject");
    }
    match serde_json::from_slice(&message.payload) {
        Ok(Acknowledged::Stored(stored)) => {
            // A struct of plain fields is always JSON.
            let json = serde_json::to_vec(&stored).unwrap_or_default();
            (AttemptOutcome::Answered, Answer::json(json))
        }
        Ok(Acknowledged::Not { error }) => {
            let mut meta = MetaBuf::new();
            meta.set_status(error.code);
            let _ = meta.set_content_type("application/json");
            let body = serde_json::to_vec(&error).unwrap_or_default().into();
            let code = Some(ErrorCode::HANDLER_ERROR);
            (AttemptOutcome::Failed, Reply { code, body, meta }.into())
        }
        Err(_) => {
            let text =
                "the reply is no acknowledgement of JetStream; is there a stream for the subject?";
            let answer = Answer::error(ErrorCode::UPSTREAM_LOST, text);
            (AttemptOutcome::Unknown, answer)
        }
    }
}

/// The answer where there is no reply. What found no room was no attempt.
pub(super) fn failure(failure: Failure) -> (Option<AttemptOutcome>, Answer<'static>) {
    use AttemptOutcome::{NotSent, Refused, TimedOut, Unknown};
    let (outcome, code, text) = match failure {
        Failure::Full => (
            None,
            ErrorCode::OVERLOADED,
            "as many messages wait for their replies as may",
        ),
        Failure::Disconnected => (
            Some(NotSent),
            ErrorCode::UPSTREAM_UNAVAILABLE,
            "there is no connection to NATS",
        ),
        Failure::Late => (
            Some(NotSent),
            ErrorCode::EXPIRED,
            "its time was over before it could be sent",
        ),
        Failure::Refused => (
            Some(Refused),
            ErrorCode::INVALID_REQUEST,
            "it is larger than the NATS server takes",
        ),
        Failure::Lost => (
            Some(Unknown),
            ErrorCode::UPSTREAM_LOST,
            "the connection to NATS was lost before the reply came",
        ),
        Failure::Timeout => (
            Some(TimedOut),
            ErrorCode::DEADLINE_EXCEEDED,
            "no reply came in time",
        ),
    };
    (outcome, Answer::error(code, text))
}
