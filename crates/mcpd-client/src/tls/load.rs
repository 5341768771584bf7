//! From PEM to a configuration of rustls, as often as the files change.

use super::Tls;
use crate::file;
use crate::telemetry;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// What this side speaks over TLS, as ALPN names it.
const ALPN: &[u8] = b"mcp/1";
/// Largest file of certificates or a key: the bundles of systems have a quarter of it.
const MAX_PEM: usize = 1 << 20;

/// Where PEM comes from.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Pem::File(path) => file::read(path, MAX_PEM),
            Pem::Bytes(bytes) => Ok(bytes.to_vec()),
        }
    }
}

/// For messages: never what it holds.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Bytes(_) => f.write_str("the PEM given"),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was read last and was good.
pub(super) struct Loaded {
    read: Vec<Vec<u8>>,
    config: Arc<ClientConfig>,
    /// What is wrong with what there was since; told once.
    complaint: Option<String>,
}

/// The configuration by what the files hold now, or held when they were last good.
///
/// # Errors
/// It never was good, and why.
pub(super) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let mut loaded = tls.loaded.lock().unwrap_or_else(PoisonError::into_inner);
    let problem = match refresh(tls, &mut loaded) {
        Ok(config) => return Ok(config),
        Err(problem) => problem,
    };
    let Some(last) = loaded.as_mut() else {
        return Err(problem);
    };
    if last.complaint.as_ref() != Some(&problem) {
        telemetry::kept("tls", &problem);
        last.complaint = Some(problem);
    }
    Ok(last.config.clone())
}

/// Reads the files; what is good is used from now on.
///
/// # Errors
/// What is wrong with what they hold now.
pub(super) fn now(tls: &Tls) -> Result<(), String> {
    let mut loaded = tls.loaded.lock().unwrap_or_else(PoisonError::into_inner);
    refresh(tls, &mut loaded).map(drop)
}

fn refresh(tls: &Tls, loaded: &mut Option<Loaded>) -> Result<Arc<ClientConfig>, String> {
    let read = read(tls)?;
    if let Some(last) = loaded.as_mut().filter(|last| last.read == read) {
        last.complaint = None;
        return Ok(last.config.clone());
    }
    let config = Arc::new(build(tls, &read)?);
    *loaded = Some(Loaded {
        read,
        config: config.clone(),
        complaint: None,
    });
    Ok(config)
}

/// Authorities, certificates, key.
fn read(tls: &Tls) -> Result<Vec<Vec<u8>>, String> {
    let identity = tls.identity.iter().flat_map(|(certs, key)| [certs, key]);
    tls.roots.iter().chain(identity).map(Pem::read).collect()
}

fn build(tls: &Tls, read: &[Vec<u8>]) -> Result<ClientConfig, String> {
    let (roots, identity) = read.split_at(tls.roots.len());
    let roots = match roots {
        [] => system_roots()?,
        _ => own_roots(&tls.roots, roots)?,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match (&tls.identity, identity) {
        (Some((certs, key)), [certs_pem, key_pem]) => {
            let chain = certificates(certs, certs_pem)?;
            let private = PrivateKeyDer::from_pem_slice(key_pem)
                .map_err(|_| format!("{key} holds no private key in PEM that is not encrypted"))?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| mismatch(certs, key, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn mismatch(certs: &Pem, key: &Pem, error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => format!("the key in {key} is not that of {certs}"),
        error => format!("the certificate in {certs} and the key in {key} cannot be used: {error}"),
    }
}

fn certificates(from: &Pem, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        _ => Err(format!("{from} holds no certificates in PEM")),
    }
}

fn own_roots(sources: &[Pem], read: &[Vec<u8>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (from, pem) in sources.iter().zip(read) {
        for cert in certificates(from, pem)? {
            let wrong = |error| format!("{from} holds a certificate that cannot be used: {error}");
            roots.add(cert).map_err(wrong)?;
        }
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(": {error}"));
    Err(format!(
        "this system trusts no authority{}; name the file of the one that signed the server's \
         certificate",
        why.unwrap_or_default()
    ))
}
