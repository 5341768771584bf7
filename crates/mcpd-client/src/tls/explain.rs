//! What to do when TLS does not come about.

use crate::error::Error;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

/// The handshake with `host` has failed.
pub(crate) fn during_handshake(host: &str, error: io::Error) -> Error {
    let words = match cause(&error) {
        Some(cause) => words(cause),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the server ended the connection during the TLS handshake: check that it speaks TLS \
                 on this port (else use mcp://), and whether it wants a client certificate"
                    .to_owned()
            }
            _ => error.to_string(),
        },
    };
    Error::connect(format!("no TLS with {host}: {words}")).with_source(Arc::new(error))
}

/// A connection has ended before it was open. With TLS 1.3 a server looks at the client's certificate
/// when the client is done already, so its no may come this late.
pub(crate) fn after_handshake(host: &str, error: Error) -> Error {
    let source = StdError::source(&error).and_then(|source| source.downcast_ref());
    match source.and_then(cause).map(words) {
        Some(words) => error.with_text(format!("no TLS with {host}: {words}")),
        None => error,
    }
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn words(error: &rustls::Error) -> String {
    use rustls::Error::{
        AlertReceived, InvalidCertificate, InvalidMessage, NoApplicationProtocol, PeerIncompatible,
    };
    match error {
        InvalidCertificate(error) => of_certificate(error),
        AlertReceived(alert) => of_alert(*alert),
        NoApplicationProtocol => of_alert(AlertDescription::NoApplicationProtocol),
        InvalidMessage(_) => {
            "what the server says is not TLS: use mcp:// if this port is without".to_owned()
        }
        PeerIncompatible(why) => format!("the server's TLS is too old or too new: {why:?}"),
        error => error.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    let advice = match error {
        UnknownIssuer => {
            return "the server's certificate is of no authority that is trusted here; trust the one \
                    that signed it"
                .to_owned();
        }
        // An authority was made anew and given its old name.
        BadSignature => {
            return "the server's certificate is signed by another key than that of the authority \
                    trusted here, which has the same name; trust the one that signed it"
                .to_owned();
        }
        Expired | ExpiredContext { .. } => "the server needs a new one, or a clock is wrong",
        NotValidYet | NotValidYetContext { .. } => "a clock is wrong, here or where it was made",
        NotValidForName | NotValidForNameContext { .. } => {
            "use such a name in the address, or say which one is expected"
        }
        _ => "the server's certificate cannot be trusted",
    };
    format!("{error}; {advice}")
}

fn of_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CertificateRequired => "the server wants a client certificate; show one",
        AlertDescription::UnknownCA | AlertDescription::BadCertificate => {
            "the server does not trust this client's certificate; show one of an authority that it \
             knows"
        }
        AlertDescription::CertificateExpired => {
            "this client's certificate has expired; show a new one"
        }
        AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            "the server does not accept this client's certificate; show another one"
        }
        AlertDescription::NoApplicationProtocol => {
            "the server does not speak mcp/1 there; check the port"
        }
        AlertDescription::HandshakeFailure => {
            "the server refuses the handshake; it may want a client certificate, or have no \
             cipher in common"
        }
        AlertDescription::ProtocolVersion => "the server's TLS is older than 1.2",
        AlertDescription::UnrecognisedName => "the server has no certificate for this name",
        other => return format!("the server ended the handshake: {other:?}"),
    };
    words.to_owned()
}
