//! What reaches a connection's task from outside: answers of work, and orders of the server.

use super::describe::Described;
use crate::message::{Answer, Denied, Identity, Peer};
use mcpd_proto::GoAwayReason;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A piece of mail. Answers are bounded by the requests in flight, orders by the few the server has.
#[derive(Debug)]
pub(super) enum Mail {
    /// Work on this request has ended with an answer.
    Done(u16, Answer<'static>),
    /// Work on this request has stopped without one: it was cancelled, or it panicked.
    Stopped(u16),
    /// The work on this request, which the connection runs itself, can go on.
    Woken(u16),
    /// An order.
    Order(Order),
    /// Whose HELLO it was that had to be decided; one a connection.
    Decided(Box<Decided>),
    /// Somebody wants to know how the connection is doing; bounded by the requests of operators.
    Describe(oneshot::Sender<Described>),
}

/// What became of a HELLO.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) client_id: Option<Arc<str>>,
    pub(super) who: Result<Option<Identity>, Denied>,
}

/// What the server wants of a connection.
#[derive(Debug, Clone)]
pub enum Order {
    /// Ask the client to move, and refuse its requests from then on.
    GoAway {
        /// Why.
        reason: GoAwayReason,
        /// How long the client should wait before it dials.
        retry_after: Duration,
        /// When requests are refused.
        refuse_at: Instant,
    },
    /// Refuse new requests now; end with CLOSING when the last answer is out.
    Finish,
    /// Stop the work that is left, answer it, and end.
    Cut,
}

/// Pieces of mail that there is room for at first: mostly some come together.
const FIRST: usize = 16;

#[derive(Debug, Default)]
struct Inner {
    mail: Vec<Mail>,
    waker: Option<Waker>,
    /// It was woken and has not looked since.
    woken: bool,
    /// Who is at the other end, once that is known.
    peer: Option<Arc<Peer>>,
}

/// The mailbox of one connection.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Lets the connection look without locking.
    has_mail: AtomicBool,
    opened: Instant,
    inner: Mutex<Inner>,
}

impl Mailbox {
    /// Of a connection that was accepted at `now`.
    pub(super) fn new(now: Instant) -> Mailbox {
        Mailbox {
            has_mail: AtomicBool::new(false),
            opened: now,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose connection it is, from now on.
    pub(super) fn belongs_to(&self, peer: &Arc<Peer>) {
        self.inner().peer = Some(Arc::clone(peer));
    }

    /// Whose connection it is, if that is known, and since when.
    pub(super) fn peer(&self) -> Option<(Arc<Peer>, Instant)> {
        Some((self.inner().peer.clone()?, self.opened))
    }

    /// Puts mail in and wakes the connection.
    pub(super) fn send(&self, mail: Mail) {
        let waker = {
            let mut inner = self.inner();
            if inner.mail.capacity() == 0 {
                inner.mail.reserve(FIRST);
            }
            inner.mail.push(mail);
            self.has_mail.store(true, Ordering::Release);
            match std::mem::replace(&mut inner.woken, true) {
                true => None,
                false => inner.waker.clone(),
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Remembers whom to wake.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut inner = self.inner();
        inner.waker = Some(cx.waker().clone());
    }

    /// Ready once the connection was ordered to end, for one that has not begun to serve.
    pub(super) fn poll_dismissed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        inner.waker = Some(cx.waker().clone());
        // The mail stays where it is, so what comes next has to wake it again.
        inner.woken = false;
        let is_end = |mail: &Mail| matches!(mail, Mail::Order(Order::Finish | Order::Cut));
        match inner.mail.iter().any(is_end) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Takes everything that came.
    #[inline]
    pub(super) fn take(&self) -> Vec<Mail> {
        if !self.has_mail.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut inner = self.inner();
        self.has_mail.store(false, Ordering::Release);
        inner.woken = false;
        std::mem::take(&mut inner.mail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_wake_is_enough_until_it_has_looked() {
        let (count, mailbox) = (Arc::new(Count::default()), Mailbox::new(Instant::now()));
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let woken = || count.0.swap(0, Ordering::Relaxed);
        let goaway = || Mail::Order(Order::Cut);
        mailbox.register(&cx);
        mailbox.send(Mail::Woken(1));
        mailbox.send(goaway());
        assert_eq!(woken(), 1);
        assert_eq!(mailbox.take().len(), 2);
        mailbox.send(goaway());
        assert_eq!(woken(), 1);
    }

    #[test]
    fn one_that_has_looked_and_left_its_mail_is_woken_by_the_next() {
        let (count, mailbox) = (Arc::new(Count::default()), Mailbox::new(Instant::now()));
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        assert!(mailbox.poll_dismissed(&cx).is_pending());
        mailbox.send(Mail::Woken(1));
        assert!(mailbox.poll_dismissed(&cx).is_pending());
        mailbox.send(Mail::Order(Order::Finish));
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(mailbox.poll_dismissed(&cx).is_ready());
    }
}
