//! What `mcpd send --json` prints. Keys are only ever added: scripts read this.

use super::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mcpd_client::{Answer, Error, Meta};
use serde::Serialize;

/// Every key is always there, `null` where it says nothing.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report<'a> {
    pub(super) ok: bool,
    pub(super) exit_code: u8,
    pub(super) topic: &'a str,
    pub(super) server: String,
    pub(super) server_id: Option<&'a str>,
    kind: &'a str,
    code: Option<String>,
    class: &'a str,
    permanent: Option<bool>,
    retry_after_ms: Option<u64>,
    text: Option<&'a str>,
    content_type: Option<&'a str>,
    body: Option<&'a str>,
    body_base64: Option<String>,
    headers: Vec<Header<'a>>,
    status: Option<u16>,
    route_revision: Option<u64>,
    granted_qos: Option<u8>,
    pub(super) elapsed_ms: Option<f64>,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
    pub(super) sampled: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Header<'a> {
    key: &'a str,
    value: Option<&'a str>,
    value_base64: Option<String>,
}

impl<'a> Report<'a> {
    pub(super) fn answered(answer: &'a Answer) -> Report<'a> {
        let report = Report {
            ok: true,
            kind: "answer",
            class: "executed",
            granted_qos: answer.granted().map(|qos| qos as u8),
            ..Report::default()
        };
        let content_type = answer.content_type();
        report.with(answer.meta(), Some(answer.body()), content_type)
    }

    pub(super) fn failed(failure: &'a Failure) -> Report<'a> {
        let report = Report {
            kind: failure.kind,
            code: failure.code.map(|code| code.to_string()),
            class: failure.class_word(),
            permanent: Some(failure.permanent),
            retry_after_ms: failure
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            text: Some(&failure.text),
            ..Report::default()
        };
        match &failure.error {
            Some(error) => report.with(
                error.meta(),
                failure.body().map(AsRef::as_ref),
                Error::content_type(error),
            ),
            None => report,
        }
    }

    fn with(
        mut self,
        meta: Meta<'a>,
        body: Option<&'a [u8]>,
        content_type: Option<&'a str>,
    ) -> Report<'a> {
        self.content_type = content_type;
        if let Some(body) = body {
            (self.body, self.body_base64) = text_or_base64(body);
        }
        let header = |(key, value)| {
            let (value, value_base64) = text_or_base64(value);
            Header {
                key,
                value,
                value_base64,
            }
        };
        self.headers = meta.headers().map(header).collect();
        self.status = meta.status();
        self.route_revision = meta.route_revision();
        self
    }
}

/// Exactly one of the two.
fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}
