//! `mcp`: hands requests on to other MCP servers.

mod answer;
mod links;
mod request;

use super::onward::DEFAULT_HOPS;
use super::template::{Template, TemplateError};
use super::{Handler, reach};
use crate::message::{Answer, Call, Outcome};
use crate::telemetry::UpstreamStats;
use crate::upstream::{self, Discover, Order, Tried, Try, Upstream};
use links::{Dial, Links};
use mcpd_client::{ConnectOptions, Connection};
use request::Onward;
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections to one server, unless it is told otherwise: one carries as much as its server lets be
/// in flight, two keep one's trouble from being everybody's.
pub(crate) const DEFAULT_CONNECTIONS: usize = 2;

/// What a handler of type `mcp` is told.
#[derive(Clone)]
pub struct McpSettings {
    /// Which servers there are.
    pub discover: Arc<dyn Discover>,
    /// How connections are opened, and what is shown there.
    pub connect: ConnectOptions,
    /// Connections to each server.
    pub connections: usize,
    /// Topics go along as they are, or as this makes them.
    topic: Option<Template>,
    /// Hops that a request gets which does not say itself how many are left; it never has more.
    pub hops: u8,
    /// The care for the servers.
    pub upstream: upstream::Settings,
}

impl McpSettings {
    /// The defaults for these servers.
    pub fn new(discover: Arc<dyn Discover>) -> McpSettings {
        McpSettings {
            discover,
            connect: ConnectOptions::new(),
            connections: DEFAULT_CONNECTIONS,
            topic: None,
            hops: DEFAULT_HOPS,
            upstream: upstream::Settings {
                // What two connections carry, not what a hundred do.
                max_running: 512,
                max_pending: 512,
                ..upstream::Settings::default()
            },
        }
    }

    /// Rewrites topics by a template, such as `eu/{topic}` or `orders/{2..}`.
    ///
    /// # Errors
    /// It is none.
    pub fn topic(mut self, template: &str) -> Result<McpSettings, String> {
        let template = Template::parse(template);
        self.topic = Some(template.map_err(|error: TemplateError| error.to_string())?);
        Ok(self)
    }
}

/// Hands requests on to other servers, over few connections that all of them share.
pub struct Mcp {
    topic: Option<Template>,
    hops: u8,
    upstream: Arc<Upstream<Links>>,
}

impl Mcp {
    /// The handler of this name.
    pub fn new(name: &str, settings: McpSettings, stats: Arc<UpstreamStats>) -> Mcp {
        let McpSettings {
            discover,
            connect,
            connections,
            topic,
            hops,
            upstream,
        } = settings;
        let links = move |addr| Links::new(&dial(addr, connect.clone()), connections);
        Mcp {
            topic,
            hops,
            upstream: Upstream::new(name, upstream, discover, Box::new(links), stats),
        }
    }
}

fn dial(addr: SocketAddr, options: ConnectOptions) -> Arc<Dial> {
    Arc::new(move || {
        let options = options.clone();
        Box::pin(async move { Connection::connect(addr.to_string(), options).await })
    })
}

impl Handler for Mcp {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let onward = match Onward::of(call, self.topic.as_ref(), self.hops) {
            Ok(onward) => onward,
            Err(refusal) => return Outcome::Now(refusal),
        };
        let order = Order {
            key: None,
            deadline: call.deadline(),
        };
        let upstream = Arc::clone(&self.upstream);
        Outcome::Later(Box::pin(async move {
            let ran = upstream.run(order, |one| attempt(&onward, one)).await;
            reach::answer(ran)
        }))
    }

    fn forwards(&self) -> bool {
        true
    }
}

async fn attempt(onward: &Onward, one: Try<Links>) -> Tried<Answer<'static>> {
    let connection = match one.endpoint.transport.connection().await {
        Ok(connection) => connection,
        Err(error) => return answer::unreached(&error),
    };
    // From here on the connection alone knows whether it went out.
    one.sent().set();
    answer::tried(onward.on(&connection, one.until).send().await)
}
