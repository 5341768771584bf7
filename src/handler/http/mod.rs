//! `http`: asks an HTTP service.
//!
//! A call becomes a [`request`], is sent by a [`pool`] of connections that can tell whether it has left us
//! ([`wire`]), and its response becomes an answer again ([`reply`]). How often and whom is asked is the
//! business of [`Upstream`].

mod dial;
mod files;
mod headers;
mod pool;
mod reply;
mod request;
mod settings;
mod wire;

#[cfg(feature = "nats")]
pub(crate) use headers::is_reserved as is_reserved_header;
pub use settings::{HashBy, HttpSettings, HttpVersion};
pub(crate) use settings::{HeaderSource, header_name, host_and_port};

use super::{Handler, onward, reach};
use crate::message::{Answer, Call, Outcome};
use crate::telemetry::{Attempt, UpstreamStats};
use crate::upstream::{
    Care, Discover, Fate, Names, Order, Resolve, SystemResolver, Tried, Try, Upstream,
};
use dial::Dialer;
use files::Files;
use mcpd_proto::{ErrorCode, Trace};
use pool::{Failed, Pool};
use request::Prepared;
use std::sync::Arc;

/// Asks an HTTP service. See `docs/handlers.md`.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

struct Inner {
    settings: HttpSettings,
    files: Arc<Files>,
    upstream: Arc<Upstream<Pool>>,
}

/// What an attempt says of itself to a trace.
#[derive(Clone)]
struct Traced {
    span: Option<Arc<crate::telemetry::CallSpan>>,
    trace: Option<Trace>,
}

impl Http {
    /// A handler of this name, which its counts go by.
    ///
    /// # Errors
    /// What is wrong with certificates, or with the value of a header, that stand in files.
    pub fn new(
        name: &str,
        settings: HttpSettings,
        stats: Arc<UpstreamStats>,
    ) -> Result<Http, String> {
        Http::with_resolver(name, settings, stats, Arc::new(SystemResolver))
    }

    /// The same, with names resolved by somebody else than the system.
    ///
    /// # Errors
    /// What is wrong with certificates, or with the value of a header, that stand in files.
    pub fn with_resolver(
        name: &str,
        settings: HttpSettings,
        stats: Arc<UpstreamStats>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Http, String> {
        let names = Arc::new(Names::new(settings.hosts(), resolver));
        Http::with_endpoints(name, settings, stats, names)
    }

    /// The same, with endpoints that somebody else knows.
    ///
    /// # Errors
    /// What is wrong with the certificates or the secrets in files.
    pub fn with_endpoints(
        name: &str,
        settings: HttpSettings,
        stats: Arc<UpstreamStats>,
        endpoints: Arc<dyn Discover>,
    ) -> Result<Http, String> {
        let files = Arc::new(Files::new(name, &settings)?);
        let dialer = Arc::new(Dialer::new(&settings, Arc::clone(&files))?);
        let idle = settings.idle_timeout;
        let connect = Box::new(move |addr| Pool::new(addr, Arc::clone(&dialer), idle));
        let upstream = Upstream::new(name, settings.upstream(), endpoints, connect, stats);
        let inner = Inner {
            settings,
            files,
            upstream,
        };
        let inner = Arc::new(inner);
        Ok(Http { inner })
    }
}

impl Handler for Http {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let prepared = match Prepared::new(&self.inner.settings, &self.inner.files.headers(), call)
        {
            Ok(prepared) => prepared,
            Err(answer) => return Outcome::Now(answer),
        };
        let traced = Traced {
            span: call.span.cloned(),
            trace: onward::trace(call),
        };
        let order = Order {
            key: prepared.key,
            deadline: call.deadline(),
        };
        let inner = Arc::clone(&self.inner);
        Outcome::Later(Box::pin(async move {
            let attempt = |given| inner.attempt(&prepared, &traced, given);
            reach::answer(inner.upstream.run(order, attempt).await)
        }))
    }

    fn upstream(&self) -> Option<&dyn Care> {
        Some(&self.inner.upstream)
    }
}

impl Inner {
    /// One attempt.
    async fn attempt(
        &self,
        prepared: &Prepared,
        traced: &Traced,
        given: Try<Pool>,
    ) -> Tried<Answer<'static>> {
        let target = &self.settings.target;
        let mut attempt = Attempt::begin(traced.span.as_ref(), "http", given.endpoint.addr);
        let trace = attempt.trace().or(traced.trace);
        let make = |version| prepared.request(target, version, given.until, trace);
        let sending = given.endpoint.transport.send(make, given.sent());
        let tried = match sending.await {
            Ok((response, lease)) => {
                attempt.status(response.status().as_u16());
                let (tried, free) = reply::read(&self.settings, response).await;
                if free {
                    lease.done();
                }
                tried
            }
            Err(Failed::NotSent(why)) => Tried {
                fate: Fate::NotSent,
                answer: Answer::error(
                    ErrorCode::UPSTREAM_UNAVAILABLE,
                    format!("the upstream cannot be reached: {why}"),
                ),
            },
            Err(Failed::Refused) => Tried {
                fate: Fate::Refused { retry_after: None },
                answer: Answer::error(
                    ErrorCode::UPSTREAM_UNAVAILABLE,
                    "the upstream has refused the request before it looked at it",
                ),
            },
            Err(Failed::Lost(why)) => reply::lost(&why),
        };
        if !matches!(tried.fate, Fate::Answered { well: true }) {
            attempt.failed();
        }
        tried
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = &self.inner.settings.target.url;
        f.debug_struct("Http")
            .field("url", url)
            .finish_non_exhaustive()
    }
}
