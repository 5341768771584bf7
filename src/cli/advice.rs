//! What to do about an error.

use mcpd_client::{ErrorClass, ErrorCode, ErrorKind};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Advice for a code; for one without a name here, by what its class says.
pub(super) fn for_code(code: ErrorCode, class: ErrorClass) -> &'static str {
    known(code).unwrap_or(match (class, code.is_permanent()) {
        (ErrorClass::NotExecuted, false) => "it did not run: send it again after a while",
        (ErrorClass::NotExecuted, true) => "the same request will be refused again: change it",
        (ErrorClass::Unknown, _) => "find out whether it ran before you send it again",
        (ErrorClass::Executed, _) => "it ran: do not send it again",
    })
}

/// Advice where no server has given a code.
pub(super) fn for_kind(kind: ErrorKind, class: ErrorClass) -> &'static str {
    match (kind, class) {
        (ErrorKind::Invalid, _) => "nothing was sent: correct the command",
        (ErrorKind::Connect, _) => {
            "check that the server runs and the address is right: --to or MCPD_TO"
        }
        (ErrorKind::Protocol, _) => {
            "check that the address is the data port of an MCP server, and its version"
        }
        (_, ErrorClass::NotExecuted) => "it did not run: send it again",
        (ErrorKind::Timeout, _) => {
            "find out whether it ran before you send it again; give it longer with --timeout"
        }
        (_, ErrorClass::Unknown) => "find out whether it ran before you send it again",
        (_, ErrorClass::Executed) => "it ran: do not send it again",
    }
}

/// Advice where TLS did not come about. The flags are the same for both ports.
pub(super) fn for_tls(error: &TlsError) -> &'static str {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        UnknownIssuer,
    };
    match error {
        TlsError::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "to trust the authority behind the server's certificate, name its file: --tls-ca"
        }
        TlsError::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "use a name in the address that the server's certificate is for"
        }
        TlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "renew the server's certificate; or a clock is wrong"
        }
        TlsError::InvalidMessage(_) => {
            "use mcp:// or http:// in the address if that port is without TLS"
        }
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "check that the address is the data port of an MCP server"
        }
        TlsError::AlertReceived(_) => {
            "show the server a client certificate that it accepts: --tls-cert and --tls-key"
        }
        _ => "check the address, and --tls-ca, --tls-cert and --tls-key",
    }
}

fn known(code: ErrorCode) -> Option<&'static str> {
    of_connections(code)
        .or_else(|| of_refusals(code))
        .or_else(|| of_outcomes(code))
}

fn of_connections(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::HEARTBEAT_TIMEOUT => "one side was stalled or cut off: check the network",
        ErrorCode::SLOW_CONSUMER => "read the answers faster, or ask for less at a time",
        ErrorCode::TOO_MANY_CONNECTIONS => {
            "wait and try again; the server's data.max_connections is the limit"
        }
        ErrorCode::CALM_DOWN => "send fewer heartbeats and cancels; see --interval",
        ErrorCode::CLOSING => "the server is stopping: try again, its successor will answer",
        ErrorCode::UNSUPPORTED_VERSION => {
            "check that the address is the data port of an MCP server of protocol version 1"
        }
        ErrorCode::PROTOCOL_ERROR => {
            "check that the address is the data port of an MCP server; else this is a bug to report"
        }
        ErrorCode::FRAME_TOO_LARGE => {
            "send less at a time; the server's limits.max_payload is the limit"
        }
        ErrorCode::UNAUTHENTICATED => {
            "show valid credentials: --token-file or MCPD_TOKEN, or --tls-cert and --tls-key"
        }
        _ => return None,
    })
}

fn of_refusals(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::OVERLOADED => "wait and send it again, or with a higher --priority",
        ErrorCode::RATE_LIMITED => "wait and send it again; the route's rate_limit is the limit",
        ErrorCode::DRAINING => "the server is stopping: send it again on a new connection",
        ErrorCode::CIRCUIT_OPEN => "wait until the upstream has recovered, then send it again",
        ErrorCode::EXPIRED => "send it again with a longer --timeout",
        ErrorCode::TOO_MANY_IN_FLIGHT => "wait for answers before you send more",
        ErrorCode::UPSTREAM_UNAVAILABLE => "check the handler's upstream, then send it again",
        ErrorCode::JOURNAL_UNAVAILABLE => "check the server's journal, then send it again",
        ErrorCode::NO_ROUTE => "check the topic's spelling, or add a route for it",
        ErrorCode::PERMISSION_DENIED => "use other credentials, or have this topic allowed",
        ErrorCode::QOS_UNSUPPORTED => "use a lower --qos, or raise the route's",
        ErrorCode::MESSAGE_ID_REQUIRED => "send it with a message id and --client-id, or --qos 0",
        ErrorCode::INVALID_REQUEST => "correct the topic",
        ErrorCode::UNSUPPORTED => "use a server that knows this metadata",
        ErrorCode::HOP_LIMIT => "look for servers that forward to each other in a circle",
        ErrorCode::MESSAGE_ID_REUSED => "use a new message id for a new message",
        _ => return None,
    })
}

fn of_outcomes(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::DEADLINE_EXCEEDED => {
            "find out whether it ran; give it longer with --timeout or the route's timeout"
        }
        ErrorCode::CANCELLED | ErrorCode::UPSTREAM_LOST => {
            "find out whether it ran before you send it again"
        }
        ErrorCode::INTERNAL => "a bug in the handler: look at the server's log",
        ErrorCode::OUTCOME_UNKNOWN => "find out whether it ran; a new message id runs it anew",
        ErrorCode::DEAD_LETTERED => "look at it in the server's dead-letter list",
        ErrorCode::HANDLER_ERROR => "the server works; what the handler says is for you",
        ErrorCode::RESULT_EVICTED => "it ran: do not send it again; its result is gone",
        ErrorCode::RESULT_TOO_LARGE => "it ran: do not send it again; ask for less at a time",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_advice_of_its_own() {
        for code in ErrorCode::ALL {
            assert!(known(*code).is_some(), "{code}");
        }
    }

    #[test]
    fn an_unknown_code_is_judged_by_its_class() {
        let advice = |code, class| for_code(ErrorCode::new(code), class);
        assert!(advice(0x027f, ErrorClass::NotExecuted).contains("send it again"));
        assert!(advice(0x02ff, ErrorClass::NotExecuted).contains("change it"));
        assert!(advice(0x037f, ErrorClass::Unknown).contains("find out"));
        assert!(advice(0x0977, ErrorClass::Unknown).contains("find out"));
    }
}
