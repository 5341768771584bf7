//! Entries of type `http`.

use super::endpoints::{self, Endpoints};
use super::value::{
    bounded, duration, flag, list, number, of_text, parsed, path, section, set, size,
};
use super::{care, tls};
use crate::handler::http::{
    HashBy, HeaderSource, HttpSettings, HttpVersion, header_name, host_and_port,
};
use crate::router::document::reading::{self, Field, Fields, Report};
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};

pub(super) const KEYS: &[&str] = &[
    "name",
    "type",
    "concurrency",
    "queue",
    "url",
    "endpoints",
    "method",
    "http",
    "headers",
    "pass_headers",
    "response_headers",
    "content_type",
    "max_response",
    "refuses_before_running",
    "hash_by",
    "tls",
    "pool",
    "idempotent",
    "timeouts",
    "retry",
    "hedge",
    "breaker",
    "ejection",
    "adaptive",
    "resolve_every",
];

/// Most headers, and most names in a list of them.
const MAX_HEADERS: usize = 64;
/// The longest answer that may be let through: what a frame can hold.
const MAX_RESPONSE: u64 = 64 << 20;

pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> Option<HttpSettings> {
    let url = fields.require("url", report)?;
    let mut http = of_text(&url, HttpSettings::new, report)?;
    let endpoint = |text: &str| host_and_port(text, http.target.port());
    match endpoints::read(fields, endpoint, report) {
        Some(Endpoints::Hosts(hosts)) => http.endpoints = hosts,
        Some(Endpoints::Service(service)) => http.service = Some(service),
        None => {}
    }
    set(&mut http.method, parsed(fields, "method", method, report));
    set(
        &mut http.version,
        fields.get("http").and_then(|field| version(&field, report)),
    );
    if let Some(field) = fields.get("headers") {
        http.headers = headers(&field, report);
    }
    let pass = list(fields, "pass_headers", MAX_HEADERS, header_name, report);
    set(&mut http.pass_headers, pass);
    http.response_headers = list(fields, "response_headers", MAX_HEADERS, header_name, report);
    set(
        &mut http.content_type,
        parsed(fields, "content_type", value, report),
    );
    set(
        &mut http.max_response,
        size(fields, "max_response", MAX_RESPONSE, report),
    );
    let refuses = flag(fields, "refuses_before_running", report);
    set(&mut http.refuses_before_running, refuses);
    http.hash_by = parsed(fields, "hash_by", hash_by, report);
    tls(fields, &mut http, report);
    pool(fields, &mut http, report);
    care::read(fields, &mut http.care, report);
    Some(http)
}

fn method(text: &str) -> Result<Method, String> {
    let upper = text.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = Method::from_bytes(text.as_bytes()).ok();
    let method = method.filter(|method| upper && *method != Method::CONNECT);
    method.ok_or_else(|| "is no method; write POST, PUT, GET or another in capitals".to_owned())
}

fn version(field: &Field<'_>, report: &mut Report) -> Option<HttpVersion> {
    let text = reading::written(field, report)?;
    let version = match text {
        "auto" => Some(HttpVersion::Auto),
        "1" | "1.1" => Some(HttpVersion::One),
        "2" => Some(HttpVersion::Two),
        _ => None,
    };
    if version.is_none() {
        reading::wrong(field, "is no version of HTTP; write auto, 1 or 2", report);
    }
    version
}

pub(super) fn hash_by(text: &str) -> Result<HashBy, String> {
    let is_key =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    match text.strip_prefix("header:") {
        Some(key) if !key.is_empty() && key.bytes().all(is_key) => {
            Ok(HashBy::Header(key.to_owned()))
        }
        None if text == "client_id" => Ok(HashBy::ClientId),
        _ => Err(
            "is nothing to go by; write client_id, or header: and the key of a HEADER".to_owned(),
        ),
    }
}

fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "is no value of a header".to_owned())
}

fn headers(field: &Field<'_>, report: &mut Report) -> Vec<(HeaderName, HeaderSource)> {
    let items = bounded(field, MAX_HEADERS, report).unwrap_or_default();
    let headers = items.into_iter().filter_map(|item| header(item, report));
    headers.collect()
}

fn header(item: Field<'_>, report: &mut Report) -> Option<(HeaderName, HeaderSource)> {
    let place = item.place();
    let fields = Fields::of(item, &["name", "value", "file", "prefix"], report)?;
    fields.unknown(report);
    let name = fields.require("name", report);
    let name = name.and_then(|field| of_text(&field, header_name, report));
    let source = match (fields.get("value"), fields.get("file")) {
        (Some(value), None) => written(&value, report).map(HeaderSource::Written),
        (None, Some(file)) => {
            let prefix = parsed(&fields, "prefix", prefix, report).unwrap_or_default();
            let path = of_text(&file, path, report);
            path.map(|path| HeaderSource::File { path, prefix })
        }
        _ => {
            let message = "has to have one of value and file";
            reading::wrong_at(&place, message, report);
            None
        }
    };
    if let (Some(_), Some(field)) = (fields.get("value"), fields.get("prefix")) {
        reading::wrong(&field, "belongs to file; write it into value", report);
    }
    Some((name?, source?))
}

/// It may be a credential, which no message and no log repeats.
fn written(field: &Field<'_>, report: &mut Report) -> Option<HeaderValue> {
    let text = reading::secret_text(field, report)?;
    let Ok(mut value) = HeaderValue::from_str(text) else {
        reading::wrong(field, "is no value of a header", report);
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

fn prefix(text: &str) -> Result<String, String> {
    value(text).map(|_| text.to_owned())
}

fn tls(fields: &Fields<'_>, http: &mut HttpSettings, report: &mut Report) {
    let found = tls::settings(fields, report);
    match (&mut http.tls, fields.get("tls")) {
        (Some(tls), _) => set(tls, found),
        (None, Some(field)) => {
            reading::wrong(&field, "does nothing for a URL that is not https", report);
        }
        (None, None) => {}
    }
}

fn pool(fields: &Fields<'_>, http: &mut HttpSettings, report: &mut Report) {
    let known = &[
        "max_connections",
        "max_pending",
        "idle_timeout",
        "connect_timeout",
    ];
    let Some(fields) = section(fields, "pool", known, report) else {
        return;
    };
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let max = number(&fields, "max_connections", 1..=100_000, report);
    set(&mut http.care.max_running, max.map(count));
    let pending = number(&fields, "max_pending", 0..=1_000_000, report);
    set(&mut http.care.max_pending, pending.map(count));
    set(
        &mut http.idle_timeout,
        duration(&fields, "idle_timeout", report),
    );
    let connect = duration(&fields, "connect_timeout", report);
    set(&mut http.connect_timeout, connect);
}

/// What operators are shown of it: no values of headers.
pub(super) fn shown(http: &HttpSettings) -> Vec<(&'static str, String)> {
    let mut shown = care::shown(&http.care);
    shown.extend([
        ("url", http.target.url().to_owned()),
        ("method", http.method.to_string()),
        ("pool.max_connections", http.care.max_running.to_string()),
        ("max_response", http.max_response.to_string()),
    ]);
    let service = http.service.as_ref();
    shown.extend(service.map(|service| ("endpoints", service.to_string())));
    shown
}
