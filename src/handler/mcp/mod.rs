//! `mcp`: hands requests on to other MCP servers.
//!
//! A call becomes a [`request`], goes out on one of few connections that all of them share ([`links`]),
//! and what comes back becomes an [`answer`] again. How often and whom is asked is the business of
//! [`Upstream`]; the connections themselves repeat nothing.

mod answer;
mod links;
mod request;
mod settings;
mod trust;

pub use settings::McpSettings;

use super::{Handler, reach};
use crate::message::{Answer, Call, Outcome};
use crate::telemetry::{Attempt, CallSpan, UpstreamStats};
use crate::upstream::{
    Care, Connect, Fate, Names, Order, Resolve, SystemResolver, Tried, Try, Upstream,
};
use links::{Dial, Links};
use request::Onward;
use std::sync::Arc;
use trust::Trust;

/// Hands requests on to other servers. See `docs/handlers.md`.
pub struct Mcp {
    settings: McpSettings,
    trust: Trust,
    upstream: Arc<Upstream<Links>>,
}

impl Mcp {
    /// A handler of this name, which its counts go by.
    pub fn new(name: &str, settings: McpSettings, stats: Arc<UpstreamStats>) -> Mcp {
        Mcp::with_resolver(name, settings, stats, Arc::new(SystemResolver))
    }

    /// The same, with names resolved by somebody else than the system.
    pub fn with_resolver(
        name: &str,
        settings: McpSettings,
        stats: Arc<UpstreamStats>,
        resolver: Arc<dyn Resolve>,
    ) -> Mcp {
        let trust = Trust::new(&settings, &stats);
        let names = Arc::new(Names::new(settings.endpoints.clone(), resolver));
        let connect = connect(&settings, trust.clone(), Arc::clone(&names));
        let care = settings.care.clone();
        let upstream = Upstream::new(name, care, names, connect, stats);
        Mcp {
            settings,
            trust,
            upstream,
        }
    }

    /// Reads the files of certificates and the token, which may block. Connections do so by themselves; while
    /// a file is no good they use what was read before.
    ///
    /// # Errors
    /// What is wrong with a file now, by its key.
    pub fn load(&self) -> Result<(), String> {
        self.trust.load()
    }
}

/// Makes the connections to a server. Its certificate is to be for the name that led to it.
fn connect(settings: &McpSettings, trust: Trust, names: Arc<Names>) -> Connect<Links> {
    let connections = settings.connections;
    let server_name = settings
        .tls
        .as_ref()
        .and_then(|tls| tls.server_name.clone());
    Box::new(move |addr| {
        let name = server_name.as_deref().or(names.name_of(addr));
        let way = Arc::new(trust.way(addr, name));
        let dial: Arc<Dial> = Arc::new(move || {
            let way = Arc::clone(&way);
            Box::pin(async move { way.connect().await })
        });
        Links::new(&dial, connections)
    })
}

impl Handler for Mcp {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let McpSettings {
            topic,
            hops,
            hash_by,
            ..
        } = &self.settings;
        let onward = match Onward::of(call, topic.as_ref(), *hops) {
            Ok(onward) => onward,
            Err(refusal) => return Outcome::Now(refusal),
        };
        let order = Order {
            key: hash_by.as_ref().and_then(|by| by.key(call)),
            deadline: call.deadline(),
        };
        let (upstream, span) = (Arc::clone(&self.upstream), call.span.cloned());
        Outcome::Later(Box::pin(async move {
            let attempt = |given| attempt(&onward, span.as_ref(), given);
            reach::answer(upstream.run(order, attempt).await)
        }))
    }

    fn forwards(&self) -> bool {
        true
    }

    fn upstream(&self) -> Option<&dyn Care> {
        Some(&self.upstream)
    }
}

/// One attempt.
async fn attempt(
    onward: &Onward,
    span: Option<&Arc<CallSpan>>,
    given: Try<Links>,
) -> Tried<Answer<'static>> {
    let mut attempt = Attempt::begin(span, "mcp", given.endpoint.addr);
    let tried = match given.endpoint.transport.connection().await {
        Ok(connection) => {
            // From here on the connection alone knows whether it went out.
            given.sent().set();
            let request = onward.on(&connection, given.until, attempt.trace());
            answer::tried(request.send().await)
        }
        Err(error) => answer::unreached(&error),
    };
    if !matches!(tried.fate, Fate::Answered { well: true }) {
        attempt.failed();
    }
    tried
}

impl std::fmt::Debug for Mcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mcp")
            .field("endpoints", &self.settings.endpoints)
            .finish_non_exhaustive()
    }
}
