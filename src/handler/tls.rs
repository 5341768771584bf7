//! TLS towards those whom handlers ask: which files say whom to trust, and who this side is.

use std::path::PathBuf;

/// Files of certificates and keys, all in PEM. They are read again as they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate of our own with those that lead to its root, and its key.
    pub client_files: Option<(PathBuf, PathBuf)>,
}

/// How the other side is made sure of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whom to trust, and who we are.
    pub files: TlsFiles,
    /// The name that its certificate must have, in place of the one that it is asked by.
    pub server_name: Option<String>,
}

/// The name of a host as certificates have it: addresses without the brackets of a URL.
pub(super) fn certified_name(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}
