//! Bodies: taken whole, up to a size and a time.

use super::guard::Deadline;
use super::problem::{FieldError, Problem};
use axum::body::Bytes;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::time::{Duration, Instant};

/// Largest body of anything but routes.
const MAX_SMALL: usize = 64 << 10;
/// How much of a body that is not wanted is read, and for how long, so that the client gets to
/// reading why.
const DISCARD_BYTES: usize = 16 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads and forgets.
pub(super) async fn discard(request: Request) {
    // Who waits to be told to go on has not written anything.
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut body = Limited::new(request.into_body(), DISCARD_BYTES);
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whatever came of it.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

/// The whole body, of at most `max` bytes.
pub(super) async fn read(request: Request, max: usize) -> Result<Bytes, Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max as u64) {
        discard(request).await;
        return Err(too_large(max));
    }
    let deadline = request.extensions().get::<Deadline>().copied();
    let left = deadline.unwrap_or(Deadline(Instant::now())).left();
    let body = Limited::new(request.into_body(), max);
    match tokio::time::timeout(left, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Ok(Err(_)) => Err(Problem::bad_request("the body broke off")),
        Err(_) => {
            let text = "the body did not come within admin.timeout";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, text).with(header::CONNECTION, "close"))
        }
    }
}

fn too_large(max: usize) -> Problem {
    let text = format!("the body is larger than {max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text).with(header::CONNECTION, "close")
}

/// What the body is said to be, without parameters and in lower case; empty if nothing is said.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.map_or("", |value| value.to_str().unwrap_or("?"));
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().to_lowercase()
}

/// A small JSON body, or the default if there is none.
pub(super) async fn json_or_default<T>(request: Request) -> Result<T, Problem>
where
    T: DeserializeOwned + Default,
{
    let length = request.body().size_hint().exact();
    match length {
        Some(0) => Ok(T::default()),
        _ => json(request).await,
    }
}

/// A small JSON body.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let media_type = media_type(request.headers());
    let body = read(request, MAX_SMALL).await?;
    if media_type != "application/json" {
        return Err(unsupported("application/json"));
    }
    // A list would be taken for an object's values in their order.
    if body.trim_ascii_start().first() != Some(&b'{')
        && serde_json::from_slice::<IgnoredAny>(&body).is_ok()
    {
        return Err(Problem::invalid("the body is a JSON object", Vec::new()));
    }
    let mut reader = serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        not_json(field, error.inner())
    })?;
    reader
        .end()
        .map_err(|error| not_json(String::new(), &error))?;
    Ok(value)
}

fn not_json(field: String, error: &serde_json::Error) -> Problem {
    let line = u32::try_from(error.line()).ok();
    let detail = error.to_string();
    if error.is_data() {
        let error = FieldError {
            field,
            detail,
            line,
        };
        return Problem::invalid("the body does not say what it should", vec![error]);
    }
    Problem::bad_request(format!("the body is not JSON: {detail}"))
}

pub(super) fn unsupported(wanted: &str) -> Problem {
    let text = format!("send the body with the header Content-Type: {wanted}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).with(header::ACCEPT, wanted)
}
