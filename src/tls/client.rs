//! The other side: what a handshake with somebody else's server goes by.

use super::{Problem, pair, read};
use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

const CA: &str = "ca_file";
const CERTIFICATE: &str = "cert_file";
const KEY: &str = "key_file";

/// What is in the files of a client, PEM. There is no `Debug`, for a key is among them.
#[derive(Clone, Copy, Default)]
pub struct ClientFiles<'a> {
    /// Who vouches for the server; `None` for the system's authorities.
    pub ca: Option<&'a [u8]>,
    /// A certificate of our own with those that lead to its root, and its key.
    pub pair: Option<(&'a [u8], &'a [u8])>,
}

/// Makes what handshakes with a server go by that speaks one of `protocols`, by their ALPN names.
///
/// # Errors
/// A file (`ca_file`, `cert_file`, `key_file`) cannot be read, or the key is another certificate's.
pub fn client(files: ClientFiles<'_>, protocols: &[&[u8]]) -> Result<ClientConfig, Problem> {
    let provider = Arc::new(ring::default_provider());
    let roots = match files.ca {
        Some(pem) => roots(pem)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::new(CA, error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match files.pair {
        Some((certificate, key)) => {
            let chain = read::certificates(CERTIFICATE, certificate)?;
            let pair = pair(chain, KEY, key, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in read::certificates(CA, pem)? {
        let added = roots.add(certificate);
        added
            .map_err(|error| Problem::new(CA, format!("has a CA that cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(Problem::new(
            CA,
            "is not set, and the system has no CA certificates",
        )),
        false => Ok(roots),
    }
}
