//! Why an admin command came to nothing, for people and for scripts.

use super::answer::Problem;
use crate::cli::advice;
use crate::cli::exit::Exit;
use crate::cli::failure;
use crate::cli::output::{Output, complain};
use crate::cli::render;
use crate::cli::routes::Diff;
use serde::Serialize;
use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Problems of a document that are shown one a line.
const MOST_SHOWN: usize = 100;

/// Where nobody answers.
const NOBODY_THERE: &str = "check that the server runs and the address is that of its sidecar port: \
    --admin or MCPD_ADMIN";

/// A failure. In a box, because every step on the way may fail with one.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Failed(Box<Failure>);

/// What is known of it, and what `--json` prints. Keys are only ever added: scripts read this.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    ok: bool,
    #[serde(rename = "exit_code", serialize_with = "code")]
    pub(crate) exit: Exit,
    /// One word for what happened.
    pub(crate) kind: &'static str,
    /// Of HTTP, where there was an answer.
    pub(crate) status: Option<u16>,
    pub(crate) text: String,
    /// What is wrong with what was sent, by field and line.
    pub(crate) errors: Vec<Problem>,
    /// The version that is there, where another one was expected.
    pub(crate) etag: Option<String>,
    /// What differs there.
    pub(crate) changes: Option<Diff>,
    pub(crate) hint: String,
    #[serde(skip)]
    title: String,
}

impl Deref for Failed {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl DerefMut for Failed {
    fn deref_mut(&mut self) -> &mut Failure {
        &mut self.0
    }
}

fn code<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

impl Failed {
    pub(crate) fn new(exit: Exit, kind: &'static str, text: String, hint: &str) -> Failed {
        Failed(Box::new(Failure {
            ok: false,
            exit,
            kind,
            status: None,
            text,
            errors: Vec::new(),
            etag: None,
            changes: None,
            hint: hint.to_owned(),
            title: kind.replace('_', " "),
        }))
    }

    /// The command cannot be done as it was given; nothing was sent.
    pub(crate) fn usage(text: String) -> Failed {
        Failed::new(
            Exit::Usage,
            "invalid",
            text,
            "nothing was sent: correct the command",
        )
    }

    /// What is there does not speak the admin API.
    pub(crate) fn foreign(text: String) -> Failed {
        let hint = "check that the address is the sidecar port of an mcpd server, or its admin.listen, and https:// if that has TLS: --admin or MCPD_ADMIN";
        Failed::new(Exit::Protocol, "not_mcpd", text, hint)
    }

    pub(super) fn interrupted(writes: bool) -> Failed {
        let (text, hint) = match writes {
            true => (
                "stopped while it waited for the answer",
                "it may have been done: look before you ask again",
            ),
            false => ("stopped", "nothing was changed"),
        };
        Failed::new(Exit::Interrupted, "interrupted", text.to_owned(), hint)
    }

    /// What the server says of it.
    pub(super) fn refused(status: u16, title: String, text: String) -> Failed {
        let (exit, kind, hint) = meaning(status);
        let mut failed = Failed::new(exit, kind, text, hint);
        failed.status = Some(status);
        failed.title = title;
        failed
    }

    /// No answer, by what the HTTP client knows.
    pub(super) fn transport(error: &reqwest::Error, address: &str) -> Failed {
        let cause = innermost(error);
        let tls = failure::tls_cause(error);
        // By TLS 1.3 a server refuses a certificate when the client is done with the handshake; it has
        // not read a request then.
        if error.is_connect() || tls.is_some_and(is_refusal) {
            let text = format!("cannot connect to {address}: {cause}");
            let hint = tls.map_or(NOBODY_THERE, advice::for_tls);
            return Failed::new(Exit::Unreachable, "no_connection", text, hint);
        }
        if error.is_timeout() {
            let text = format!("no answer from {address} in time");
            return Failed::new(Exit::Unknown, "timeout", text, "");
        }
        if is_foreign(error) {
            return Failed::foreign(format!("{address} does not speak HTTP: {cause}"));
        }
        let text = format!("the connection to {address} was lost before the answer: {cause}");
        Failed::new(Exit::Unreachable, "connection_lost", text, "")
    }

    /// Adds what may be concluded where the answer is missing.
    pub(super) fn after(mut self, timeout: Duration, writes: bool) -> Failed {
        if self.hint.is_empty() {
            let wait = match self.kind {
                "timeout" => format!("; give it longer than {timeout:?} with --admin-timeout"),
                _ => String::new(),
            };
            let what = match writes {
                true => "it may have been done: look before you ask again",
                false => "nothing was changed: ask again",
            };
            self.hint = format!("{what}{wait}");
        }
        self
    }

    /// Says it the way that was asked for.
    pub(crate) fn tell(&self, json: bool) -> Exit {
        if json {
            return crate::cli::output::settle(Output::new().json(self), self.exit);
        }
        self.show();
        self.exit
    }

    /// What happened; what is wrong, one a line; what to do.
    fn show(&self) {
        let (title, text) = (render::one_line(&self.title), render::one_line(&self.text));
        match self.status {
            Some(status) => complain(&format!("{title} ({status}): {text}")),
            None => complain(&format!("{title}: {text}")),
        }
        for problem in self.errors.iter().take(MOST_SHOWN) {
            complain(&format!(
                "error: {}",
                render::one_line(&problem.to_string())
            ));
        }
        if self.errors.len() > MOST_SHOWN {
            complain(&format!("… and {} more", self.errors.len() - MOST_SHOWN));
        }
        for line in self.changes.iter().flat_map(Diff::lines) {
            complain(&line);
        }
        complain(&format!("hint: {}", render::one_line(&self.hint)));
    }
}

impl From<failure::Failure> for Failed {
    fn from(failure: failure::Failure) -> Failed {
        let hint = "check the limits of this process (files, memory, threads)";
        Failed::new(failure.exit, failure.kind, failure.text, hint)
    }
}

/// What a status of HTTP means: exit code, word, advice.
fn meaning(status: u16) -> (Exit, &'static str, &'static str) {
    match status {
        400 => (
            Exit::Usage,
            "invalid",
            "nothing was changed: correct the command",
        ),
        401 => (
            Exit::Permanent,
            "unauthenticated",
            "give a valid token: --token-file or MCPD_ADMIN_TOKEN; `mcpd token new` makes one",
        ),
        403 => (
            Exit::Permanent,
            "forbidden",
            "use a token with the scope for this, or have the server allow it (docs/admin-api.md)",
        ),
        404 => (Exit::Permanent, "not_found", "check the name"),
        409 | 412 => (
            Exit::Transient,
            "conflict",
            "look at what is there now, then try again",
        ),
        413 => (
            Exit::Routes,
            "too_large",
            "send less, or raise routes.max_bytes there",
        ),
        422 => (
            Exit::Usage,
            "invalid",
            "nothing was changed: correct it and try again",
        ),
        429 => (Exit::Transient, "busy", "wait and try again"),
        502 => (
            Exit::Unreachable,
            "no_connection",
            "check what is between here and the server",
        ),
        503 => (
            Exit::Transient,
            "unavailable",
            "nothing was changed: correct what it names, if it does, or wait; then try again",
        ),
        504 => (
            Exit::Unknown,
            "unknown",
            "it may have been done: look before you ask again",
        ),
        500..=599 => (Exit::Internal, "internal", "look at the server's log"),
        _ => (
            Exit::Protocol,
            "refused",
            "check that client and server are of one version",
        ),
    }
}

/// Whether a server says that this side's certificate will not do.
fn is_refusal(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let rustls::Error::AlertReceived(alert) = error else {
        return false;
    };
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// Whether the answer was no HTTP, or none that can be read.
fn is_foreign(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<hyper::Error>() {
            return inner.is_parse() || inner.is_parse_too_large();
        }
        cause = inner.source();
    }
    false
}

/// The last cause says what happened, the ones before it only where.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_fitting_code() {
        for (status, exit) in [
            (400, Exit::Usage),
            (401, Exit::Permanent),
            (403, Exit::Permanent),
            (404, Exit::Permanent),
            (412, Exit::Transient),
            (413, Exit::Routes),
            (428, Exit::Protocol),
            (500, Exit::Internal),
            (503, Exit::Transient),
            (504, Exit::Unknown),
        ] {
            assert_eq!(meaning(status).0, exit, "{status}");
        }
    }
}
