//! Certificates: from the files of a port to what its handshakes go by, again whenever they change.

use super::watched;
use crate::config::{self, Config};
use crate::conn::TlsConfig;
use crate::files;
use crate::telemetry::TlsPort;
use crate::tls::{self, ClientAuth, Files, Ready, Terms};
use arc_swap::ArcSwap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long before its end a certificate is talked about, and how often.
const NEAR: Duration = Duration::from_secs(7 * 24 * 3600);
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How often files are read at the start that are being replaced; what is not still then is judged as it is, and
/// the next look comes within a second.
const READINGS: usize = 3;

/// A port with TLS.
#[derive(Clone)]
struct Port {
    port: TlsPort,
    config: config::TlsConfig,
    terms: Terms,
}

impl Port {
    /// The data port, where it speaks TLS.
    fn data(config: &Config) -> Option<Port> {
        let tls = config.data.tls.as_ref()?;
        Some(Port::of(TlsPort::Data, tls, b"mcp/1"))
    }

    /// The admin API's own port, where it does.
    fn admin(config: &Config) -> Option<Port> {
        let tls = config.admin.tls.as_ref()?;
        Some(Port::of(TlsPort::Admin, tls, b"http/1.1"))
    }

    fn of(port: TlsPort, config: &config::TlsConfig, protocol: &'static [u8]) -> Port {
        let client_auth = match config.client_auth {
            config::ClientAuth::Off => ClientAuth::Off,
            config::ClientAuth::Optional => ClientAuth::Optional,
            config::ClientAuth::Required => ClientAuth::Required,
        };
        Port {
            port,
            config: config.clone(),
            terms: Terms {
                client_auth,
                protocol,
            },
        }
    }

    /// Reads the files until two readings are the same: where they are replaced meanwhile, one may be of
    /// before and another of after.
    fn look(&self) -> Result<Files, String> {
        let mut files = self.read();
        for _ in 0..READINGS {
            let again = self.read();
            if again == files {
                break;
            }
            files = again;
        }
        files
    }

    fn read(&self) -> Result<Files, String> {
        let read = |file: &str, path: &Path| {
            let read = files::read(path, tls::MAX_BYTES);
            read.map_err(|error| self.told(file, &error))
        };
        let config = &self.config;
        let client_ca = config.client_ca.as_deref();
        Ok(Files {
            certificate: read("certificate", &config.certificate)?,
            key: read("key", &config.key)?,
            client_ca: client_ca.map(|path| read("client_ca", path)).transpose()?,
        })
    }

    /// What is wrong with a file, by its key and path.
    fn told(&self, file: &str, why: &dyn std::fmt::Display) -> String {
        let path = match file {
            "certificate" => Some(&self.config.certificate),
            "key" => Some(&self.config.key),
            _ => self.config.client_ca.as_ref(),
        };
        let path = path.map(|path| path.display().to_string());
        let (port, path) = (self.port.name(), path.unwrap_or_default());
        format!("{port}.tls.{file}: {path}: {why}")
    }

    fn ready(&self, files: &Files) -> Result<Ready, String> {
        let ready = tls::ready(files, self.terms, SystemTime::now());
        let ready = ready.map_err(|problem| self.told(problem.file, &problem.why))?;
        let (port, expired) = (self.port.name(), ready.left_out);
        if expired > 0 {
            tracing::warn!(port, expired, "client CAs that have expired are left out");
        }
        let days = left(ready.not_after).as_secs() / (24 * 3600);
        tracing::info!(port, days, "the certificate and its key are good");
        Ok(ready)
    }

    fn load(self) -> Result<Loaded, String> {
        let files = self.look()?;
        let ready = self.ready(&files)?;
        Ok(Loaded {
            port: self,
            files,
            not_after: ready.not_after,
            config: Arc::new(ArcSwap::new(ready.config)),
        })
    }
}

fn left(not_after: SystemTime) -> Duration {
    let left = not_after.duration_since(SystemTime::now());
    left.unwrap_or_default()
}

/// What a port begins with.
pub(super) struct Loaded {
    port: Port,
    /// The files that are in force.
    files: Files,
    not_after: SystemTime,
    config: TlsConfig,
}

/// What the data port's handshakes go by; `None` where it is plaintext.
///
/// # Errors
/// Why there is nothing to go by.
pub(super) fn data(config: &Config) -> Result<Option<Loaded>, String> {
    Port::data(config).map(Port::load).transpose()
}

/// The same for the admin API's own port.
///
/// # Errors
/// Why there is nothing to go by.
pub(super) fn admin(config: &Config) -> Result<Option<Loaded>, String> {
    Port::admin(config).map(Port::load).transpose()
}

/// What keeps certificates from being put in force.
pub(super) fn problem(config: &Config) -> Option<String> {
    data(config).and_then(|_| admin(config)).err()
}

impl Loaded {
    /// What is in force, now and after any change.
    pub(super) fn config(&self) -> TlsConfig {
        Arc::clone(&self.config)
    }

    /// Takes what the files say whenever they say something else, for as long as the process runs. What
    /// does not fit together is refused, and the last good ones stay.
    pub(super) fn watch(mut self) {
        self.port.port.in_force(self.not_after);
        tokio::spawn(async move {
            let port = Arc::new(self.port.clone());
            let mut watch = watched::Watch::new();
            let mut reminded = None;
            loop {
                watch.tick().await;
                remind(port.port, self.not_after, &mut reminded);
                let looking = Arc::clone(&port);
                if let Some(found) = watch.look(move || looking.read()).await
                    && self.take(found)
                {
                    reminded = None;
                }
            }
        });
    }

    /// Puts what was found in force, if it is good and new; gives whether it was.
    fn take(&mut self, found: &Result<Files, String>) -> bool {
        let port = self.port.port;
        let files = found.as_ref().map_err(Clone::clone);
        // The first look finds what the start has found, and so does one after a mistake was undone.
        if files == Ok(&self.files) {
            return false;
        }
        match files.and_then(|files| Ok((files, self.port.ready(files)?))) {
            Ok((files, ready)) => {
                self.config.store(ready.config);
                (self.files, self.not_after) = (files.clone(), ready.not_after);
                port.in_force(self.not_after);
                true
            }
            Err(problem) => {
                port.refused();
                tracing::error!(%problem, "a certificate is refused, the last good one stays");
                false
            }
        }
    }
}

/// Says that a certificate is near its end, once a day.
fn remind(port: TlsPort, not_after: SystemTime, reminded: &mut Option<SystemTime>) {
    let now = SystemTime::now();
    let left = left(not_after);
    let lately = reminded.is_some_and(|at| now < at + REMIND_EVERY);
    if left > NEAR || lately {
        return;
    }
    *reminded = Some(now);
    let (port, hours) = (port.name(), left.as_secs() / 3600);
    match left.is_zero() {
        true => tracing::error!(port, "the certificate has expired, clients will refuse it"),
        false => tracing::warn!(port, hours, "the certificate expires soon"),
    }
}
