//! What a connection does because time has passed.

use super::Driver;
use crate::conn::Dispatch;
use crate::conn::buffers;
use crate::conn::phase::Phase;
use crate::conn::stream::Stream;
use mcpd_proto::session::Ended;
use mcpd_proto::{ErrorCode, GoAwayReason};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// How often a connection that is not read is asked whether it is broken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How late a timer must be for this process, not the peer, to have been away.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// When a connection looks again that has nothing to wait for.
const NEVER: Duration = Duration::from_secs(3600);

impl<D: Dispatch, S: Stream> Driver<D, S> {
    /// The next time something has to be done without the peer or a handler doing anything.
    fn deadline(&self) -> Option<Instant> {
        let write = self
            .blocked_since
            .map(|since| since + self.core.settings.write_timeout);
        match &self.phase {
            Phase::Serving => {
                let unread = self.paused || self.input_closed;
                let rules = self.core.session.rules();
                let frame = self.deframer.deadline(&rules).filter(|_| !unread);
                let session = self.core.session.deadline();
                let look = unread.then(|| self.now + LOOK_EVERY);
                let expiry = self.core.expires_at;
                let works = self.core.works.due();
                [write, frame, session, self.max_age_at, expiry, look, works]
                    .into_iter()
                    .flatten()
                    .min()
            }
            Phase::Ending { by, .. } => write.into_iter().chain(*by).min(),
            Phase::Lingering { by, .. } => Some(*by),
        }
    }

    /// Ready when something was due and done. `busy` says that this turn had something to do anyway.
    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>, busy: bool) -> Poll<()> {
        let Some(deadline) = self.deadline() else {
            return Poll::Pending;
        };
        // Only while it serves is every turn that had something to do one that looked at the clock.
        let looked = busy && matches!(self.phase, Phase::Serving);
        let busy = looked.then_some(self.now);
        ready!(self.alarm.poll(cx, deadline, busy, &self.core.shared));
        let last_turn = std::mem::replace(&mut self.now, Instant::now());
        if self.now.saturating_duration_since(deadline) >= OVERSLEPT {
            self.forgive(last_turn);
        }
        self.on_deadline();
        self.alarm
            .set_again(self.deadline().unwrap_or(self.now + NEVER));
        Poll::Ready(())
    }

    /// A process that was stopped or starved wakes up to its timers first, with the signs of life of
    /// its peers unread: the time that it did not read is not theirs.
    #[cold]
    fn forgive(&mut self, last_turn: Instant) {
        if !self.paused && !self.input_closed {
            self.core.session.pause_reading(last_turn);
            self.core.session.resume_reading(self.now);
            self.deframer.restart_deadline(self.now);
        }
    }

    fn on_deadline(&mut self) {
        let (now, write_timeout) = (self.now, self.core.settings.write_timeout);
        let blocked = self
            .blocked_since
            .is_some_and(|since| now >= since + write_timeout)
            && !self.write_regardless();
        match &mut self.phase {
            Phase::Lingering { by, .. } => self.input_closed |= now >= *by,
            Phase::Ending { by, last, .. } => {
                if blocked || by.is_some_and(|by| now >= by) {
                    // The peer does not take what is left: close without it.
                    *last = None;
                    self.core.lanes = None;
                    self.stream.give_up();
                    self.input_closed = true;
                }
            }
            Phase::Serving if blocked => self.slow_consumer(),
            Phase::Serving => self.on_serving_deadline(),
        }
    }

    fn on_serving_deadline(&mut self) {
        let now = self.now;
        if let Err(ended) = self.core.on_deadline(now) {
            return self.end(ended);
        }
        let frame = self.deframer.deadline(&self.core.session.rules());
        if frame.is_some_and(|at| now >= at) && !self.paused && !self.input_closed {
            self.core.shared.metrics.frame_timeout();
            return self.end(Ended::new(
                ErrorCode::PROTOCOL_ERROR,
                "the frame took too long",
            ));
        }
        let by = now + self.core.settings.goaway_grace;
        let due = |at: &mut Option<Instant>| at.take_if(|at| now >= *at).is_some();
        if due(&mut self.core.expires_at) {
            self.core
                .go_away(GoAwayReason::Reauthenticate, Duration::ZERO, by);
        }
        if due(&mut self.max_age_at) {
            self.core.go_away(GoAwayReason::MaxAge, Duration::ZERO, by);
        }
    }

    /// Writes without waiting for the kernel to call the socket writable, which it does only when a
    /// third of its buffer is free: a slow but steady reader needs longer for that than it may be
    /// silent. Gives whether a byte was taken.
    fn write_regardless(&mut self) -> bool {
        let lanes = self.core.lanes.get_or_insert_with(buffers::take_lanes);
        if lanes.is_empty() && !self.stream.has_unsent() {
            return true;
        }
        let Ok(sent) = self.stream.write_regardless(lanes) else {
            return false;
        };
        self.core.session.bytes_sent(self.now);
        self.core.shared.metrics.sent(sent.taken, &mut lanes.frames);
        self.blocked_since = Some(self.now);
        true
    }

    /// The peer has not taken a byte for too long. What is queued is given up, but for the frame that
    /// is half written; a peer that wakes up within the linger time still learns why.
    fn slow_consumer(&mut self) {
        self.core.shared.metrics.slow_consumer();
        if let Some(lanes) = &mut self.core.lanes {
            lanes.drop_whole_frames();
        }
        self.blocked_since = Some(self.now);
        self.end(Ended::new(
            ErrorCode::SLOW_CONSUMER,
            "nothing was read for the write deadline",
        ));
    }
}
