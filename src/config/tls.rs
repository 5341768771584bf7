//! Keys `data.tls.*` and `admin.tls.*`.

use super::build::Settings;
use super::problem::ProblemKind;
use super::value::show_duration;
use std::path::PathBuf;
use std::time::Duration;

/// The files of a port that speaks TLS; need a restart, though what is in them does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who vouches for clients; set unless `client_auth` is off.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked to.
    Off,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// Bounds of TLS handshakes on the data port, reloadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeConfig {
    /// Time from accept to its end, 100 ms to 60 s. Default 10 s.
    pub timeout: Duration,
    /// At one time, 1 to 65,535. Default 512.
    pub max: usize,
    /// In a second, up to 1,000,000; `None` is no limit. Default 1000.
    pub per_second: Option<u32>,
}

/// The keys of a port.
const PORTS: [&str; 2] = ["data", "admin"];
const FIELDS: [&str; 4] = ["certificate", "key", "client_ca", "client_auth"];

/// TLS of a port; `None` where it is plaintext.
pub(super) fn build(s: &Settings, port: &str) -> Option<TlsConfig> {
    let path = |field: &str| s.path(&format!("{port}.tls.{field}"));
    let client_ca = path("client_ca");
    let client_auth = match s.word(&format!("{port}.tls.client_auth")) {
        "off" => ClientAuth::Off,
        "optional" => ClientAuth::Optional,
        "required" => ClientAuth::Required,
        // Whoever names a CA wants it to be asked.
        _ if client_ca.is_some() => ClientAuth::Required,
        _ => ClientAuth::Off,
    };
    Some(TlsConfig {
        certificate: path("certificate")?,
        key: path("key")?,
        client_ca,
        client_auth,
    })
}

pub(super) fn handshakes(s: &Settings) -> HandshakeConfig {
    let per_second = s.number("data.tls.handshakes_per_second");
    HandshakeConfig {
        timeout: s.duration("data.tls.handshake_timeout"),
        max: s.number("data.tls.max_handshakes"),
        per_second: (per_second > 0).then_some(per_second),
    }
}

/// Files that are of no use without another one.
pub(super) fn check(s: &mut Settings) {
    for port in PORTS {
        let key = |field: &str| format!("{port}.tls.{field}");
        let asked = matches!(s.word(&key("client_auth")), "optional" | "required");
        needs(s, &key("certificate"), &key("key"));
        for field in ["key", "client_ca", "client_auth"] {
            needs(s, &key(field), &key("certificate"));
        }
        if asked {
            needs(s, &key("client_auth"), &key("client_ca"));
        }
    }
    for field in FIELDS {
        needs(s, &format!("admin.tls.{field}"), "admin.listen");
    }
}

fn needs(s: &mut Settings, key: &str, other: &str) {
    if s.is_set(key) && !s.is_misfit(key) && !s.is_set(other) {
        let message = match other {
            "admin.listen" => {
                "is for a port of the admin API's own; set admin.listen, too".to_owned()
            }
            other => format!("is of no use without {other}; set that, too"),
        };
        s.problem(key, ProblemKind::Contradiction, message);
    }
}

impl TlsConfig {
    /// Its keys that have a value.
    pub(super) fn plain(
        tls: Option<&TlsConfig>,
        keys: [&'static str; 4],
    ) -> Vec<(&'static str, String)> {
        let Some(tls) = tls else {
            return Vec::new();
        };
        let [certificate, key, client_ca, client_auth] = keys;
        let path = |path: &PathBuf| path.display().to_string();
        let word = match tls.client_auth {
            ClientAuth::Off => "off",
            ClientAuth::Optional => "optional",
            ClientAuth::Required => "required",
        };
        let ca = tls.client_ca.as_ref().map(|ca| (client_ca, path(ca)));
        [(certificate, path(&tls.certificate)), (key, path(&tls.key))]
            .into_iter()
            .chain(ca)
            .chain([(client_auth, word.to_owned())])
            .collect()
    }
}

impl HandshakeConfig {
    /// All its keys.
    pub(super) fn plain(&self) -> [(&'static str, String); 3] {
        [
            ("data.tls.handshake_timeout", show_duration(self.timeout)),
            ("data.tls.max_handshakes", self.max.to_string()),
            (
                "data.tls.handshakes_per_second",
                self.per_second.unwrap_or(0).to_string(),
            ),
        ]
    }
}
