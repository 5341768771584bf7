//! What a handler of type `mcp` is told.

use crate::handler::onward::DEFAULT_HOPS;
use crate::handler::template::Template;
use crate::handler::{HashBy, TlsSettings};
use crate::upstream::{self, ServicePort};
use mcpd_client::ConnectOptions;
use mcpd_proto::limits::CLIENT_MAX_PAYLOAD;
use std::path::PathBuf;
use std::time::Duration;

/// Connections to one server: one carries as much as its server lets be in flight, two keep one's
/// trouble from being everybody's.
const CONNECTIONS: usize = 2;

/// Requests under way at a time: what two connections carry to one server by its default.
const MAX_RUNNING: usize = 512;

/// Which servers of MCP are asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct McpSettings {
    /// Hosts and ports; a name stands for all its addresses.
    pub(crate) endpoints: Vec<(String, u16)>,
    /// A Service of Kubernetes that is asked instead.
    pub(crate) service: Option<ServicePort>,
    /// Topics go along as they are, or as this makes them.
    pub(crate) topic: Option<Template>,
    /// Hops of a request that does not say itself how many are left; none has more.
    pub(crate) hops: u8,
    /// Connections to each server.
    pub(crate) connections: usize,
    /// How long a connection may take to be there, HELLO included.
    pub(crate) connect_timeout: Duration,
    /// The largest answer that is taken, metadata included.
    pub(crate) max_response: u32,
    /// CLIENT_ID that is shown there.
    pub(crate) client_id: Option<String>,
    /// TLS towards the servers; without it they are spoken to in the clear.
    pub(crate) tls: Option<TlsSettings>,
    /// A file with the token that is shown there.
    pub(crate) token_file: Option<PathBuf>,
    /// Whether the token is shown without TLS to other addresses than those of this machine.
    pub(crate) allow_plaintext_token: bool,
    /// By what requests are kept together.
    pub(crate) hash_by: Option<HashBy>,
    /// The care for the servers.
    pub(crate) care: upstream::Settings,
}

impl McpSettings {
    /// These servers, with everything else by default.
    pub fn new(endpoints: Vec<(String, u16)>) -> McpSettings {
        McpSettings {
            endpoints,
            service: None,
            topic: None,
            hops: DEFAULT_HOPS,
            connections: CONNECTIONS,
            connect_timeout: Duration::from_secs(2),
            max_response: CLIENT_MAX_PAYLOAD,
            client_id: None,
            tls: None,
            token_file: None,
            allow_plaintext_token: false,
            hash_by: None,
            care: upstream::Settings {
                max_running: MAX_RUNNING,
                max_pending: MAX_RUNNING,
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
        self.topic = Some(template.map_err(|error| error.to_string())?);
        Ok(self)
    }

    /// Connections to each server, at least one.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> McpSettings {
        self.connections = connections;
        self
    }

    /// Speaks TLS to the servers.
    #[must_use]
    pub fn tls(mut self, tls: TlsSettings) -> McpSettings {
        self.tls = Some(tls);
        self
    }

    /// Shows the servers the token that is in this file when a connection is opened.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> McpSettings {
        self.token_file = Some(path.into());
        self
    }

    /// The care for the servers, by default and to be changed.
    pub fn care(&mut self) -> &mut upstream::Settings {
        &mut self.care
    }

    /// How connections are opened, but for what is shown and who is trusted.
    pub(super) fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new()
            .connect_timeout(self.connect_timeout)
            // Whoever asked waits no longer than that; what comes later is of no use to anybody.
            .grace(Duration::ZERO)
            .max_payload(self.max_response)
            .allow_plaintext_token(self.allow_plaintext_token);
        match &self.client_id {
            Some(id) => options.client_id(id.as_str()),
            None => options,
        }
    }
}
