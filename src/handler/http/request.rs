//! From a call to a request of HTTP.

use super::dial::Request;
use super::files::Headers;
use super::headers;
use super::settings::{HashBy, HttpSettings, Target};
use crate::handler::onward;
use crate::handler::template::MissingLevel;
use crate::message::{Answer, Call};
use crate::upstream::key_of;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri, Version};
use mcpd_proto::topic::Topic;
use mcpd_proto::{ErrorCode, Trace};
use std::cell::Cell;
use std::fmt::Write;
use std::time::Instant;

/// A request before it is known how it goes out, and how long it may still take.
pub(super) struct Prepared {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    /// What keeps it together with others.
    pub(super) key: Option<u64>,
}

const TIMEOUT: HeaderName = HeaderName::from_static("mcp-timeout-ms");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Prepared {
    /// # Errors
    /// The answer to a topic that no URL can be made of.
    pub(super) fn new(
        settings: &HttpSettings,
        fixed: &Headers,
        call: &Call<'_>,
    ) -> Result<Prepared, Answer<'static>> {
        let path = path(&settings.target, call.topic)
            .map_err(|text| Answer::error(ErrorCode::INVALID_REQUEST, text))?;
        Ok(Prepared {
            method: settings.method.clone(),
            path,
            headers: head(settings, fixed, call),
            body: Bytes::copy_from_slice(call.body),
            key: key(settings, call),
        })
    }

    /// The request in a version of HTTP, with so much time left and in this trace.
    pub(super) fn request(
        &self,
        target: &Target,
        version: Version,
        until: Instant,
        trace: Option<Trace>,
    ) -> Request {
        let mut request = Request::new(Full::new(self.body.clone()));
        let mut headers = self.headers.clone();
        // HTTP/2 has host and scheme in the URI, HTTP/1.1 in a header and nowhere.
        *request.uri_mut() = match version {
            Version::HTTP_2 => target.uri(self.path.clone()),
            _ => {
                headers.insert(HOST, target.host_header.clone());
                // Some servers refuse a request that should have a body and does not say how long.
                if self.body.is_empty() && has_body(&self.method) {
                    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                }
                Uri::from(self.path.clone())
            }
        };
        *request.method_mut() = self.method.clone();
        *request.version_mut() = version;
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        headers.insert(TIMEOUT, HeaderValue::from(left));
        if let Some(trace) = trace.and_then(|trace| traceparent(&trace)) {
            headers.insert(TRACEPARENT, trace);
        }
        *request.headers_mut() = headers;
        request
    }
}

fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn traceparent(trace: &Trace) -> Option<HeaderValue> {
    HeaderValue::from_str(&trace.to_string()).ok()
}

/// Path and query for a topic. No level of it can be more, or something else, than a part of a segment or
/// of a value.
fn path(target: &Target, topic: Topic<'_>) -> Result<PathAndQuery, String> {
    let has_empty = Cell::new(false);
    let segment = |level: &str, out: &mut String| {
        has_empty.set(has_empty.get() || level.is_empty());
        encode(level, out);
    };
    let missing = |missing: MissingLevel| missing.to_string();
    let mut path = target.path.expand(topic, '/', segment).map_err(missing)?;
    // Servers take these for a way through the path, in whatever spelling, and several slashes for one.
    if has_empty.get() || path.split('/').any(is_way) {
        let topic = topic.as_str();
        return Err(format!(
            "topic {topic:?} has a level that cannot be part of a path: it is empty, `.` or `..`"
        ));
    }
    if let Some(query) = &target.query {
        path.push('?');
        path.push_str(&query.expand(topic, '/', encode).map_err(missing)?);
    }
    let problem = |_| "no URL can be made of the topic".to_owned();
    path.parse().map_err(problem)
}

/// Whether a segment says where to go on rather than what is there.
pub(super) fn is_way(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Everything but what RFC 3986 calls unreserved is written as %XX.
fn encode(level: &str, out: &mut String) {
    for byte in level.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(byte.into()),
            // Writing to a string cannot fail.
            false => drop(write!(out, "%{byte:02X}")),
        }
    }
}

fn head(settings: &HttpSettings, fixed: &Headers, call: &Call<'_>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(16);
    for (name, value) in call.meta.headers() {
        if let Some((name, value)) = passed(settings, name, value) {
            map.append(name, value);
        }
    }
    for (name, value) in fixed {
        map.insert(name.clone(), value.clone());
    }
    map.entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "mcpd/",
            env!("CARGO_PKG_VERSION")
        )));
    let content_type = call.meta.content_type();
    let content_type = content_type.and_then(|text| HeaderValue::from_str(text).ok());
    map.insert(
        CONTENT_TYPE,
        content_type.unwrap_or_else(|| settings.content_type.clone()),
    );
    map.insert("mcp-priority", HeaderValue::from(u16::from(call.priority)));
    let mut say = |name: &'static str, value: Option<&str>| {
        // A topic may have characters that a header cannot.
        let value = value.map(HeaderValue::from_str).and_then(Result::ok);
        if let Some(value) = value {
            map.insert(HeaderName::from_static(name), value);
        }
    };
    let mut topic = String::new();
    call.topic.levels().enumerate().for_each(|(n, level)| {
        topic.push_str(if n == 0 { "" } else { "/" });
        encode(level, &mut topic);
    });
    say("mcp-topic", Some(&topic));
    say("mcp-client-id", call.peer.client_id.as_deref());
    say(
        "mcp-principal",
        call.peer.identity.as_ref().map(|who| who.name()),
    );
    say("tracestate", call.meta.tracestate());
    let key = onward::message_key(call).map(|key| {
        let digits = key.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>()
    });
    if key.is_some() {
        say("idempotency-key", key.as_deref());
    }
    map
}

fn passed(settings: &HttpSettings, name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    if headers::is_reserved(name.as_str()) && !settings.pass_headers.contains(&name) {
        return None;
    }
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

fn key(settings: &HttpSettings, call: &Call<'_>) -> Option<u64> {
    settings.hash_by.as_ref()?.key(call)
}

impl HashBy {
    /// The key by which a call's endpoint is chosen; `None` where it has none.
    pub(crate) fn key(&self, call: &Call<'_>) -> Option<u64> {
        let peer = call.peer;
        match self {
            HashBy::ClientId => Some(match &peer.client_id {
                Some(id) => key_of(id.as_bytes()),
                None => key_of(peer.addr.ip().to_string().as_bytes()),
            }),
            HashBy::Header(name) => {
                let mut headers = call.meta.headers();
                let (_, value) = headers.find(|(key, _)| key == name)?;
                Some(key_of(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(template: &str, topic: &str) -> Result<String, String> {
        let settings = HttpSettings::new(&format!("http://orders{template}")).unwrap();
        let topic = Topic::parse(topic.as_bytes()).unwrap();
        path(&settings.target, topic).map(|path| path.to_string())
    }

    #[test]
    fn levels_become_segments_and_values_and_nothing_else() {
        for (template, topic, expected) in [
            ("/v1/{1}/{2}", "orders/7", "/v1/orders/7"),
            ("/{topic}", "a/b/c", "/a/b/c"),
            ("/x/{2..}?first={1}", "a/b/c", "/x/b/c?first=a"),
            ("/{1}", "a?b&c%2f..;d\\e", "/a%3Fb%26c%252f..%3Bd%5Ce"),
            ("/?all={topic}", "a=b/c&d", "/?all=a%3Db/c%26d"),
            ("/{1}.json", "..", "/...json"),
            ("/{1}", "ä b", "/%C3%A4%20b"),
        ] {
            assert_eq!(path_of(template, topic).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn no_level_leads_anywhere_else() {
        for (template, topic) in [
            ("/v1/{1}/x", ".."),
            ("/v1/{topic}", "a/../b"),
            ("/{1}{2}", "./."),
            ("/{2}", "a/"),
            ("/{topic}", "a//b"),
            ("/{3}", "a/b"),
        ] {
            assert!(path_of(template, topic).is_err(), "{template} {topic}");
        }
    }
}
