//! TLS of a port, and towards others ([`client`]): from the bytes of files to what handshakes go by.
//!
//! Files come as bytes, all from one look, and are taken together or not at all: a certificate with the
//! key of another one would let nobody in.

mod client;
mod read;
#[cfg(test)]
mod tests;

pub use client::{ClientFiles, client};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;
use std::time::SystemTime;

/// Most bytes of a file. Bundles of all public CAs take a quarter of it.
pub const MAX_BYTES: usize = 1 << 20;

/// TLS 1.3 tickets for a client that shows no certificate: one resumption each, and clients of long
/// connections seldom need another.
const TICKETS: usize = 1;

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked to.
    Off,
    /// They may; what they show has to be good.
    Optional,
    /// They must.
    Required,
}

/// The files of a port, as one look found them. There is no `Debug`, for a key is among them.
#[derive(Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and those that lead to its root, PEM.
    pub certificate: Vec<u8>,
    /// Its private key, PEM.
    pub key: Vec<u8>,
    /// Who vouches for clients, PEM.
    pub client_ca: Option<Vec<u8>>,
}

/// What a port needs besides its files.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// The protocol on top, by its ALPN name.
    pub protocol: &'static [u8],
}

/// What handshakes go by.
#[derive(Debug)]
pub struct Ready {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// When the first certificate that it stands on expires.
    pub not_after: SystemTime,
    /// Expired CAs that are left out.
    pub left_out: usize,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {why}")]
pub struct Problem {
    /// Which: `certificate`, `key` or `client_ca`, or one of [`client`].
    pub file: &'static str,
    /// What is wrong and nothing secret.
    pub why: String,
}

impl Problem {
    fn new(file: &'static str, why: impl Into<String>) -> Problem {
        let why = why.into();
        Problem { file, why }
    }
}

/// Makes what handshakes go by from the files, at `now`.
///
/// # Errors
/// One cannot be read or has expired, or the key is another certificate's.
pub fn ready(files: &Files, terms: Terms, now: SystemTime) -> Result<Ready, Problem> {
    let provider = Arc::new(ring::default_provider());
    let chain = read::certificates("certificate", &files.certificate)?;
    let not_after = read::expiry("certificate", &chain, now)?;
    read::has_names("certificate", &chain)?;
    read::fits_a_handshake("certificate", &chain)?;
    let (verifier, left_out) = verifier(files, terms.client_auth, &provider, now)?;
    let pair = pair(chain, "key", &files.key, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|error| Problem::new("certificate", error.to_string()))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let resolver = rustls::sign::SingleCertAndKey::from(pair);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![terms.protocol.to_vec()];
    resumption(&mut config, terms.client_auth)?;
    Ok(Ready {
        config: Arc::new(config),
        not_after,
        left_out,
    })
}

/// Who resumes a session shows no certificate again, and nobody would look whether it is still good. So
/// where certificates are asked for, every connection shakes hands in full. Elsewhere the client keeps
/// the state, in tickets that end with the process and with the certificate. Early data could be
/// replayed and is never taken.
fn resumption(config: &mut ServerConfig, client_auth: ClientAuth) -> Result<(), Problem> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    if client_auth == ClientAuth::Off {
        config.send_tls13_tickets = TICKETS;
        config.ticketer = ring::Ticketer::new()
            .map_err(|error| Problem::new("key", format!("no key for tickets: {error}")))?;
    }
    Ok(())
}

fn pair(
    chain: Vec<CertificateDer<'static>>,
    file: &'static str,
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Problem> {
    let key = read::key(file, key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            Problem::new(file, "is not the key of the certificate")
        }
        error => Problem::new(
            file,
            format!("cannot be used with the certificate: {error}"),
        ),
    })
}

type Verifier = (Option<Arc<dyn ClientCertVerifier>>, usize);

fn verifier(
    files: &Files,
    client_auth: ClientAuth,
    provider: &Arc<CryptoProvider>,
    now: SystemTime,
) -> Result<Verifier, Problem> {
    const FILE: &str = "client_ca";
    let Some(bytes) = files
        .client_ca
        .as_ref()
        .filter(|_| client_auth != ClientAuth::Off)
    else {
        return Ok((None, 0));
    };
    let (good, left_out) = read::unexpired(FILE, read::certificates(FILE, bytes)?, now)?;
    let mut roots = RootCertStore::empty();
    for ca in good {
        let added = roots.add(ca);
        added.map_err(|error| {
            Problem::new(FILE, format!("has a CA that cannot be used: {error}"))
        })?;
    }
    let provider = Arc::clone(provider);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    let verifier = builder.build();
    let verifier = verifier.map_err(|error| Problem::new(FILE, error.to_string()))?;
    Ok((Some(verifier), left_out))
}
