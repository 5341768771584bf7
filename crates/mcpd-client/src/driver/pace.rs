//! How fast control frames of our own making go out: a server that gets too many asks to calm down,
//! by default above 2000 a second.

use std::time::{Duration, Instant};

/// Frames sent at once.
pub(super) const BATCH: usize = 64;

/// Lets a batch through, and after it as much time pass as its frames are worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    each: Duration,
    /// There is more to send.
    pub(super) due: bool,
    not_before: Instant,
}

impl Pace {
    /// CANCELs, 1000 a second. Answers that come meanwhile save their CANCEL.
    pub(super) fn of_cancels(now: Instant) -> Pace {
        Pace::new(Duration::from_millis(1), now)
    }

    /// CONFIRMs, 500 a second, so that both together leave room for heartbeats.
    pub(super) fn of_confirms(now: Instant) -> Pace {
        Pace::new(Duration::from_millis(2), now)
    }

    fn new(each: Duration, now: Instant) -> Pace {
        Pace {
            each,
            due: false,
            not_before: now,
        }
    }

    /// Whether a batch may go out now.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        self.due && now >= self.not_before
    }

    /// So many were sent, at most a batch; a full one says that there may be more.
    pub(super) fn sent(&mut self, count: usize, now: Instant) {
        self.due = count == BATCH;
        self.not_before = now + self.each * count as u32;
    }

    /// When the next batch may go out, if there is one.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.then_some(self.not_before)
    }
}
