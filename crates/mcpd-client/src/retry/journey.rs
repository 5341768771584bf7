//! One request through all its attempts: what is known of its fate, and whether it goes out again.

use super::Backoff;
use crate::error::{Error, ErrorClass, ErrorKind};
use crate::exchange::Stamp;
use crate::random::Random;
use mcpd_proto::{ErrorCode, Qos};
use std::time::{Duration, Instant};

/// How requests are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetrySettings {
    /// Attempts of one request, the first included.
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
}

/// What to do after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It never left: choose another connection.
    Elsewhere,
    /// Send it again after this pause, if the budget allows it.
    Again(Duration),
    /// Tell the caller.
    Tell,
}

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Journey {
    settings: RetrySettings,
    qos: Qos,
    message_id: Option<[u8; 16]>,
    deadline: Option<Instant>,
    attempts: u32,
    /// Some attempt may have run.
    may_have_run: bool,
    /// When and on which memory of ids the id was first sent, of all attempts that may have run.
    first: Option<First>,
    /// The caller's own word of what was before.
    told: bool,
}

#[derive(Debug, Clone, Copy)]
struct First {
    at: Instant,
    incarnation: Option<[u8; 16]>,
}

impl Journey {
    /// `told`: the caller says itself how old the id is and where it was first sent.
    pub(crate) fn new(
        settings: RetrySettings,
        qos: Qos,
        message_id: Option<[u8; 16]>,
        deadline: Option<Instant>,
        told: bool,
    ) -> Journey {
        Journey {
            settings,
            qos,
            message_id,
            deadline,
            attempts: 0,
            may_have_run: told,
            first: None,
            told,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether an attempt is a copy of one that may have arrived.
    pub(crate) fn is_copy(&self) -> bool {
        self.may_have_run
    }

    /// An attempt goes out on a connection whose memory of ids is `incarnation`. Gives what the
    /// protocol wants of a request with a MESSAGE_ID.
    pub(crate) fn depart(&mut self, now: Instant, incarnation: Option<[u8; 16]>) -> Option<Stamp> {
        self.attempts = self.attempts.saturating_add(1);
        let mut stamp = Stamp {
            message_id: self.message_id?,
            age_ms: None,
            incarnation: None,
        };
        if self.told {
            return Some(stamp);
        }
        // As long as no attempt may have run, this one is the first.
        let first = match self.first {
            Some(first) if self.may_have_run => first,
            _ => *self.first.insert(First {
                at: now,
                incarnation,
            }),
        };
        let age = now.saturating_duration_since(first.at);
        if !age.is_zero() {
            stamp.age_ms = Some(u32::try_from(age.as_millis()).unwrap_or(u32::MAX));
        }
        // At least once means that a re-run is accepted, so the memory asked is the current one.
        stamp.incarnation = match self.qos {
            Qos::EffectivelyOnce => first.incarnation,
            _ => incarnation,
        };
        Some(stamp)
    }

    /// An attempt has failed: what to do.
    pub(crate) fn judge(&mut self, error: &Error, now: Instant, random: &Random) -> Verdict {
        if error.is_unsent() {
            self.attempts = self.attempts.saturating_sub(1);
            let closed = matches!(error.kind(), ErrorKind::Closed | ErrorKind::Protocol);
            return if closed {
                Verdict::Elsewhere
            } else {
                Verdict::Tell
            };
        }
        self.may_have_run |= error.class() == ErrorClass::Unknown;
        if !self.may_go_again(error) || self.attempts >= self.settings.max_attempts {
            return Verdict::Tell;
        }
        let Some(pause) = self.pause(error, random) else {
            return Verdict::Tell;
        };
        let late = self.deadline.is_some_and(|at| now + pause >= at);
        if late {
            Verdict::Tell
        } else {
            Verdict::Again(pause)
        }
    }

    fn may_go_again(&self, error: &Error) -> bool {
        let by_kind = match error.kind() {
            ErrorKind::Refused | ErrorKind::Unknown | ErrorKind::Closed => true,
            // The server's fault, and told by this side: another server may do better.
            ErrorKind::Protocol => return self.repeatable() && may_be_mended(error),
            _ => false,
        };
        if !by_kind || error.code().is_some_and(ErrorCode::is_permanent) {
            return false;
        }
        match error.class() {
            ErrorClass::NotExecuted => true,
            ErrorClass::Unknown => self.repeatable() && !is_outcome(error),
            ErrorClass::Executed => false,
        }
    }

    /// Whether a copy does no harm: the server knows it by its id.
    fn repeatable(&self) -> bool {
        self.qos != Qos::AtMostOnce && self.message_id.is_some()
    }

    /// The pause before the next attempt; `None` when the server asks for more than is sensible.
    fn pause(&self, error: &Error, random: &Random) -> Option<Duration> {
        let asked = error.retry_after().unwrap_or_default();
        if asked > MAX_RETRY_AFTER {
            return None;
        }
        let asked = random.retry_after(asked, MAX_RETRY_AFTER);
        // This connection is at fault and not the request's work: the first time, another one is
        // tried at once.
        let moved = error.code() == Some(ErrorCode::DRAINING)
            || error.kind() == ErrorKind::Closed
            || error.kind() == ErrorKind::Protocol;
        let failures = self.attempts.saturating_sub(1);
        let own = if moved && failures == 0 {
            Duration::ZERO
        } else {
            self.settings.backoff.pause(failures, random)
        };
        Some(asked.max(own))
    }

    /// What the caller is told in the end: this error, in the light of all attempts.
    pub(crate) fn conclude(&self, error: Error) -> Error {
        let error = error.with_attempts(self.attempts);
        if self.may_have_run {
            error.after_unknown()
        } else {
            error
        }
    }
}

/// The longest RETRY_AFTER_MS that is waited for with a request in hand. Whoever asks for more gets
/// an answer to their caller instead, who can see the time asked for.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Codes of class 0x03 that are the last word on a message: it will not become another by asking
/// again.
fn is_outcome(error: &Error) -> bool {
    let last = [ErrorCode::OUTCOME_UNKNOWN, ErrorCode::DEAD_LETTERED];
    error.code().is_some_and(|code| last.contains(&code))
}

/// An answer that was too large for this side will be so again.
fn may_be_mended(error: &Error) -> bool {
    error.code() != Some(ErrorCode::FRAME_TOO_LARGE)
}

#[cfg(test)]
mod tests;
