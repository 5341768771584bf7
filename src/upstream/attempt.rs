//! One attempt: what it is given, and how it may end.

use super::breaker::Verdict;
use super::endpoint::Endpoint;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// How an attempt ended: what may be concluded about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The upstream did something and said how it went.
    Answered {
        /// Whether it went as it should; otherwise it counts against the endpoint.
        well: bool,
    },
    /// Not a byte of it has reached the upstream.
    NotSent,
    /// The same, where the transport sees to it by itself that the endpoint is asked only when no other can
    /// be ([`Transport::is_welcoming`](super::Transport::is_welcoming)): that many fail at once because one
    /// connection is gone is not held against the endpoint.
    Unreached,
    /// The upstream says that it has not executed it, and may later.
    Refused {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The upstream says that it has not executed it, and never will. Counts as well done.
    Rejected,
    /// It may have been executed: it was sent, and no answer came.
    Unknown,
    /// The same, at our own wish: whoever asked has given it up, and it says nothing about the endpoint.
    GivenUp,
    /// The same, since [`Try::until`] has come: see [`Try::keeps_time`].
    TimedOut,
}

impl Fate {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Fate::Answered { well: true } | Fate::Rejected => Verdict::Well,
            Fate::Answered { well: false } | Fate::NotSent | Fate::Unknown | Fate::TimedOut => {
                Verdict::Failed
            }
            Fate::Unreached | Fate::GivenUp => Verdict::Unseen,
            // Whoever turns work away protects itself, and is asked less by the budget already.
            Fate::Refused { .. } => Verdict::Well,
        }
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub struct Tried<A> {
    /// How it ended.
    pub fate: Fate,
    /// What to answer if there is no other attempt.
    pub answer: A,
}

/// What an attempt is given.
pub struct Try<T> {
    /// Whom to ask.
    pub endpoint: Arc<Endpoint<T>>,
    /// When this attempt is over at the latest; it is dropped then.
    pub until: Instant,
    sent: Sent,
}

impl<T> Try<T> {
    pub(super) fn new(endpoint: Arc<Endpoint<T>>, until: Instant) -> Try<T> {
        let sent = Sent::default();
        Try {
            endpoint,
            until,
            sent,
        }
    }

    /// What tells that the request may have gone out. Until it does, an attempt that is dropped counts as not
    /// sent.
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// From now on the attempt ends at [`Try::until`] by itself, with [`Fate::TimedOut`] where it was sent: it
    /// needs no timer.
    pub fn keeps_time(&self) {
        self.sent.0.keeps_time.store(true, Ordering::Release);
    }
}

/// Whether the request may have gone out.
#[derive(Debug, Clone, Default)]
pub struct Sent(Arc<Progress>);

/// How far an attempt has come.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicBool,
    keeps_time: AtomicBool,
}

impl Sent {
    /// It may have, from now on: to be called before the first byte is handed over.
    pub fn set(&self) {
        self.0.sent.store(true, Ordering::Release);
    }

    /// It has not after all: not a byte was taken.
    pub fn unset(&self) {
        self.0.sent.store(false, Ordering::Release);
    }

    /// Whether it may have.
    pub fn is_set(&self) -> bool {
        self.0.sent.load(Ordering::Acquire)
    }

    /// What comes of an attempt by then; `None` if it takes longer. A timer is made only for one that does
    /// not keep time by itself.
    pub(super) async fn within<F: Future>(&self, until: Instant, attempt: F) -> Option<F::Output> {
        let mut attempt = pin!(attempt);
        let mut timer = None;
        let mut begins = true;
        poll_fn(|cx| {
            if let Poll::Ready(tried) = attempt.as_mut().poll(cx) {
                return Poll::Ready(Some(tried));
            }
            // Whoever else waits for that moment may have come first.
            if !std::mem::take(&mut begins) && super::now() >= until {
                return Poll::Ready(None);
            }
            if self.0.keeps_time.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            let timer =
                timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}
