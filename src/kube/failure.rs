//! What can go wrong between this server and the API server, by what it says of the request.

use hyper_util::client::legacy;
use kube::client::AuthError;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a failed request means to whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// The object is not there.
    NotFound,
    /// An object of this name is there already.
    Exists,
    /// The object is another version by now.
    Conflict,
    /// What was asked for lies too far back: list again.
    Gone,
    /// This server may not do that.
    Forbidden,
    /// The API server does not take such an object.
    Invalid,
    /// The object is too large.
    TooLarge,
    /// Nobody was reached, or nobody had the time. Nothing has been done.
    Unavailable,
    /// It took too long, or broke on the way: a write may have been done, or may be yet.
    Unknown,
    /// There is nothing here to reach a cluster by.
    Settings,
}

impl Why {
    /// Whether the same request may well succeed in a moment.
    pub(super) fn passes(self) -> bool {
        matches!(self, Why::Unavailable | Why::Unknown)
    }
}

/// A request to the API server that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What it means.
    pub(crate) why: Why,
    text: String,
}

impl Failure {
    pub(crate) fn new(why: Why, text: impl Into<String>) -> Failure {
        let text = text.into();
        Failure { why, text }
    }

    /// There was no answer in time.
    pub(super) fn late(timeout: Duration) -> Failure {
        let text = format!("the API server has not answered within {timeout:?}");
        Failure::new(Why::Unknown, text)
    }

    /// There is no way to reach the API server by these settings.
    pub(super) fn settings(problem: &dyn Error) -> Failure {
        Failure::new(
            Why::Settings,
            format!("no way to Kubernetes: {}", chain(problem)),
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => Failure::new(of_status(&status), said(&status)),
            kube::Error::BuildRequest(_) => Failure::new(Why::Invalid, chain(&error)),
            _ if was_not_sent(&error) => {
                let text = format!("the API server cannot be reached: {}", inner(&error));
                Failure::new(Why::Unavailable, text)
            }
            _ => {
                let text = format!("the API server was lost: {}", inner(&error));
                Failure::new(Why::Unknown, text)
            }
        }
    }
}

/// What an answer of the API server means.
fn of_status(status: &kube::core::Status) -> Why {
    match status.code {
        404 => Why::NotFound,
        409 if status.is_already_exists() => Why::Exists,
        409 => Why::Conflict,
        410 => Why::Gone,
        401 | 403 => Why::Forbidden,
        413 => Why::TooLarge,
        // These come before anything is begun: no room, or no server behind the balancer.
        429 | 503 => Why::Unavailable,
        400..=499 => Why::Invalid,
        // A server that has lost its etcd answers so, whatever became of the write.
        _ => Why::Unknown,
    }
}

fn said(status: &kube::core::Status) -> String {
    let mut text: String = status.message.chars().take(MAX_SAID).collect();
    if text.is_empty() {
        text.clone_from(&status.reason);
    }
    format!("the API server says {}: {text}", status.code)
}

/// Characters of what the API server says that are passed on.
const MAX_SAID: usize = 500;

/// Whether it is certain that no byte of the request has left.
fn was_not_sent(error: &kube::Error) -> bool {
    causes(error).any(|cause| {
        let connection = cause.downcast_ref::<legacy::Error>();
        connection.is_some_and(legacy::Error::is_connect) || cause.is::<AuthError>()
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// What is wrong, without the layer that says no more than that something is.
fn inner(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(error) => chain(&**error),
        error => chain(error),
    }
}

/// An error and what is behind it, on one line, each thing once: many repeat their source.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn an_answer_says_whether_anything_can_have_been_written() {
        let why = |code, reason| {
            let status = Status::failure("no", reason).with_code(code).boxed();
            Failure::from(kube::Error::Api(status)).why
        };
        assert_eq!(why(404, "NotFound"), Why::NotFound);
        assert_eq!(why(409, "AlreadyExists"), Why::Exists);
        assert_eq!(why(409, "Conflict"), Why::Conflict);
        assert_eq!(why(410, "Expired"), Why::Gone);
        assert_eq!(why(403, "Forbidden"), Why::Forbidden);
        assert_eq!(why(413, "RequestEntityTooLarge"), Why::TooLarge);
        assert_eq!(why(422, "Invalid"), Why::Invalid);
        assert_eq!(why(429, "TooManyRequests"), Why::Unavailable);
        assert_eq!(why(503, "ServiceUnavailable"), Why::Unavailable);
        assert_eq!(why(500, "ServerTimeout"), Why::Unknown);
        assert_eq!(why(504, "Timeout"), Why::Unknown);
    }

    #[test]
    fn what_is_said_is_bounded() {
        let status = Status::failure(&"x".repeat(10_000), "Invalid").with_code(422);
        let text = Failure::from(kube::Error::Api(status.boxed())).to_string();
        assert!(text.len() < 600, "{}", text.len());
    }
}
