//! A server whose one handler leads to others, and a client of it.

use crate::embedded::{Embedded, document};
use mcpd::handler::{Handler, Mcp, McpSettings};
use mcpd::message::{Answer as Said, Body, Call, Outcome};
use mcpd_client::{Answer, ConnectOptions, Connection, Error, ErrorCode, RequestBuilder};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) struct Front {
    pub(crate) server: Embedded,
    pub(crate) client: Connection,
}

/// A handler that leads to these servers.
pub(crate) fn leads_to(
    servers: &[SocketAddr],
    change: impl FnOnce(McpSettings) -> McpSettings,
) -> Arc<dyn Handler> {
    let hosts = servers.iter();
    let hosts = hosts.map(|addr| (addr.ip().to_string(), addr.port()));
    let settings = change(McpSettings::new(hosts.collect()));
    Arc::new(Mcp::new("next", settings, Arc::default()))
}

impl Front {
    /// All topics lead to these servers.
    pub(crate) fn new(
        servers: &[SocketAddr],
        change: impl FnOnce(McpSettings) -> McpSettings,
    ) -> Front {
        Front::leading_to(leads_to(servers, change))
    }

    /// All topics lead to this handler.
    pub(crate) fn leading_to(handler: Arc<dyn Handler>) -> Front {
        Front::of(Embedded::start(
            vec![("next", handler)],
            &document(&[("'#'", "next")]),
        ))
    }

    pub(crate) fn of(server: Embedded) -> Front {
        let options = ConnectOptions::new().client_id("till-7");
        let connecting = Connection::connect(server.addr.to_string(), options);
        let client = server.runtime.block_on(connecting).unwrap();
        Front { server, client }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.server.runtime.block_on(work)
    }

    pub(crate) fn request(&self, topic: &str) -> RequestBuilder {
        self.client.request(topic).timeout(crate::PATIENCE)
    }

    pub(crate) fn ask(&self, topic: &str, body: &str) -> Result<Answer, Error> {
        self.run(self.request(topic).body(body).send())
    }
}

/// The code of an ERROR.
pub(crate) fn code(answer: Result<Answer, Error>) -> ErrorCode {
    let error = answer.expect_err("an ERROR");
    error
        .code()
        .unwrap_or_else(|| panic!("an ERROR of the server, not {error}"))
}

/// A handler made of a function.
pub(crate) struct Does<F>(pub(crate) F);

impl<F> Handler for Does<F>
where
    F: Fn(&Call<'_>) -> Outcome<'static> + Send + Sync + 'static,
{
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        (self.0)(call)
    }
}

/// A server at the far end with this handler for all topics.
pub(crate) fn far(handler: Arc<dyn Handler>) -> Embedded {
    Embedded::start(vec![("far", handler)], &document(&[("'#'", "far")]))
}

/// A RESPONSE.
pub(crate) fn says(text: impl Into<String>) -> Said<'static> {
    Said::Response {
        body: Body::Shared(text.into().into()),
        content_type: None,
    }
}
