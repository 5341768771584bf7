//! How an HTTP handler asks.

use super::pool::MAX_STREAMS;
use super::{headers, request};
use crate::handler::TlsSettings;
use crate::handler::template::Template;
use crate::handler::tls::certified_name;
use crate::upstream::{self, ServicePort};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{self, Authority, PathAndQuery, Scheme};
use hyper::{Method, Uri};
use std::path::PathBuf;
use std::time::Duration;

/// How an HTTP handler asks, and whom.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// Where requests go.
    pub(crate) target: Target,
    /// Hosts and ports that are asked instead of the URL's own.
    pub(crate) endpoints: Vec<(String, u16)>,
    /// A Service of Kubernetes that is asked instead.
    pub(crate) service: Option<ServicePort>,
    /// Their method.
    pub(crate) method: Method,
    /// The version of HTTP.
    pub(crate) version: HttpVersion,
    /// Headers of every request.
    pub(crate) headers: Vec<(HeaderName, HeaderSource)>,
    /// HEADERs that go along though their names are reserved.
    pub(crate) pass_headers: Vec<HeaderName>,
    /// Headers of answers that go back; `None` for all but the reserved ones.
    pub(crate) response_headers: Option<Vec<HeaderName>>,
    /// Media type of bodies whose client names none.
    pub(crate) content_type: HeaderValue,
    /// The longest body of an answer.
    pub(crate) max_response: usize,
    /// Whether 429 and 503 mean that nothing was done.
    pub(crate) refuses_before_running: bool,
    /// By what requests are kept together.
    pub(crate) hash_by: Option<HashBy>,
    /// Of an `https` URL.
    pub(crate) tls: Option<TlsSettings>,
    /// How long an unused connection is kept.
    pub(crate) idle_timeout: Duration,
    /// How long a connection may take to be there, TLS included.
    pub(crate) connect_timeout: Duration,
    /// The care for the upstream.
    pub(crate) care: upstream::Settings,
}

impl HttpSettings {
    /// POST to `url`, such as `http://orders:8080/v1/{1}/{2..}?client={client_id}`, with everything else
    /// by default.
    ///
    /// # Errors
    /// What is wrong with the URL.
    ///
    /// ```
    /// use mcpd::handler::HttpSettings;
    ///
    /// assert!(HttpSettings::new("http://orders:8080/{topic}").is_ok());
    /// assert!(HttpSettings::new("orders").is_err());
    /// ```
    pub fn new(url: &str) -> Result<HttpSettings, String> {
        let target = Target::parse(url)?;
        let tls = target.tls.then(TlsSettings::default);
        Ok(HttpSettings {
            target,
            endpoints: Vec::new(),
            service: None,
            method: Method::POST,
            version: HttpVersion::Auto,
            headers: Vec::new(),
            pass_headers: Vec::new(),
            response_headers: None,
            content_type: HeaderValue::from_static("application/octet-stream"),
            max_response: 1 << 20,
            refuses_before_running: false,
            hash_by: None,
            tls,
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(2),
            care: upstream::Settings::default(),
        })
    }

    /// The care for the upstream, by default and to be changed.
    pub fn care(&mut self) -> &mut upstream::Settings {
        &mut self.care
    }

    /// The name that the server's certificate has to be for.
    pub(super) fn server_name(&self) -> &str {
        let tls = self.tls.as_ref();
        let name = tls.and_then(|tls| tls.server_name.as_deref());
        name.unwrap_or(certified_name(&self.target.host))
    }

    /// Whom to ask.
    pub(crate) fn hosts(&self) -> Vec<(String, u16)> {
        match self.endpoints.is_empty() {
            true => vec![(self.target.host.clone(), self.target.port)],
            false => self.endpoints.clone(),
        }
    }

    /// The care, with as many requests at a time as its connections can carry.
    pub(super) fn upstream(&self) -> upstream::Settings {
        let mut care = self.care.clone();
        if self.version == HttpVersion::Two {
            care.max_running = care.max_running.saturating_mul(MAX_STREAMS);
        }
        care
    }
}

/// Where the value of a header comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderSource {
    /// It is written down, and marked as a secret.
    Written(HeaderValue),
    /// It is what a file holds, without white space around it, behind a text such as `Bearer `.
    File { path: PathBuf, prefix: String },
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// What TLS negotiates; 1.1 without.
    Auto,
    /// 1.1.
    One,
    /// 2; without TLS by prior knowledge.
    Two,
}

/// Requests with the same of this go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// CLIENT_ID, else the connection's address.
    ClientId,
    /// A HEADER.
    Header(String),
}

/// A URL whose path and query are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(super) url: String,
    pub(super) tls: bool,
    pub(super) authority: Authority,
    pub(super) host_header: HeaderValue,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: Template,
    pub(super) query: Option<Template>,
}

impl Target {
    fn parse(url: &str) -> Result<Target, String> {
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("is no URL that starts with http:// or https://".into()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })?;
        let template = |text: &str| {
            let template = Template::parse(text).map_err(|error| error.to_string())?;
            let plain = template.texts().all(is_plain);
            let problem = "has characters that a URL cannot have; write them as %XX";
            plain.then_some(template).ok_or(problem.to_owned())
        };
        let path = if path.is_empty() { "/" } else { path };
        if path.split('/').any(request::is_way) || path.contains("//") {
            return Err("has an empty segment, or one that is `.` or `..`".to_owned());
        }
        let path = template(path)?;
        let wrong = || format!("{authority:?} is no host and port");
        let query = query.filter(|query| !query.is_empty());
        Ok(Target {
            url: url.to_owned(),
            tls,
            authority: authority.parse().map_err(|_| wrong())?,
            host_header: authority.parse().map_err(|_| wrong())?,
            host,
            port,
            path,
            query: query.map(template).transpose()?,
        })
    }
}

impl Target {
    /// As it was written.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The port of its host.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The whole URL.
    pub(super) fn uri(&self, path: PathAndQuery) -> Uri {
        let scheme = if self.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let mut parts = uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        // All three are there, so it is one.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// What may stand in a path or query as it is.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=%?".contains(&byte))
}

/// A host, which may be an IPv6 address in brackets, and its port, or `port` where that may be left out.
///
/// # Errors
/// It is none.
pub(crate) fn host_and_port(text: &str, port: u16) -> Result<(String, u16), String> {
    let wrong =
        || format!("{text:?} is no host; write a name or an address, and `:port` behind it");
    let end = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[end..].rfind(':') {
        Some(at) => {
            let (host, digits) = text.split_at(end + at);
            let port = digits[1..].parse().ok().filter(|port| *port > 0);
            (host, port.ok_or_else(wrong)?)
        }
        None => (text, port),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    match good {
        true => Ok((host.to_owned(), port)),
        false => Err(wrong()),
    }
}

/// A header that every request gets, or that may go along.
///
/// # Errors
/// It is none, or about the connection itself.
pub(crate) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("{text:?} is not the name of a header"))?;
    match headers::is_of_the_connection(name.as_str()) {
        true => Err(format!(
            "{text:?} is about the connection, which is not a client's to say"
        )),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("https://[::1]:8443/v1/{1}?t={topic}").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("[::1]", 8443));
        assert_eq!(target.host_header, "[::1]:8443");
        assert!(target.tls && target.query.is_some());
        let target = Target::parse("http://orders").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("orders", 80));
        assert_eq!(target.path.to_string(), "/");
        assert_eq!(
            Target::parse("http://orders?x=1").unwrap().path.to_string(),
            "/"
        );
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in [
            "orders/x",
            "ftp://orders/",
            "http:///x",
            "http://a:0/",
            "http://a:99999/",
            "http://a b/",
            "http://{1}/",
            "http://user@host/",
            "http://[::1/",
            "http://a/{0}",
            "http://a/b c",
            "http://a/b#c",
            "http://a:/",
        ] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_about_the_connection_is_nobodys_to_say() {
        for name in ["host", "Content-Length", "te", "transfer_encoding", "x y"] {
            assert!(header_name(name).is_err(), "{name}");
        }
        assert!(header_name("Authorization").is_ok());
    }
}
