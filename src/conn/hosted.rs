//! Work that runs on its connection's own thread: it is polled by the connection, and whoever wakes it
//! wakes the connection, by mail.

use super::mailbox::{Mail, Mailbox};
use crate::message::{Answer, Here, Hosted as Hosts};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering, fence};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;
use tokio::runtime::Handle;

/// The work on one request.
pub(super) struct Hosted {
    work: Here,
    line: Line,
    deadline: Instant,
}

/// A bell, and what rings it.
#[derive(Debug)]
struct Line {
    bell: Arc<Bell>,
    waker: Waker,
}

/// Bells that nobody rings any more, to be hung up for other requests of the same connection.
#[derive(Debug, Default)]
pub(super) struct Bells {
    spare: Vec<Line>,
}

/// Spare bells that are kept.
const MAX_SPARE: usize = 64;

/// Tells the connection that the work on a request can go on.
#[derive(Debug)]
struct Bell {
    seq: AtomicU16,
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
            self.mailbox
                .send(Mail::Woken(self.seq.load(Ordering::Relaxed)));
        }
    }
}

impl Bells {
    fn hang(&mut self, seq: u16, mailbox: &Arc<Mailbox>) -> Line {
        if let Some(line) = self.spare.pop() {
            line.bell.seq.store(seq, Ordering::Relaxed);
            line.bell.rung.store(false, Ordering::Release);
            return line;
        }
        let bell = Arc::new(Bell {
            seq: AtomicU16::new(seq),
            rung: AtomicBool::new(false),
            mailbox: Arc::clone(mailbox),
        });
        let waker = Waker::from(Arc::clone(&bell));
        Line { bell, waker }
    }

    /// Takes back the bell of work that is over, unless somebody may still ring it.
    fn take_back(&mut self, line: Line) {
        const OURS: usize = 2;
        if self.spare.len() < MAX_SPARE && Arc::strong_count(&line.bell) == OURS {
            // Whoever rang it last has read its number before it was let go.
            fence(Ordering::Acquire);
            self.spare.push(line);
        }
    }

    /// Gives their memory back.
    pub(super) fn release(&mut self) {
        self.spare = Vec::new();
    }
}

impl Hosted {
    pub(super) fn new(
        work: Here,
        seq: u16,
        deadline: Instant,
        bells: &mut Bells,
        mailbox: &Arc<Mailbox>,
    ) -> Hosted {
        Hosted {
            work,
            line: bells.hang(seq, mailbox),
            deadline,
        }
    }

    /// The work is over.
    pub(super) fn end(self, bells: &mut Bells) {
        let Hosted { work, line, .. } = self;
        // It may hold a waker.
        work.recycle();
        bells.take_back(line);
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

    /// Lets it begin. Ready with its answer, or with none if it broke.
    pub(super) fn begin(&mut self, time: &Handle) -> Poll<Option<Answer<'static>>> {
        self.guarded(|work, cx| work.begin(cx, time))
    }

    /// Lets it go on, likewise.
    pub(super) fn poll(&mut self) -> Poll<Option<Answer<'static>>> {
        // Before it is polled: what wakes it from now on may be news to it.
        self.line.bell.rung.store(false, Ordering::Release);
        self.guarded(|work, cx| work.poll(cx))
    }

    #[inline]
    fn guarded(
        &mut self,
        poll: impl FnOnce(Pin<&mut dyn Hosts>, &mut Context<'_>) -> Poll<Answer<'static>>,
    ) -> Poll<Option<Answer<'static>>> {
        let mut cx = Context::from_waker(&self.line.waker);
        let work = self.work.as_mut();
        match catch_unwind(AssertUnwindSafe(|| poll(work, &mut cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosted")
            .field("seq", &self.line.bell.seq)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
