//! From a response of HTTP to an answer.

use super::headers;
use super::pool::tell;
use super::settings::HttpSettings;
use crate::message::{Answer, Reply};
use crate::upstream::{Fate, Tried};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};
use mcpd_proto::{ErrorCode, MetaBuf};
use std::time::Duration;

/// The longest that a server's Retry-After is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why a body was not read to its end.
enum Cut {
    TooLarge,
    Lost(String),
}

/// Reads a response to its end and gives what it means. The second is whether the connection is free again.
pub(super) async fn read(
    settings: &HttpSettings,
    response: Response<Incoming>,
) -> (Tried<Answer<'static>>, bool) {
    let (head, body) = response.into_parts();
    match whole(body, settings.max_response).await {
        Ok(body) => (answer(settings, &head, body), true),
        Err(Cut::TooLarge) if head.status.is_success() => {
            let max = settings.max_response;
            let text = format!("the upstream's answer is longer than {max} bytes");
            let answer = Answer::error(ErrorCode::RESULT_TOO_LARGE, text);
            let fate = Fate::Answered { well: true };
            (Tried { fate, answer }, false)
        }
        // What went wrong matters more than how it is told.
        Err(Cut::TooLarge) => (answer(settings, &head, Bytes::new()), false),
        Err(Cut::Lost(why)) => (lost(&why), false),
    }
}

/// The attempt whose answer is not there, or not all of it.
pub(super) fn lost(why: &str) -> Tried<Answer<'static>> {
    let text = format!("the upstream was lost after the request was sent: {why}");
    Tried {
        fate: Fate::Unknown,
        answer: Answer::error(ErrorCode::UPSTREAM_LOST, text),
    }
}

async fn whole(mut body: Incoming, max: usize) -> Result<Bytes, Cut> {
    if body.size_hint().lower() > max as u64 {
        return Err(Cut::TooLarge);
    }
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Cut::Lost(tell(&error)))?;
        // Trailers tell nothing that an answer has room for.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + more.len() + data.len() > max {
            return Err(Cut::TooLarge);
        }
        match first.is_empty() {
            // One that comes in one piece is not copied.
            true => first = data,
            false => more.extend_from_slice(&data),
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    let mut all = BytesMut::with_capacity(first.len() + more.len());
    all.extend_from_slice(&first);
    all.extend_from_slice(&more);
    Ok(all.freeze())
}

fn answer(settings: &HttpSettings, head: &Parts, body: Bytes) -> Tried<Answer<'static>> {
    let status = head.status;
    if status.is_success() {
        let meta = meta(settings, &head.headers);
        let reply = Reply {
            code: None,
            body,
            meta,
        };
        let fate = Fate::Answered { well: true };
        return Tried {
            fate,
            answer: reply.into(),
        };
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            if settings.refuses_before_running =>
        {
            refused(status, &head.headers)
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            let text = format!("the upstream answered {status}: whoever it asked may have done it");
            Tried {
                fate: Fate::Unknown,
                answer: Answer::error(ErrorCode::UPSTREAM_LOST, text),
            }
        }
        // Nobody asked for a change of protocol.
        status if status.is_informational() => lost(&format!("it answered {status}")),
        status => {
            let mut meta = meta(settings, &head.headers);
            meta.set_status(status.as_u16());
            let reply = Reply {
                code: Some(ErrorCode::HANDLER_ERROR),
                body,
                meta,
            };
            let well = !status.is_server_error();
            Tried {
                fate: Fate::Answered { well },
                answer: reply.into(),
            }
        }
    }
}

fn refused(status: StatusCode, headers: &HeaderMap) -> Tried<Answer<'static>> {
    let retry_after = retry_after(headers);
    let answer = Answer::Error {
        code: ErrorCode::OVERLOADED,
        detail: format!("the upstream answered {status}, before it did anything").into(),
        retry_after,
    };
    let fate = Fate::Refused { retry_after };
    Tried { fate, answer }
}

/// Retry-After in seconds; a date is not understood, and then there is none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = Duration::from_secs(seconds.trim().parse().ok()?);
    Some(wait.min(MAX_RETRY_AFTER))
}

/// CONTENT_TYPE, and as many HEADERs as there is room for.
fn meta(settings: &HttpSettings, headers: &HeaderMap) -> MetaBuf {
    let mut meta = MetaBuf::new();
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|text| text.to_str().ok());
    if let Some(content_type) = content_type
        && meta.set_content_type(content_type).is_err()
    {
        tracing::debug!("a media type of an upstream is too long, and left out");
    }
    for (name, value) in headers {
        let goes = match &settings.response_headers {
            Some(list) => list.contains(name),
            None => headers::goes_back(name.as_str()),
        };
        if goes && let Err(error) = meta.add_header(name.as_str(), value.as_bytes()) {
            let name = name.as_str();
            tracing::debug!(name, %error, "a header of an upstream is left out");
        }
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, refuses: bool) -> (Fate, Option<ErrorCode>) {
        let mut settings = HttpSettings::new("http://orders/").unwrap();
        settings.refuses_before_running = refuses;
        let response = Response::builder()
            .status(status)
            .header("retry-after", "2");
        let (head, ()) = response.body(()).unwrap().into_parts();
        let tried = answer(&settings, &head, Bytes::from_static(b"told"));
        let code = match tried.answer {
            Answer::Error { code, .. } => Some(code),
            Answer::Reply(reply) => reply.code,
            Answer::Response { .. } => None,
        };
        (tried.fate, code)
    }

    #[test]
    fn every_status_has_its_meaning() {
        let well = |well| Fate::Answered { well };
        let rejected = Some(ErrorCode::HANDLER_ERROR);
        for refuses in [false, true] {
            for status in [200, 201, 204, 299] {
                assert_eq!(of(status, refuses), (well(true), None), "{status}");
            }
            for status in [301, 400, 401, 404, 409, 422] {
                assert_eq!(of(status, refuses), (well(true), rejected), "{status}");
            }
            for status in [500, 501, 505, 599] {
                assert_eq!(of(status, refuses), (well(false), rejected), "{status}");
            }
            for status in [502, 504, 101] {
                let lost = Some(ErrorCode::UPSTREAM_LOST);
                assert_eq!(of(status, refuses), (Fate::Unknown, lost), "{status}");
            }
        }
        assert_eq!(of(429, false), (well(true), rejected));
        assert_eq!(of(503, false), (well(false), rejected));
        let retry_after = Some(Duration::from_secs(2));
        let refused = (Fate::Refused { retry_after }, Some(ErrorCode::OVERLOADED));
        assert_eq!([of(429, true), of(503, true)], [refused, refused]);
    }
}
