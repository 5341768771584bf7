//! Which certificate the server shows to new connections, while an old one lives on.

use crate::stop::Stop;
use crate::{epoch_ms, print};
use anyhow::{Context, Result};
use clap::Args;
use mcpd_client::{ConnectOptions, Connection, Tls};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Args)]
pub(crate) struct Certificates {
    /// The server's `host:port`; the certificate has to be for this name
    #[arg(long)]
    to: String,
    /// PEM file of the authority
    #[arg(long)]
    ca: PathBuf,
    #[arg(long, default_value_t = 1000)]
    every_ms: u64,
}

/// One look.
#[derive(Serialize)]
struct Seen {
    at: u64,
    /// SHA-256 of the certificate that a new connection was shown, or why there was none.
    shown: String,
    ok: bool,
    /// Whether the connection that was opened at the beginning still answers.
    old_lives: bool,
}

impl Certificates {
    pub(crate) async fn run(self) -> Result<()> {
        let mut stop = Stop::on_signal()?;
        let options = ConnectOptions::new().tls(Tls::new().ca_file(&self.ca));
        let old = Connection::connect(format!("mcps://{}", self.to), options).await?;
        let connector = self.connector()?;
        let mut tick = tokio::time::interval(Duration::from_millis(self.every_ms));
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.stopped() => return Ok(()),
            }
            let shown = self.look(&connector).await;
            let ok = shown.is_ok();
            let shown = shown.unwrap_or_else(|error| format!("{error:#}"));
            print(&Seen {
                at: epoch_ms(),
                shown,
                ok,
                old_lives: old.ping().await.is_ok(),
            })?;
        }
    }

    fn connector(&self) -> Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca)? {
            roots.add(certificate?)?;
        }
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"mcp/1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn look(&self, connector: &TlsConnector) -> Result<String> {
        let host = self
            .to
            .rsplit_once(':')
            .map_or(self.to.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TcpStream::connect(&self.to).await?;
        let stream = connector.connect(name, stream).await?;
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first);
        let hash = Sha256::digest(shown.context("no certificate")?);
        Ok(hash.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
    }
}
