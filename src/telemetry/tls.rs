//! What is counted of TLS.

use metrics::{counter, gauge};
use rustls::Error;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// A port that speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsPort {
    Data,
    Admin,
}

/// What came of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    Ok,
    /// It was not done in time.
    Timeout,
    /// The client broke off, or the network did.
    Gone,
    /// The client speaks something else.
    NotTls,
    /// The client speaks only other protocols on top of TLS.
    Protocol,
    /// The client's certificate is missing, not ours, expired or unreadable.
    ClientCertificate,
    /// The client does not like ours, or something else about us.
    Refused,
    /// The server was stopping.
    Dismissed,
    /// Anything else, such as nothing in common.
    Failed,
}

impl Handshake {
    const ALL: [(Handshake, &str); 9] = [
        (Handshake::Ok, "ok"),
        (Handshake::Timeout, "timeout"),
        (Handshake::Gone, "gone"),
        (Handshake::NotTls, "not_tls"),
        (Handshake::Protocol, "protocol"),
        (Handshake::ClientCertificate, "client_certificate"),
        (Handshake::Refused, "refused"),
        (Handshake::Dismissed, "dismissed"),
        (Handshake::Failed, "failed"),
    ];

    /// Why a handshake failed with this error.
    pub(crate) fn of(error: &io::Error) -> Handshake {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(Error::InvalidMessage(_)) => Handshake::NotTls,
            Some(Error::NoApplicationProtocol) => Handshake::Protocol,
            Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => {
                Handshake::ClientCertificate
            }
            Some(Error::AlertReceived(_)) => Handshake::Refused,
            Some(_) => Handshake::Failed,
            None => Handshake::Gone,
        }
    }

    fn label(self) -> &'static str {
        let known = Handshake::ALL.iter().find(|(result, _)| *result == self);
        known.map_or("failed", |(_, label)| label)
    }

    /// Every label there is.
    pub(super) fn labels() -> Vec<&'static str> {
        Handshake::ALL.map(|(_, label)| label).to_vec()
    }
}

impl TlsPort {
    /// How this port is called in logs and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TlsPort::Data => "data",
            TlsPort::Admin => "admin",
        }
    }

    /// Every label there is.
    pub(super) fn labels() -> Vec<&'static str> {
        vec![TlsPort::Data.name(), TlsPort::Admin.name()]
    }

    /// Counts a handshake.
    pub(crate) fn handshake(self, result: Handshake) {
        counter!("mcpd_tls_handshakes_total", "port" => self.name(), "result" => result.label())
            .increment(1);
    }

    /// A certificate that is good until then is in force.
    pub(crate) fn in_force(self, not_after: SystemTime) {
        self.reloads("ok").increment(1);
        let since_1970 = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge!("mcpd_tls_certificate_expiry_timestamp_seconds", "port" => self.name())
            .set(since_1970.as_secs_f64());
    }

    /// A certificate, its key or the client CAs were refused.
    pub(crate) fn refused(self) {
        self.reloads("refused").increment(1);
    }

    fn reloads(self, result: &'static str) -> metrics::Counter {
        counter!("mcpd_tls_reloads_total", "port" => self.name(), "result" => result)
    }
}

/// Shows every series at 0 from the start.
pub(super) fn register() {
    for port in [TlsPort::Data, TlsPort::Admin] {
        for result in Handshake::labels() {
            counter!("mcpd_tls_handshakes_total", "port" => port.name(), "result" => result)
                .absolute(0);
        }
        for result in ["ok", "refused"] {
            port.reloads(result).absolute(0);
        }
    }
}
