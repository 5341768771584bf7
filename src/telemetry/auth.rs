//! Credentials: how many were good, what was wrong with the others, and what was decided by them.

use super::trace::Budget;
use metrics::counter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What the filter knows these lines by.
const TARGET: &str = "mcpd::auth";

/// Lines a second about decisions, for the whole process: clients cause them.
const LINES_PER_SECOND: u32 = 100;

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMethod {
    /// It does not.
    None,
    /// By a token of the document.
    Token,
    /// By a JWT.
    Jwt,
    /// By the certificate of its TLS handshake.
    Certificate,
}

impl AuthMethod {
    const ALL: [(AuthMethod, &'static str); 4] = [
        (AuthMethod::None, "none"),
        (AuthMethod::Token, "token"),
        (AuthMethod::Jwt, "jwt"),
        (AuthMethod::Certificate, "certificate"),
    ];

    /// Every label there is.
    pub(super) fn labels() -> Vec<&'static str> {
        AuthMethod::ALL.map(|(_, label)| label).to_vec()
    }

    fn label(self) -> &'static str {
        let mut all = AuthMethod::ALL.iter();
        all.find(|(it, _)| *it == self)
            .map_or("other", |(_, label)| label)
    }
}

/// What is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthResult {
    Ok,
    /// It stands for nobody.
    Unknown,
    /// It stands for several principals.
    Ambiguous,
    /// Its principal may not use this CLIENT_ID.
    ClientId,
    /// Its principal has as many connections as it may.
    Connections,
    Expired,
    NotYet,
    Oversized,
    Malformed,
    /// Its header asks for what is not done.
    Header,
    Algorithm,
    /// Its key is not known.
    Key,
    /// No keys are known.
    NoKeys,
    Signature,
    Issuer,
    Audience,
    /// A claim is missing, or is of another kind.
    Claims,
}

impl AuthResult {
    const ALL: [(AuthResult, &'static str); 17] = [
        (AuthResult::Ok, "ok"),
        (AuthResult::Unknown, "unknown"),
        (AuthResult::Ambiguous, "ambiguous"),
        (AuthResult::ClientId, "client_id"),
        (AuthResult::Connections, "connections"),
        (AuthResult::Expired, "expired"),
        (AuthResult::NotYet, "not_yet"),
        (AuthResult::Oversized, "oversized"),
        (AuthResult::Malformed, "malformed"),
        (AuthResult::Header, "header"),
        (AuthResult::Algorithm, "algorithm"),
        (AuthResult::Key, "key"),
        (AuthResult::NoKeys, "no_keys"),
        (AuthResult::Signature, "signature"),
        (AuthResult::Issuer, "issuer"),
        (AuthResult::Audience, "audience"),
        (AuthResult::Claims, "claims"),
    ];

    /// Every label there is.
    pub(super) fn labels() -> Vec<&'static str> {
        AuthResult::ALL.map(|(_, label)| label).to_vec()
    }

    fn label(self) -> &'static str {
        let mut all = AuthResult::ALL.iter();
        all.find(|(it, _)| *it == self)
            .map_or("other", |(_, label)| label)
    }
}

/// Counts and tells what is decided of clients and of what they ask for.
#[derive(Debug)]
pub(crate) struct AuthLog {
    budget: Budget,
    suppressed: AtomicU64,
}

impl Default for AuthLog {
    fn default() -> AuthLog {
        AuthLog {
            budget: Budget::new(LINES_PER_SECOND),
            suppressed: AtomicU64::new(0),
        }
    }
}

/// A request and what is decided of it.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) connection: u64,
    pub(crate) principal: &'a str,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) topic: &'a str,
    pub(crate) allowed: bool,
    /// The pattern that decided it.
    pub(crate) rule: Option<&'a str>,
}

impl AuthLog {
    /// Whether decisions are to have lines.
    #[inline]
    pub(crate) fn is_verbose() -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
    }

    /// How many lines were left out before the next one; `None` if it is left out, too.
    fn line(&self, now: Instant) -> Option<u64> {
        if !AuthLog::is_verbose() {
            return None;
        }
        if !self.budget.take(now) {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }

    /// A credential was judged. `principal` is whose it is, if anybody's, `subject` whom it is about.
    pub(crate) fn credential(
        &self,
        method: AuthMethod,
        result: AuthResult,
        principal: Option<&str>,
        subject: Option<&str>,
        client_id: Option<&str>,
    ) {
        let (method, result) = (method.label(), result.label());
        counter!("mcpd_authentications_total", "method" => method, "result" => result).increment(1);
        let Some(suppressed) = self.line(Instant::now()) else {
            return;
        };
        let subject = subject.map(|subject| subject.escape_debug().to_string());
        tracing::debug!(
            target: TARGET, method, result, principal, subject, client_id, suppressed,
            "a credential was judged"
        );
    }

    /// A request was judged.
    pub(crate) fn request(&self, decision: &Decision<'_>, now: Instant) {
        let Some(suppressed) = self.line(now) else {
            return;
        };
        let Decision {
            connection,
            principal,
            client_id,
            rule,
            ..
        } = *decision;
        let topic = decision.topic.escape_debug();
        let decided = if decision.allowed {
            "allowed"
        } else {
            "denied"
        };
        tracing::debug!(
            target: TARGET, decision = decided, connection, principal, client_id, %topic, rule,
            suppressed, "a request was judged"
        );
    }
}

/// Registers every series at 0.
pub(super) fn register() {
    for (_, method) in AuthMethod::ALL {
        for (_, result) in AuthResult::ALL {
            counter!("mcpd_authentications_total", "method" => method, "result" => result)
                .absolute(0);
        }
    }
}
