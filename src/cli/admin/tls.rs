//! `https` with authorities and certificates of one's own.

use super::Failed;
use super::failed::innermost;
use crate::cli::tls::Files;
use clap::Args;
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use std::path::{Path, PathBuf};

/// Whom to trust and what to show, for `https`.
#[derive(Debug, Args)]
pub(super) struct Tls {
    /// PEM file of the authorities to trust for https (default: the environment variable
    /// MCPD_ADMIN_TLS_CA, else those of the system)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file of the client certificate to show (default: the environment variable
    /// MCPD_ADMIN_TLS_CERT, else none)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its key (default: the environment variable MCPD_ADMIN_TLS_KEY, else none)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl Tls {
    /// Sets a client up for this address.
    pub(super) fn apply(
        &self,
        builder: ClientBuilder,
        base: &Url,
    ) -> Result<ClientBuilder, Failed> {
        let (ca, cert, key) = (&self.tls_ca, &self.tls_cert, &self.tls_key);
        let files = Files::find("MCPD_ADMIN_TLS", ca.as_ref(), cert.as_ref(), key.as_ref())
            .map_err(Failed::usage)?;
        if base.scheme() != "https" {
            if files.asked {
                let text = "--tls-ca, --tls-cert and --tls-key are for https; write it in --admin";
                return Err(Failed::usage(text.to_owned()));
            }
            // Spares reading the system's certificates, which a small image does not even have.
            return Ok(builder.tls_certs_only([]));
        }
        let builder = match &files.ca {
            None => builder,
            Some(path) => builder.tls_certs_only(authorities(path)?),
        };
        match &files.identity {
            None => Ok(builder),
            Some((cert, key)) => Ok(builder.identity(identity(cert, key)?)),
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Failed> {
    let pem = read(path)?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Failed::usage(format!(
            "{} holds no certificates in PEM",
            path.display()
        ))),
    }
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, Failed> {
    let mut pem = read(cert)?;
    pem.push(b'\n');
    pem.extend(read(key)?);
    Identity::from_pem(&pem).map_err(|error| {
        let (cert, key, cause) = (cert.display(), key.display(), innermost(&error));
        Failed::usage(format!(
            "{cert} and {key} are no certificate with its key: {cause}"
        ))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    let unreadable = |error| Failed::usage(format!("cannot read {}: {error}", path.display()));
    std::fs::read(path).map_err(unreadable)
}
