//! `mcp`: hands requests on to other MCP servers.
//!
//! A call becomes a [`request`], goes out on one of few connections that all of them share ([`links`]),
//! and what comes back becomes an [`answer`] again. How often and whom is asked is the business of
//! [`Upstream`]; the connections themselves repeat nothing.

mod answer;
mod links;
mod passage;
mod request;
mod settings;
mod trust;

pub use settings::McpSettings;

use super::Handler;
use crate::message::{Call, Outcome};
use crate::telemetry::UpstreamStats;
use crate::upstream::{Care, Connect, Discover, Names, Order, Resolve, SystemResolver, Upstream};
use links::{Dial, Links};
use passage::Passage;
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
        let names = Arc::new(Names::new(settings.endpoints.clone(), resolver));
        Mcp::with_endpoints(name, settings, stats, names)
    }

    /// The same, with endpoints that somebody else knows.
    pub fn with_endpoints(
        name: &str,
        settings: McpSettings,
        stats: Arc<UpstreamStats>,
        endpoints: Arc<dyn Discover>,
    ) -> Mcp {
        let trust = Trust::new(&settings, &stats);
        let connect = connect(&settings, trust.clone(), Arc::clone(&endpoints));
        let care = settings.care.clone();
        let upstream = Upstream::new(name, care, endpoints, connect, stats);
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
fn connect(settings: &McpSettings, trust: Trust, endpoints: Arc<dyn Discover>) -> Connect<Links> {
    let connections = settings.connections;
    let server_name = settings
        .tls
        .as_ref()
        .and_then(|tls| tls.server_name.clone());
    Box::new(move |addr| {
        let name = server_name.as_deref().or(endpoints.name_of(addr));
        let way = Arc::new(trust.way(addr, name));
        let dial: Arc<Dial> = Arc::new(move |home| {
            let (way, home) = (Arc::clone(&way), home.cloned());
            Box::pin(async move { way.connect(home.as_ref()).await })
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
        let mut passage = Passage::spare();
        let onward = passage.onward();
        if let Err(refusal) = request::onward(call, topic.as_ref(), *hops, onward) {
            return Outcome::Now(refusal);
        }
        let order = Order {
            key: hash_by.as_ref().and_then(|by| by.key(call)),
            deadline: call.deadline(),
        };
        let (upstream, span) = (Arc::clone(&self.upstream), call.span.cloned());
        passage.take_up(span, upstream, order);
        Outcome::Here(passage)
    }

    fn forwards(&self) -> bool {
        true
    }

    fn upstream(&self) -> Option<&dyn Care> {
        Some(&self.upstream)
    }
}

impl std::fmt::Debug for Mcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mcp")
            .field("endpoints", &self.settings.endpoints)
            .finish_non_exhaustive()
    }
}
