//! What every request to the admin API passes before it reaches its resource: by which name the
//! server was called, from which page, by whom, and whether there is room.

use super::problem::Problem;
use super::tokens::{Scope, Scopes, Tokens};
use super::{Api, body, wait};
use crate::admin::PeerAddr;
use crate::telemetry::AUDIT;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a client that found no room is told to wait, in seconds.
const RETRY_AFTER: u32 = 1;

/// Who may use the admin API, and how much of it at once.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The tokens.
    pub tokens: Tokens,
    /// Whether requests from this machine need a token.
    pub loopback: Loopback,
    /// Host names besides addresses and localhost, in lower case.
    pub hosts: Vec<String>,
    /// Time for one request.
    pub timeout: Duration,
    /// Requests at once.
    pub max_concurrent: usize,
}

/// Whether requests from this machine need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loopback {
    /// They do.
    NeedsToken,
    /// They do once there is one.
    FreeWithoutTokens,
    /// They do not.
    Free,
}

/// When a request has to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) Instant);

impl Deadline {
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// A place among the requests that are worked on; dropping it frees the place.
struct Place(Arc<Api>);

impl Place {
    fn take(api: &Arc<Api>, max: usize) -> Option<Place> {
        let place = Place(Arc::clone(api));
        let before = api.running.fetch_add(1, Ordering::Relaxed);
        (before < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets a request through to its resource, or says why not.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let rules = api.rules.load_full();
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
    let who = match judge(&api, &rules, &request, peer) {
        Ok(who) => who,
        Err(problem) => {
            // A client that still writes would not get to reading the answer.
            body::discard(request).await;
            return problem.into_response();
        }
    };
    let Some(place) = Place::take(&api, rules.max_concurrent) else {
        body::discard(request).await;
        let text = "as many requests as admin.max_concurrent allows are being worked on";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, text);
        return problem
            .with(header::RETRY_AFTER, RETRY_AFTER)
            .into_response();
    };
    if is_reading(request.method()) {
        return answer(request, next, rules.timeout, Duration::ZERO, place).await;
    }
    let waits = wait::longest(request.uri());
    // A change that has begun goes on when its client has gone: it keeps its place until it is
    // through, and has its line.
    let changing = tokio::spawn(async move {
        // With its query: a dry run is no change.
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let response = answer(request, next, rules.timeout, waits, place).await;
        audit(&who, peer, &method, &path, response.status().as_u16());
        response
    });
    changing.await.unwrap_or_else(|_| {
        let text = "the server failed to answer this; what has become of it is unknown";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    })
}

/// `waits` is for what comes after the work: the others, who may take their time.
async fn answer(
    mut request: Request,
    next: Next,
    timeout: Duration,
    waits: Duration,
    _place: Place,
) -> Response {
    let deadline = Deadline(Instant::now() + timeout);
    request.extensions_mut().insert(deadline);
    // Everything minds the deadline by itself; this is for what nobody thought of.
    let grace = timeout + waits + Duration::from_secs(1);
    match tokio::time::timeout(grace, next.run(request)).await {
        Ok(response) => explained(response),
        Err(_) => {
            let text = "this took longer than admin.timeout; its outcome is unknown";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, text).into_response()
        }
    }
}

/// The line that says who changed what.
fn audit(who: &str, peer: Option<SocketAddr>, method: &Method, path: &str, status: u16) {
    let peer = peer.map(|peer| peer.to_string());
    // An URI is ASCII without spaces; what is longer than any of ours is cut.
    let path = path.get(..200).unwrap_or(path);
    tracing::info!(target: AUDIT, who, peer, %method, path, status, "admin");
}

/// Who it is, if the request may pass.
fn judge(
    api: &Api,
    rules: &Rules,
    request: &Request,
    peer: Option<SocketAddr>,
) -> Result<String, Problem> {
    let (headers, path) = (request.headers(), request.uri().path());
    let host = check_host(rules, request.uri(), headers)?;
    check_origin(headers, &host)?;
    if path == super::OPENAPI {
        return Ok("anybody".to_owned());
    }
    let known = authenticate(rules, headers, peer);
    let (who, scopes) = known.inspect_err(|_| api.note_refusal(peer))?;
    let needed = scope_of(request.method(), path);
    if !scopes.has(needed) {
        api.note_refusal(peer);
        let needed = needed.name();
        let text = format!("the token {who:?} lacks the scope `{needed}`, which this needs");
        let challenge =
            format!("Bearer realm=\"mcpd\", error=\"insufficient_scope\", scope=\"{needed}\"");
        return Err(
            Problem::new(StatusCode::FORBIDDEN, text).with(header::WWW_AUTHENTICATE, challenge)
        );
    }
    Ok(who)
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn scope_of(method: &Method, path: &str) -> Scope {
    if path.starts_with("/admin/v1/principals") {
        Scope::Auth
    } else if is_reading(method) {
        Scope::Read
    } else if path.starts_with("/admin/v1/routes") {
        Scope::Routes
    } else {
        Scope::Operate
    }
}

/// Refuses names that somebody else could have pointed here: a page in an operator's browser must
/// not get to speak to this port by its own name.
fn check_host(rules: &Rules, uri: &Uri, headers: &HeaderMap) -> Result<String, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let named = first.and_then(|host| host.to_str().ok());
    let (Some(host), None) = (named, second) else {
        return Err(Problem::bad_request("a request has one Host header"));
    };
    for name in [
        Some(host),
        uri.authority().map(|authority| authority.as_str()),
    ] {
        let Some(name) = name else { continue };
        if !is_ours(rules, name) {
            let text = "the Host of a request is an IP address, localhost or one of admin.hosts";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, text));
        }
    }
    Ok(host.to_lowercase())
}

fn is_ours(rules: &Rules, authority: &str) -> bool {
    let Some(name) = without_port(authority) else {
        return false;
    };
    let name = name.to_lowercase();
    let literal = match name.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').unwrap_or_default(),
        None => &name,
    };
    let is_address = match literal.parse::<IpAddr>() {
        // An IPv6 address stands in brackets, an IPv4 one does not.
        Ok(addr) => addr.is_ipv6() == name.starts_with('['),
        Err(_) => false,
    };
    is_address || name == "localhost" || rules.hosts.contains(&name)
}

/// `None` if what follows the name is no port.
fn without_port(authority: &str) -> Option<&str> {
    let inside = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[inside..].find(':') {
        None => Some(authority),
        Some(at) => {
            let (name, port) = authority.split_at(inside + at);
            let digits = &port[1..];
            let is_port =
                digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok();
            is_port.then_some(name)
        }
    }
}

/// Browsers say from which page a request comes; ours are the only pages that may.
fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    for origin in headers.get_all(header::ORIGIN) {
        let from = origin.to_str().unwrap_or_default().to_lowercase();
        let same = from
            .strip_prefix("http://")
            .or_else(|| from.strip_prefix("https://"))
            .is_some_and(|from| from == host);
        if !same {
            let text = "requests from pages of other origins are refused";
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
    }
    Ok(())
}

fn authenticate(
    rules: &Rules,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<(String, Scopes), Problem> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = shown.next() else {
        return without_token(rules, headers, peer);
    };
    if shown.next().is_some() {
        let text = "a request has one Authorization header";
        return Err(Problem::bad_request(text));
    }
    let token = bearer(first.as_bytes());
    let found = token.and_then(|token| rules.tokens.find(token));
    let (name, scopes) = found.ok_or_else(|| {
        let text = match (token, rules.tokens.is_empty()) {
            (_, true) => "no token is configured, so none is right; see admin.tokens_file",
            (None, _) => "write `Authorization: Bearer <token>`",
            (Some(_), _) => "this token is not known",
        };
        unauthorized(text, "Bearer realm=\"mcpd\", error=\"invalid_token\"")
    })?;
    Ok((name.to_owned(), scopes))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn without_token(
    rules: &Rules,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<(String, Scopes), Problem> {
    let may_be_free = match rules.loopback {
        Loopback::Free => true,
        Loopback::FreeWithoutTokens => rules.tokens.is_empty(),
        Loopback::NeedsToken => false,
    };
    if may_be_free && peer.is_some_and(|peer| peer.ip().is_loopback()) && !is_forwarded(headers) {
        return Ok(("loopback".to_owned(), Scopes::all()));
    }
    if rules.tokens.is_empty() {
        let text = "the admin API is closed: no token is configured. Make one with `mcpd token new`, \
                    put the line it prints into a file and name that in admin.tokens_file";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    let text = "this needs a token: Authorization: Bearer <token>";
    Err(unauthorized(text, "Bearer realm=\"mcpd\""))
}

/// A proxy on this machine speaks for somebody who may be anywhere.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let told = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    told.iter().any(|name| headers.contains_key(*name))
}

fn unauthorized(text: &str, challenge: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, text).with(header::WWW_AUTHENTICATE, challenge)
}

/// The answers that the router gives by itself, as problem documents.
fn explained(response: Response) -> Response {
    let says_which = response.headers().contains_key(header::ALLOW);
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || says_which {
        return response;
    }
    // Which ones it knows is in the header Allow, which the router adds after this.
    let text = "this resource does not know this method; see the header Allow";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            tokens: Tokens::default(),
            loopback: Loopback::NeedsToken,
            hosts: vec!["mcpd-admin".to_owned()],
            timeout: Duration::from_secs(1),
            max_concurrent: 1,
        }
    }

    #[test]
    fn only_names_that_nobody_else_can_point_here_are_ours() {
        for ours in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1",
            "10.0.0.1:80",
            "[::1]:8081",
            "[::1]",
            "mcpd-admin",
            "Mcpd-Admin:8081",
        ] {
            assert!(is_ours(&rules(), ours), "{ours}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "::1",
            "[::1",
            "[127.0.0.1]",
            "localhost:",
            "localhost:99999",
            "localhost:80:80",
            "localhost:+80",
            "user@localhost",
            "",
            ":",
            "[",
            "]",
            "[]:80",
            "0x7f.1",
            "2130706433",
        ] {
            // An empty port is allowed by the grammar of URIs, and says nothing.
            assert!(!is_ours(&rules(), other), "{other}");
        }
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bEARER   abc "), Some(&b"abc"[..]));
        for wrong in [&b"Basic abc"[..], b"Bearer", b"Bearer ", b"Bearerabc", b""] {
            assert_eq!(bearer(wrong), None);
        }
    }
}
