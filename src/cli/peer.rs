//! What the commands that talk to a server have in common.

use super::failure::Failure;
use super::secret;
use super::tls::Files;
use clap::Args;
use mcpd_client::{Client, ClientBuilder, Connection, MetaBuf, Tls};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const DEFAULT_ADDRESS: &str = "mcp://127.0.0.1:8080";
/// How long a connection may take to be open, unless there is less time for all of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What TIMEOUT_MS can say.
const MAX_TIMEOUT: Duration = Duration::from_millis(u32::MAX as u64);
/// The client's own bounds lie beyond the one that is told.
const BEYOND: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Peer {
    /// The server's data port: mcp://HOST:PORT, mcps://HOST:PORT for TLS, HOST:PORT or HOST; several
    /// divided by commas
    ///
    /// Default: the environment variable MCPD_TO, else mcp://127.0.0.1:8080. The port is 8080 unless
    /// given. A connection has 5s to open, or --timeout if that is less.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Name this client to the server: 1 to 128 of A-Z a-z 0-9 . _ : @ - (default: the environment
    /// variable MCPD_CLIENT_ID, else unnamed)
    #[arg(long, value_name = "ID", value_parser = client_id)]
    client_id: Option<String>,
    /// File with the token to show (default: the token in the environment variable MCPD_TOKEN, else
    /// none)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the token unencrypted to other machines, too: everyone on the way can read it (default:
    /// refuse)
    #[arg(long)]
    allow_plaintext_token: bool,
    /// PEM file of the authorities to trust for mcps:// (default: the environment variable
    /// MCPD_TLS_CA, else those of the system)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file of the client certificate to show (default: the environment variable MCPD_TLS_CERT,
    /// else none)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its key (default: the environment variable MCPD_TLS_KEY, else none)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The name that the server's certificate has to be for (default: the environment variable
    /// MCPD_TLS_SERVER_NAME, else the host of the address)
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
}

/// A client and the first of its connections.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) connection: Connection,
}

impl Peer {
    pub(super) fn address(&self) -> String {
        let given = self.to.clone().or_else(|| env("MCPD_TO"));
        given.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())
    }

    /// Connects within the time for that, or `patience` if it is less. Every address is tried once.
    pub(super) async fn connect(
        &self,
        patience: Option<Duration>,
        retries: u32,
    ) -> Result<Connected, Failure> {
        let time = patience.map_or(CONNECT_TIMEOUT, |time| time.min(CONNECT_TIMEOUT));
        let builder = self
            .builder()?
            .connect_timeout(time + BEYOND)
            .max_attempts(retries.saturating_add(1));
        let connecting = async {
            let client = builder.build().await?;
            let connection = client.connection().await?;
            Ok(Connected { client, connection })
        };
        match timeout(time, connecting).await {
            Ok(connected) => connected.map_err(|error: mcpd_client::Error| error.into()),
            Err(_) => Err(Failure::not_open_within(time)),
        }
    }

    fn builder(&self) -> Result<ClientBuilder, Failure> {
        let address = self.address();
        let tls = self.tls(&address).map_err(Failure::usage)?;
        let mut builder = Client::builder(address)
            .agent(concat!("mcpd/", env!("CARGO_PKG_VERSION")))
            .timeout(None)
            .max_connections(1)
            .fail_fast(true)
            .allow_plaintext_token(self.allow_plaintext_token);
        if let Some(id) = self.client_id()? {
            builder = builder.client_id(id);
        }
        let token = secret::token(self.token_file.as_deref(), "MCPD_TOKEN");
        if let Some(token) = token.map_err(Failure::usage)? {
            builder = builder.token(token);
        }
        match tls {
            Some(tls) => Ok(builder.tls(tls)),
            None => Ok(builder),
        }
    }

    /// What this client is called, by the flag or the environment.
    pub(super) fn client_id(&self) -> Result<Option<String>, Failure> {
        match (&self.client_id, env("MCPD_CLIENT_ID")) {
            (Some(id), _) => Ok(Some(id.clone())),
            (None, None) => Ok(None),
            (None, Some(id)) => client_id(&id)
                .map(Some)
                .map_err(|problem| Failure::usage(format!("MCPD_CLIENT_ID: {problem}"))),
        }
    }

    fn tls(&self, address: &str) -> Result<Option<Tls>, String> {
        let (ca, cert, key) = (&self.tls_ca, &self.tls_cert, &self.tls_key);
        let files = Files::find("MCPD_TLS", ca.as_ref(), cert.as_ref(), key.as_ref())?;
        let asked = files.asked || self.tls_server_name.is_some();
        if !address.trim_start().starts_with("mcps://") {
            return match asked {
                true => Err("the --tls flags are for mcps://; write it in --to".to_owned()),
                false => Ok(None),
            };
        }
        let mut tls = Tls::new();
        if let Some(ca) = files.ca {
            tls = tls.ca_file(ca);
        }
        if let Some((cert, key)) = files.identity {
            tls = tls.client_cert_files(cert, key);
        }
        let name = self.tls_server_name.clone();
        if let Some(name) = name.or_else(|| env("MCPD_TLS_SERVER_NAME")) {
            tls = tls.server_name(name);
        }
        Ok(Some(tls))
    }
}

/// A variable that says something: an empty one is how many tools write "unset".
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// One thread is plenty for one connection.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::internal(format!("cannot start: {error}")))
}

/// A time with its unit, as in a configuration file.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if bare {
        return Err(format!(
            "it has no unit; write {text}s for seconds or {text}ms for milliseconds"
        ));
    }
    let time = humantime::parse_duration(text)
        .map_err(|_| "write numbers with units ms, s, m or h, such as 250ms or 1m30s".to_owned())?;
    let least = Duration::from_millis(1);
    if (least..=MAX_TIMEOUT).contains(&time) {
        Ok(time)
    } else {
        Err("write 1ms to 49days".to_owned())
    }
}

/// Milliseconds, to the microsecond: what is finer is noise.
pub(super) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn client_id(text: &str) -> Result<String, String> {
    MetaBuf::new()
        .set_client_id(text)
        .map_err(|_| "write 1 to 128 of A-Z a-z 0-9 . _ : @ -".to_owned())?;
    Ok(text.to_owned())
}
