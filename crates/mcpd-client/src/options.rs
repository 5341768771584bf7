//! How to connect.

use crate::credentials::{Credentials, Token};
use crate::error::{Error, Result};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use mcpd_proto::MetaBuf;
use mcpd_proto::limits::{CLIENT_MAX_PAYLOAD, MAX_HEARTBEAT, MIN_HEARTBEAT};
use mcpd_proto::session::{ClientSettings, HeartbeatSettings};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Time for a connection to be opened, its HELLO included: a server that takes longer is of no use
/// to a caller who could try another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without a byte written, though there are some to write, after which the server is given up;
/// as long as the protocol gives a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// As good as never.
const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Bytes waiting to be written before no more requests are taken: several full socket buffers, so
/// that the socket never runs dry, and little enough that a heartbeat's answer is not held up long.
const WRITE_BUFFER: usize = 256 * 1024;
/// Smallest limit on payloads: an ERROR with as much metadata and text as it may have fits.
const LEAST_PAYLOAD: u32 = 32 * 1024;
/// How much longer than the server one waits here: its own answer to a request out of time says more
/// than silence does.
const GRACE: Duration = Duration::from_millis(250);
/// What the server is told of this library.
const AGENT: &str = concat!("mcpd-client/", env!("CARGO_PKG_VERSION"));

/// How a connection is opened and kept; the defaults suit most.
///
/// ```
/// use mcpd_client::ConnectOptions;
/// use std::time::Duration;
/// let options = ConnectOptions::new()
///     .client_id("till-7")
///     .token(b"s3cret")
///     .connect_timeout(Duration::from_secs(2));
/// assert!(!format!("{options:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    client_id: Option<String>,
    token: Option<Token>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    agent: String,
    heartbeat: HeartbeatSettings,
    max_payload: u32,
    hello: bool,
    pub(crate) allow_plaintext_token: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) write_buffer: usize,
    pub(crate) grace: Duration,
    pub(crate) home: Option<Handle>,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            client_id: None,
            token: None,
            #[cfg(feature = "tls")]
            tls: None,
            agent: AGENT.to_owned(),
            heartbeat: HeartbeatSettings::default(),
            max_payload: CLIENT_MAX_PAYLOAD,
            hello: true,
            allow_plaintext_token: false,
            connect_timeout: CONNECT_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            write_buffer: WRITE_BUFFER,
            grace: GRACE,
            home: None,
        }
    }
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// Names this client: 1–128 of `[A-Za-z0-9._:@-]`. QoS 2 needs it.
    pub fn client_id(mut self, id: impl Into<String>) -> ConnectOptions {
        self.client_id = Some(id.into());
        self
    }

    /// Shows this token to the server. It is never printed, and not sent in the clear except to a
    /// loopback address or with [`ConnectOptions::allow_plaintext_token`].
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> ConnectOptions {
        self.token = Some(Token::Fixed(token.into()));
        self
    }

    /// Asks for the token when the connection is opened: see [`Credentials`]. Otherwise as
    /// [`ConnectOptions::token`], which it replaces.
    pub fn credentials(mut self, credentials: impl Credentials) -> ConnectOptions {
        self.token = Some(Token::Asked(Arc::new(credentials)));
        self
    }

    /// How connections to `mcps://` addresses are secured (default: [`Tls::new`]). With it other
    /// addresses are refused.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> ConnectOptions {
        self.tls = Some(tls);
        self
    }

    /// Sends the token over unencrypted TCP to any address: everyone on the way can read it.
    pub fn allow_plaintext_token(mut self, allow: bool) -> ConnectOptions {
        self.allow_plaintext_token = allow;
        self
    }

    /// The library and version the server is told, ≤ 128 bytes.
    pub fn agent(mut self, agent: impl Into<String>) -> ConnectOptions {
        self.agent = agent.into();
        self
    }

    /// How often this side shows that it is alive (1–600 s, default 30 s).
    pub fn heartbeat(mut self, heartbeat: HeartbeatSettings) -> ConnectOptions {
        self.heartbeat = heartbeat;
        self
    }

    /// The largest payload taken from the server, in bytes, metadata included (default 1 MiB +
    /// 64 KiB, at least 32 KiB; without HELLO not below the default). A server that sends more breaks
    /// the protocol.
    pub fn max_payload(mut self, bytes: u32) -> ConnectOptions {
        self.max_payload = bytes;
        self
    }

    /// Time for the connection to be open, HELLO included (default 5 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> ConnectOptions {
        self.connect_timeout = timeout;
        self
    }

    /// Time after which a server that takes no byte is given up (default 30 s).
    pub fn write_timeout(mut self, timeout: Duration) -> ConnectOptions {
        // It is added to the clock, which has an end.
        self.write_timeout = timeout.min(MAX_WRITE_TIMEOUT);
        self
    }

    /// Bytes waiting to be written before calls wait, too (default 256 KiB). One frame may go over.
    pub fn write_buffer(mut self, bytes: usize) -> ConnectOptions {
        self.write_buffer = bytes.max(1);
        self
    }

    /// How much longer than its timeout a request waits for its answer (default 250 ms), so that the
    /// server can still say what became of it.
    pub fn grace(mut self, grace: Duration) -> ConnectOptions {
        self.grace = grace;
        self
    }

    /// The runtime that the connection lives on once it is there (default: the one it is opened on).
    /// Callers on a thread of that runtime share it with their connection: asking and being answered
    /// wakes no other thread. It has to wait for sockets and need not know time, which passes on the
    /// runtime that the connection is opened on. Streams that are given stay where they are.
    pub fn home(mut self, runtime: Handle) -> ConnectOptions {
        self.home = Some(runtime);
        self
    }

    /// Whether to introduce this client (default `true`). Without HELLO the server's limits are the
    /// protocol's defaults and there is neither client id nor token.
    pub fn hello(mut self, hello: bool) -> ConnectOptions {
        self.hello = hello;
        self
    }

    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn session(&self) -> ClientSettings {
        // A server that was told nothing counts on the default.
        let least = if self.hello { 0 } else { CLIENT_MAX_PAYLOAD };
        ClientSettings {
            heartbeat: self.heartbeat,
            max_payload: self.max_payload.max(least),
            ..ClientSettings::default()
        }
    }

    fn check(&self) -> Result<()> {
        let HeartbeatSettings {
            interval,
            max_interval,
        } = self.heartbeat;
        let allowed = MIN_HEARTBEAT..=MAX_HEARTBEAT;
        if !allowed.contains(&interval)
            || !allowed.contains(&max_interval)
            || max_interval < interval
        {
            let text = "heartbeat intervals are of 1 to 600 s, the largest not below the first";
            return Err(Error::invalid(text));
        }
        if self.max_payload < LEAST_PAYLOAD {
            let text = format!("max_payload is at least {LEAST_PAYLOAD} bytes");
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    /// Fits the options to an address, which is one for TLS or is not.
    pub(crate) fn for_scheme(self, secure: bool) -> Result<ConnectOptions> {
        #[cfg(feature = "tls")]
        let this = match (secure, &self.tls) {
            (false, Some(_)) => {
                let text = "TLS is set up, but the address is one without; write mcps://";
                return Err(Error::invalid(text));
            }
            (true, None) => self.tls(Tls::new()),
            _ => self,
        };
        #[cfg(not(feature = "tls"))]
        let this = match secure {
            // Such an address is refused before.
            true => return Err(Error::invalid("this program was built without TLS")),
            false => self,
        };
        Ok(this)
    }

    /// Finds what would be wrong on every connection.
    pub(crate) async fn check_files(&self) -> Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.check().await?;
        }
        Ok(())
    }

    /// The HELLO's metadata with the token of now, `None` when none is to be sent.
    pub(crate) async fn fresh_hello(&self) -> Result<Option<MetaBuf>> {
        let mut hello = self.hello_meta()?;
        if let (Some(meta), Some(Token::Asked(credentials))) = (&mut hello, &self.token) {
            let token = credentials.token().await.map_err(|error| {
                Error::connect(format!("no token: {error}")).with_source(Arc::new(error))
            })?;
            meta.set_auth_token(&token)?;
        }
        Ok(hello)
    }

    /// The HELLO's metadata but for a token that is asked for, `None` when none is to be sent.
    pub(crate) fn hello_meta(&self) -> Result<Option<MetaBuf>> {
        self.check()?;
        if !self.hello {
            if self.client_id.is_some() || self.token.is_some() {
                return Err(Error::invalid(
                    "a client id or token needs HELLO; do not turn it off",
                ));
            }
            return Ok(None);
        }
        let mut meta = MetaBuf::new();
        if let Some(id) = &self.client_id {
            meta.set_client_id(id)?;
        }
        if let Some(Token::Fixed(token)) = &self.token {
            meta.set_auth_token(token)?;
        }
        meta.set_agent(&self.agent)?;
        Ok(Some(meta))
    }

    #[cfg(feature = "tls")]
    fn tls_shown(&self) -> &Option<Tls> {
        &self.tls
    }

    #[cfg(not(feature = "tls"))]
    fn tls_shown(&self) -> Option<()> {
        None
    }

    /// Refuses to show the token to whoever listens on the way.
    pub(crate) fn check_plaintext(&self, loopback: bool) -> Result<()> {
        if self.has_token() && !loopback && !self.allow_plaintext_token {
            let text = "the token would be sent unencrypted; use mcps://, or allow it explicitly";
            return Err(Error::invalid(text));
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("client_id", &self.client_id)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("agent", &self.agent)
            .field("tls", &self.tls_shown())
            .field("heartbeat", &self.heartbeat)
            .field("max_payload", &self.max_payload)
            .field("hello", &self.hello)
            .field("allow_plaintext_token", &self.allow_plaintext_token)
            .field("connect_timeout", &self.connect_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("write_buffer", &self.write_buffer)
            .field("grace", &self.grace)
            .field("home", &self.home)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_token_goes_in_the_clear_only_where_nobody_listens_or_by_explicit_wish() {
        let options = ConnectOptions::new().token("s3cret");
        assert!(options.check_plaintext(true).is_ok());
        let error = options.check_plaintext(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!format!("{error:?} {options:?}").contains("s3cret"));
        let options = options.allow_plaintext_token(true);
        assert!(options.check_plaintext(false).is_ok());
        assert!(ConnectOptions::new().check_plaintext(false).is_ok());
    }
}
