//! What the commands that talk to a server have in common.

use super::failure::Failure;
use clap::Args;
use mcpd_client::{ConnectOptions, MetaBuf};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const DEFAULT_ADDRESS: &str = "mcp://127.0.0.1:8080";
/// How long a connection may take to be open, unless there is less time for all of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What TIMEOUT_MS can say.
const MAX_TIMEOUT: Duration = Duration::from_millis(u32::MAX as u64);

#[derive(Debug, Args)]
pub(super) struct Peer {
    /// The server's data port: mcp://HOST:PORT, HOST:PORT or HOST
    ///
    /// Default: the environment variable MCPD_TO, else mcp://127.0.0.1:8080. The port is 8080 unless
    /// given. A connection has 5s to open, or --timeout if that is less.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Name this client to the server: 1 to 128 of A-Z a-z 0-9 . _ : @ - (default: unnamed)
    #[arg(long, value_name = "ID", value_parser = client_id)]
    client_id: Option<String>,
}

impl Peer {
    pub(super) fn address(&self) -> String {
        let given = self.to.clone().or_else(|| env("MCPD_TO"));
        given.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())
    }

    pub(super) fn options(&self, patience: Option<Duration>) -> ConnectOptions {
        let timeout = patience.map_or(CONNECT_TIMEOUT, |time| time.min(CONNECT_TIMEOUT));
        let options = ConnectOptions::new()
            .agent(concat!("mcpd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(timeout);
        match &self.client_id {
            Some(id) => options.client_id(id),
            None => options,
        }
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
