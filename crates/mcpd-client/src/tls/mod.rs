//! TLS: whom this side trusts, who it is, and how the two become a stream.

mod explain;
mod load;
mod stream;

pub(crate) use explain::{after_handshake, during_handshake};

use crate::connector::{Io, Stream};
use crate::error::{Error, Result};
use load::{Loaded, Pem};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use stream::TlsIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How connections to `mcps://` addresses are secured; the defaults suit servers whose certificates
/// the system trusts. Versions 1.2 and 1.3, ALPN `mcp/1`; what a server is called in its address is
/// what its certificate has to be for.
///
/// Files are read again for each new connection, so certificates and authorities that are replaced
/// need no restart. While what is found does not fit together, what was read before stays in use, and
/// a warning says why.
///
/// ```
/// use mcpd_client::{Client, Tls};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
///
/// let tls = Tls::new()
///     .ca_file("/etc/mcp/ca.crt")
///     .client_cert_files("/etc/mcp/tls.crt", "/etc/mcp/tls.key");
/// let built = Client::builder("mcps://mcp.example:8080").tls(tls).build().await;
/// assert!(built.unwrap_err().to_string().contains("/etc/mcp/ca.crt"));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    /// Instead of the system's.
    roots: Vec<Pem>,
    /// Certificates and key.
    identity: Option<(Pem, Pem)>,
    server_name: Option<String>,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

impl Tls {
    /// The defaults: the system's authorities (or those of the file in `SSL_CERT_FILE`), no
    /// certificate of this side.
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts the authorities in this PEM file instead of the system's; may be called again for more.
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Tls {
        self.trust(Pem::File(path.into()))
    }

    /// Trusts these authorities, PEM, instead of the system's; may be called again for more.
    pub fn ca_pem(self, pem: impl AsRef<[u8]>) -> Tls {
        self.trust(Pem::Bytes(pem.as_ref().into()))
    }

    /// Shows the server a certificate: PEM files of the chain, its own certificate first, and of the
    /// key.
    pub fn client_cert_files(self, certs: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Tls {
        self.show(Pem::File(certs.into()), Pem::File(key.into()))
    }

    /// The same from memory.
    pub fn client_cert_pem(self, certs: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Tls {
        let (certs, key) = (certs.as_ref().into(), key.as_ref().into());
        self.show(Pem::Bytes(certs), Pem::Bytes(key))
    }

    /// The name, or IP address, that servers' certificates are to be for, whatever they are called in
    /// their addresses: for addresses that are no names of theirs, such as that of a tunnel.
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        self.server_name = Some(name.into());
        self
    }

    fn trust(mut self, pem: Pem) -> Tls {
        self.roots.push(pem);
        self.afresh()
    }

    fn show(mut self, certs: Pem, key: Pem) -> Tls {
        self.identity = Some((certs, key));
        self.afresh()
    }

    /// What a clone has read is of other files.
    fn afresh(mut self) -> Tls {
        self.loaded = Arc::default();
        self
    }

    /// Reads the files now, which may block, and uses what they hold from now on if it is good. Connections do
    /// so by themselves; this is for those who want to know beforehand, or to tell when something is wrong.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid): what they hold now cannot be used. What was read before stays.
    ///
    /// ```
    /// use mcpd_client::Tls;
    ///
    /// let error = Tls::new().ca_file("/etc/mcp/ca.crt").load().unwrap_err();
    /// assert!(error.to_string().contains("/etc/mcp/ca.crt"));
    /// ```
    pub fn load(&self) -> Result<()> {
        load::now(self).map_err(Error::invalid)
    }

    /// Whether it can work: names are names, and every file is there and fits.
    pub(crate) async fn check(&self) -> Result<()> {
        if let Some(name) = &self.server_name {
            parse_name(name)?;
        }
        self.config().await.map_err(Error::invalid)?;
        Ok(())
    }

    /// Reads what is to be read, where that may take its time.
    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let tls = self.clone();
        let loading = tokio::task::spawn_blocking(move || load::config(&tls));
        let stopped = |_| "the runtime was shut down".to_owned();
        loading.await.map_err(stopped)?
    }

    /// Makes a secure stream of one that is not, to a server that `host` stands for.
    pub(crate) async fn secure(&self, stream: Stream, host: &str) -> Result<TlsIo> {
        let name = parse_name(self.server_name.as_deref().unwrap_or(host))?;
        let config = self.config().await.map_err(Error::connect)?;
        let stream = match stream.into_io() {
            Io::Tcp(stream) => Box::new(stream),
            Io::Other(stream) => stream,
        };
        let connected = TlsConnector::from(config).connect(name, stream).await;
        let stream = connected.map_err(|error| during_handshake(host, error))?;
        Ok(TlsIo::new(stream))
    }
}

/// What a certificate can be for: a name of DNS or an IP address.
fn parse_name(host: &str) -> Result<ServerName<'static>> {
    // A zone says which way, not who.
    let name = host.split_once('%').map_or(host, |(address, _)| address);
    ServerName::try_from(name.to_owned()).map_err(|error| {
        let text = format!(
            "{host:?} is nothing that a certificate can be for; say which name is expected \
             (server_name)"
        );
        Error::invalid(text).with_source(Arc::new(error))
    })
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots)
            .field("identity", &self.identity)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_what_certificates_are_for() {
        for host in ["example.org", "127.0.0.1", "::1", "fe80::1%eth0", "a_b.svc"] {
            assert!(parse_name(host).is_ok(), "{host}");
        }
        for host in ["", "a b", "exämple.org"] {
            let error = parse_name(host).unwrap_err();
            assert!(error.to_string().contains("server_name"), "{error}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let tls = Tls::new()
            .client_cert_pem("certs", "s3cret")
            .ca_file("ca.crt");
        let shown = format!("{tls:?}");
        assert!(
            !shown.contains("s3cret") && shown.contains("ca.crt"),
            "{shown}"
        );
    }
}
