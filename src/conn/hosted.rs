//! Work that runs on its connection's own thread: it is polled by the connection, and whoever wakes it
//! wakes the connection, by mail.

use super::mailbox::{Mail, Mailbox};
use crate::message::{Answer, Here};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

/// The work on one request.
pub(super) struct Hosted {
    work: Here,
    bell: Arc<Bell>,
    deadline: Instant,
}

/// Tells the connection that the work on a request can go on.
struct Bell {
    seq: u16,
    /// There is mail about it that was not dealt with, so that there is never more than one piece.
    rung: AtomicBool,
    mailbox: Arc<Mailbox>,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.mailbox.send(Mail::Woken(self.seq));
        }
    }
}

impl Hosted {
    pub(super) fn new(work: Here, seq: u16, deadline: Instant, mailbox: &Arc<Mailbox>) -> Hosted {
        let bell = Bell {
            seq,
            rung: AtomicBool::new(false),
            mailbox: Arc::clone(mailbox),
        };
        Hosted {
            work,
            bell: Arc::new(bell),
            deadline,
        }
    }

    /// When its answer is of no use any more.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its client has given it up. Gives whether it still answers.
    pub(super) fn cancel(&mut self) -> bool {
        let work = self.work.as_mut();
        catch_unwind(AssertUnwindSafe(|| work.cancel())).unwrap_or(false)
    }

    /// Lets it go on. Ready with its answer, or with none if it broke.
    pub(super) fn poll(&mut self) -> Poll<Option<Answer<'static>>> {
        // Before it is polled: what wakes it from now on may be news to it.
        self.bell.rung.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self.bell));
        let mut cx = Context::from_waker(&waker);
        let work = self.work.as_mut();
        match catch_unwind(AssertUnwindSafe(|| work.poll(&mut cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosted")
            .field("seq", &self.bell.seq)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
