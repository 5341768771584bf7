//! `mcp`: hands requests on to another MCP server.

mod answer;
mod links;
mod request;

use super::Handler;
use super::onward::DEFAULT_HOPS;
use super::template::Template;
use crate::message::{Call, Outcome};
use links::{Dial, Links};
use mcpd_client::{ConnectOptions, Connection};
use request::Onward;
use std::sync::Arc;

/// Connections to one server, unless it is told otherwise: one carries as much as its server lets be in
/// flight, two keep one's trouble from being everybody's.
const CONNECTIONS: usize = 2;

/// Hands requests on to another server, over few connections that all of them share.
pub struct Mcp {
    topic: Option<Template>,
    hops: u8,
    links: Arc<Links>,
}

impl Mcp {
    /// One that hands on to this address, `host:port`.
    pub fn new(address: &str, options: &ConnectOptions) -> Mcp {
        let (address, options) = (Arc::<str>::from(address), options.clone());
        let dial: Arc<Dial> = Arc::new(move || {
            let (address, options) = (Arc::clone(&address), options.clone());
            Box::pin(async move { Connection::connect(address, options).await })
        });
        Mcp {
            topic: None,
            hops: DEFAULT_HOPS,
            links: Arc::new(Links::new(&dial, CONNECTIONS)),
        }
    }
}

impl Handler for Mcp {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let onward = match Onward::of(call, self.topic.as_ref(), self.hops) {
            Ok(onward) => onward,
            Err(refusal) => return Outcome::Now(refusal),
        };
        let links = Arc::clone(&self.links);
        Outcome::Later(Box::pin(async move {
            let connection = match links.connection().await {
                Ok(connection) => connection,
                Err(error) => return answer::unreached(&error),
            };
            answer::answer(onward.on(&connection).send().await)
        }))
    }

    fn forwards(&self) -> bool {
        true
    }
}
