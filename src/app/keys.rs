//! Where the keys of JWTs come from: a file, or the issuer's URL.

use crate::config::JwtConfig;
use crate::files;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where keys come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    File(PathBuf, usize),
    Url(Endpoint),
}

/// A URL, and how to ask it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    url: Url,
    client: Client,
    max_bytes: usize,
    pub(super) refresh: Duration,
    pub(super) max_stale: Option<Duration>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path, _) => path.display().fmt(f),
            Source::Url(endpoint) => endpoint.url.fmt(f),
        }
    }
}

impl Source {
    /// The source that is configured, if there is one.
    ///
    /// # Errors
    /// There is no HTTP client to be had.
    pub(super) fn of(config: &JwtConfig) -> Result<Option<Source>, String> {
        if let Some(path) = &config.jwks_file {
            return Ok(Some(Source::File(path.clone(), config.max_bytes)));
        }
        let Some(url) = &config.jwks_url else {
            return Ok(None);
        };
        let wrong = |error: &dyn Error| format!("auth.jwt.jwks_url: {}", chain(error));
        let url = Url::parse(url).map_err(|error| wrong(&error))?;
        let client = client(&url, config.timeout).map_err(|error| wrong(&error))?;
        Ok(Some(Source::Url(Endpoint {
            url,
            client,
            max_bytes: config.max_bytes,
            refresh: config.refresh,
            max_stale: config.max_stale,
        })))
    }

    /// What it holds now, and a byte too many if it is too large.
    ///
    /// # Errors
    /// Why it cannot be had, by its key.
    pub(super) async fn get(&self) -> Result<Vec<u8>, String> {
        match self {
            Source::File(path, max_bytes) => read(path, *max_bytes),
            Source::Url(endpoint) => endpoint.get().await,
        }
    }

    /// What to call it in messages.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Source::File(..) => "auth.jwt.jwks_file",
            Source::Url(_) => "auth.jwt.jwks_url",
        }
    }

    pub(super) fn max_bytes(&self) -> usize {
        match self {
            Source::File(_, max_bytes) => *max_bytes,
            Source::Url(endpoint) => endpoint.max_bytes,
        }
    }
}

/// Reads the file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(path: &std::path::Path, max_bytes: usize) -> Result<Vec<u8>, String> {
    let read = files::read(path, max_bytes);
    read.map_err(|error| format!("auth.jwt.jwks_file: {}: {error}", path.display()))
}

fn client(url: &Url, timeout: Duration) -> Result<Client, reqwest::Error> {
    // Whoever comes second finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .timeout(timeout)
        // The settings say where keys are; an answer does not.
        .redirect(Policy::none());
    // What is on this machine is behind no proxy, and must not be asked of one in plain text.
    let builder = match url.scheme() {
        "http" => builder.no_proxy(),
        _ => builder,
    };
    builder.build()
}

impl Endpoint {
    async fn get(&self) -> Result<Vec<u8>, String> {
        let wrong = |what: String| format!("auth.jwt.jwks_url: {}: {what}", self.url);
        let failed = |error: reqwest::Error| wrong(chain(&error.without_url()));
        let answer = self.client.get(self.url.clone()).send().await;
        let answer = answer.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(wrong(format!("answers {}", answer.status())));
        }
        self.body(answer).await.map_err(failed)
    }

    /// No more of it than may be.
    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let room = (self.max_bytes + 1).saturating_sub(body.len());
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if body.len() > self.max_bytes {
                break;
            }
        }
        Ok(body)
    }
}

/// An error with what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
