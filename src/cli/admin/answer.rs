//! An answer of the admin API: read within bounds, and judged.

use super::Failed;
use reqwest::header::{CONTENT_TYPE, ETAG, LOCATION};
use reqwest::{Client, Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Largest answer to a refusal; a hundred problems fit many times.
const MAX_PROBLEM: usize = 1 << 20;

/// A success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) etag: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON of this shape.
    ///
    /// # Errors
    /// It is not, so it is not the admin API that has answered.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failed::foreign(format!(
                "the answer is not what the admin API says: {error}"
            ))
        })
    }
}

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) field: String,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) line: Option<u32>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line.filter(|line| *line > 0) {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.detail)
    }
}

/// A problem document of RFC 9457, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProblemDocument {
    title: String,
    detail: String,
    errors: Vec<Problem>,
}

/// Sends and reads.
pub(super) async fn ask(
    client: &Client,
    request: Request,
    address: &str,
    most: usize,
) -> Result<Answer, Failed> {
    let lost = |error: reqwest::Error| Failed::transport(&error, address);
    let response = client.execute(request).await.map_err(lost)?;
    let status = response.status();
    if status.is_redirection() {
        let to = header(&response, LOCATION.as_str()).unwrap_or_default();
        let text =
            format!("{address} sends elsewhere ({status}), to {to:?}, which is not followed");
        return Err(Failed::foreign(text));
    }
    let etag = header(&response, ETAG.as_str());
    let content_type = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
    if status.is_success() {
        let body = read(response, most, address).await?;
        if !matches!(
            essence(&content_type),
            "application/json" | "application/yaml"
        ) {
            let text = format!("{address} answers with {content_type:?} instead of JSON");
            return Err(Failed::foreign(text));
        }
        return Ok(Answer { etag, body });
    }
    if essence(&content_type) != "application/problem+json" {
        let text = format!("{address} answers {status}, and not as the admin API does");
        return Err(Failed::foreign(text));
    }
    let body = read(response, MAX_PROBLEM, address).await?;
    let problem: ProblemDocument = serde_json::from_slice(&body).unwrap_or_default();
    let mut title = problem.title;
    if title.is_empty() {
        title = status.canonical_reason().unwrap_or("refused").to_owned();
    }
    let mut failed = Failed::refused(status.as_u16(), title, problem.detail);
    failed.errors = problem.errors;
    failed.etag = etag;
    Err(failed)
}

/// Sends and reads what is no part of the admin API: status and text, whatever they are.
#[cfg(feature = "top")]
pub(super) async fn page(
    client: &Client,
    request: Request,
    address: &str,
    most: usize,
) -> Result<(u16, String), Failed> {
    let lost = |error: reqwest::Error| Failed::transport(&error, address);
    let response = client.execute(request).await.map_err(lost)?;
    let status = response.status().as_u16();
    let body = read(response, most, address).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

async fn read(mut response: Response, most: usize, address: &str) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let text = format!("{address} answers with more than {most} bytes");
                return Err(Failed::foreign(text));
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(Failed::transport(&error, address)),
        }
    }
}
