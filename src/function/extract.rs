//! What functions may ask of a request.

use super::reply::IntoReply;
use super::{Failure, Request};
use bytes::Bytes;
use mcpd_proto::Trace;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An argument of a function. `S` is the state that the server was given.
///
/// ```
/// use mcpd::function::{Failure, FromRequest, Request};
///
/// /// Whose request it is.
/// struct Tenant(String);
///
/// impl<S> FromRequest<S> for Tenant {
///     type Rejection = Failure;
///
///     fn from_request(request: &Request, _: &S) -> Result<Tenant, Failure> {
///         let tenant = request.header("tenant").ok_or_else(|| Failure::rejected("tenant: is missing"))?;
///         Ok(Tenant(String::from_utf8_lossy(tenant).into_owned()))
///     }
/// }
/// ```
pub trait FromRequest<S>: Sized {
    /// The answer if the request does not have it.
    type Rejection: IntoReply;

    /// Takes it out of the request, which is borrowed: several arguments may look at the same thing.
    ///
    /// # Errors
    /// The request does not have it; this is its answer.
    fn from_request(request: &Request, state: &S) -> Result<Self, Self::Rejection>;
}

/// A part of a state, for functions that need no more: as in axum.
pub trait FromRef<S> {
    /// A copy of the part.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> T {
        state.clone()
    }
}

macro_rules! infallible {
    ($(#[$doc:meta])* $kind:ty, |$request:ident| $value:expr) => {
        $(#[$doc])*
        impl<S> FromRequest<S> for $kind {
            type Rejection = Infallible;

            fn from_request($request: &Request, _: &S) -> Result<Self, Infallible> {
                Ok($value)
            }
        }
    };
}

/// The state, or a part of it.
#[derive(Debug, Clone, Copy)]
pub struct State<T>(pub T);

impl<S, T: FromRef<S>> FromRequest<S> for State<T> {
    type Rejection = Infallible;

    fn from_request(_: &Request, state: &S) -> Result<Self, Infallible> {
        Ok(State(T::from_ref(state)))
    }
}

/// The topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic(pub String);

infallible!(Topic, |request| Topic(request.topic().to_owned()));

/// What stands in the topic where the route's pattern has wildcards, from the left; the levels for `#` are one
/// text, empty if there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params(pub Vec<String>);

infallible!(Params, |request| Params(params(
    request.pattern.levels(),
    request.topic()
)));

fn params<'p>(pattern: impl Iterator<Item = &'p str>, topic: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = Some(topic);
    for level in pattern {
        if level == "#" {
            found.push(rest.unwrap_or_default().to_owned());
            break;
        }
        let here = rest.unwrap_or_default();
        let (head, tail) = match here.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (here, None),
        };
        rest = tail;
        if level == "+" {
            found.push(head.to_owned());
        }
    }
    found
}

/// The HEADERs, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Bytes)>);

impl Headers {
    /// The first one of this key.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|(found, _)| found == key)
            .map(|(_, value)| value)
    }
}

infallible!(Headers, |request| {
    let headers = request.meta();
    let headers = headers.headers();
    Headers(
        headers
            .map(|(key, value)| (key.to_owned(), Bytes::copy_from_slice(value)))
            .collect(),
    )
});

/// The trace context to pass on to whoever is asked in turn: the function's own span if the request
/// is sampled, else the client's. `traceparent` is how HTTP has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext(pub Option<Trace>);

impl TraceContext {
    /// As W3C's `traceparent` header.
    pub fn traceparent(&self) -> Option<String> {
        self.0.map(|trace| trace.to_string())
    }
}

infallible!(TraceContext, |request| TraceContext(request.trace()));

/// When the answer is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// How long that is from now.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

infallible!(Deadline, |request| Deadline(request.deadline()));

/// Who sent the request.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its CLIENT_ID. Unless principals are asked for, everybody may call itself anything.
    pub id: Option<Arc<str>>,
    /// Who it has shown itself to be.
    pub principal: Option<String>,
    /// Its address.
    pub addr: SocketAddr,
}

infallible!(Client, |request| {
    let peer = request.peer();
    Client {
        id: peer.client_id.clone(),
        principal: peer.identity.as_ref().map(|who| who.name().to_owned()),
        addr: peer.addr,
    }
});

infallible!(Request, |request| request.clone());
infallible!(
    /// The body as it is.
    Bytes,
    |request| request.body.clone()
);

/// The body as text.
impl<S> FromRequest<S> for String {
    type Rejection = Failure;

    fn from_request(request: &Request, _: &S) -> Result<Self, Failure> {
        let text = std::str::from_utf8(&request.body);
        text.map(str::to_owned)
            .map_err(|error| Failure::rejected(format!("the body is no UTF-8: {error}")))
    }
}

/// An argument that may be missing.
impl<S, T: FromRequest<S>> FromRequest<S> for Option<T> {
    type Rejection = Infallible;

    fn from_request(request: &Request, state: &S) -> Result<Self, Infallible> {
        Ok(T::from_request(request, state).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpd_proto::topic::Pattern;

    #[test]
    fn params_are_what_stands_for_the_wildcards() {
        for (pattern, topic, expected) in [
            ("a/b", "a/b", &[][..]),
            ("order/+/new", "order/7/new", &["7"]),
            ("+/+", "a/", &["a", ""]),
            ("a/#", "a/b/c", &["b/c"]),
            ("a/#", "a", &[""]),
            ("+/x/#", "t/x/y", &["t", "y"]),
            ("#", "a/b", &["a/b"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(
                params(parsed.levels(), topic),
                expected,
                "{pattern} {topic}"
            );
        }
    }
}
