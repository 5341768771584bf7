//! The OTLP exporter, as the settings want it.

use super::resource::resource;
use super::sampling::SamplingSettings;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::trace::SpanExporter as _;
use std::time::Duration;

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtlpProtocol {
    /// OTLP over gRPC, usually port 4317.
    #[default]
    Grpc,
    /// OTLP over HTTP with protobuf bodies, usually port 4318.
    Http,
}

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// URL of the receiver; for HTTP `/v1/traces` is added where it has no path. `None`: spans have
    /// nowhere to go, and nothing is sampled. Headers for it come from OTEL_EXPORTER_OTLP_HEADERS
    /// alone, which is never shown.
    pub endpoint: Option<String>,
    /// How they travel.
    pub protocol: OtlpProtocol,
    /// Frames that wait to be exported, at most; a further one is dropped and counted.
    pub queue: usize,
    /// Frames sent at once, at most.
    pub batch: usize,
    /// How long a frame waits for company before it is sent.
    pub interval: Duration,
    /// What a receiver may take to answer.
    pub timeout: Duration,
    /// `service.instance.id`.
    pub server_id: String,
    /// What is sampled.
    pub sampling: SamplingSettings,
}

impl Default for TraceSettings {
    fn default() -> TraceSettings {
        TraceSettings {
            endpoint: None,
            protocol: OtlpProtocol::Grpc,
            queue: 8192,
            batch: 512,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            server_id: "mcpd".to_owned(),
            sampling: SamplingSettings::default(),
        }
    }
}

/// Spans cannot be exported as the settings want it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The exporter does not take the endpoint or a variable.
    #[error("tracing: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// No HTTP client for it.
    #[error("tracing: {0}")]
    Http(#[from] reqwest::Error),
    /// No thread for it.
    #[error("tracing: {0}")]
    Thread(#[from] std::io::Error),
}

/// The path of spans, where the endpoint has none of its own.
const TRACES_PATH: &str = "/v1/traces";

/// Builds the exporter; connects to nobody yet. To be called within a runtime.
pub(super) fn exporter(settings: &TraceSettings) -> Result<SpanExporter, OtlpError> {
    let endpoint = settings.endpoint.as_deref().unwrap_or_default();
    let builder = SpanExporter::builder();
    // Whoever exports counts by why it failed, so its clock is to run out before the one in here, which does not say.
    let timeout = settings.timeout.saturating_mul(2);
    let mut exporter = match settings.protocol {
        OtlpProtocol::Grpc => builder
            .with_tonic()
            .with_endpoint(without_path(endpoint))
            .with_timeout(timeout)
            .build()?,
        OtlpProtocol::Http => builder
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client(timeout)?)
            .with_endpoint(with_path(endpoint))
            .with_timeout(timeout)
            .build()?,
    };
    let env = |name: &str| std::env::var(name).ok();
    exporter.set_resource(&resource(&settings.server_id, env));
    Ok(exporter)
}

fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // Whoever comes second finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        // A receiver is where the settings say; headers with secrets follow no redirection.
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Splits a URL behind its authority.
fn split(endpoint: &str) -> (&str, &str) {
    let authority = endpoint.find("://").map_or(0, |at| at + 3);
    match endpoint[authority..].find('/') {
        Some(at) => endpoint.split_at(authority + at),
        None => (endpoint, ""),
    }
}

fn with_path(endpoint: &str) -> String {
    match split(endpoint) {
        (base, "" | "/") => format!("{base}{TRACES_PATH}"),
        _ => endpoint.to_owned(),
    }
}

/// gRPC has paths of its own.
fn without_path(endpoint: &str) -> &str {
    split(endpoint).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_where_there_is_none() {
        assert_eq!(with_path("http://a:4318"), "http://a:4318/v1/traces");
        assert_eq!(with_path("http://a:4318/"), "http://a:4318/v1/traces");
        assert_eq!(
            with_path("https://a/otlp/v1/traces"),
            "https://a/otlp/v1/traces"
        );
        assert_eq!(without_path("http://a:4317/v1/traces"), "http://a:4317");
    }
}
