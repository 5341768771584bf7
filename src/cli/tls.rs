//! Whom a command trusts and what it shows, by flags or the environment.

use super::peer::env;
use std::path::PathBuf;

/// PEM files.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// A flag asks for TLS. The environment does not: it is there for commands of all kinds.
    pub(super) asked: bool,
}

impl Files {
    /// Flags before the variables `<prefix>_CA`, `<prefix>_CERT` and `<prefix>_KEY`.
    ///
    /// # Errors
    /// A certificate without its key, or the reverse.
    pub(super) fn find(
        prefix: &str,
        ca: Option<&PathBuf>,
        cert: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<Files, String> {
        let or_env = |given: Option<&PathBuf>, name: &str| {
            let variable = || env(&format!("{prefix}_{name}")).map(PathBuf::from);
            given.cloned().or_else(variable)
        };
        let identity = match (or_env(cert, "CERT"), or_env(key, "KEY")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(format!(
                    "a client certificate takes two files: --tls-cert and --tls-key (or {prefix}_CERT \
                     and {prefix}_KEY)"
                ));
            }
        };
        Ok(Files {
            ca: or_env(ca, "CA"),
            identity,
            asked: ca.or(cert).or(key).is_some(),
        })
    }
}
