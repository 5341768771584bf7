//! The task of one connection: its socket, its timer, and the order in which it ends.
//!
//! Hand-written as one future so that an idle connection is as small as it can be: no read buffer, no
//! write buffer, no channel, one timer.

use super::Dispatch;
use super::alarm::Alarm;
use super::buffers;
use super::core::Core;
use super::phase::{Phase, Step};
use super::socket;
use super::stream::Stream;
use crate::telemetry::{Batch, CloseReason};
use mcpd_proto::session::Ended;
use mcpd_proto::{Deframer, ErrorCode, GoAwayReason};
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;

/// How often a connection that is not read is asked whether it is broken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How late a timer must be for this process, not the peer, to have been away.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// When a connection looks again that has nothing to wait for.
const NEVER: Duration = Duration::from_secs(3600);

/// A connection as a future that resolves when it is closed.
pub(super) struct Driver<D: Dispatch, S> {
    stream: S,
    deframer: Deframer,
    core: Core<D>,
    phase: Phase,
    /// The last time that was looked at the clock.
    now: Instant,
    opened: Instant,
    /// When the client is asked to move for its age.
    max_age_at: Option<Instant>,
    /// Since when the socket has not taken a byte although some wait.
    blocked_since: Option<Instant>,
    alarm: Alarm,
    /// When the frames that are held back were read.
    held_since: Option<Instant>,
    input_closed: bool,
    paused: bool,
    registered: bool,
}

impl<D: Dispatch, S: Stream> Driver<D, S> {
    pub(super) fn new(stream: S, core: Core<D>, now: Instant, jitter: f64) -> Driver<D, S> {
        let age = core.settings.age_limit(jitter);
        Driver {
            stream,
            deframer: Deframer::new(),
            core,
            phase: Phase::Serving,
            now,
            opened: now,
            max_age_at: age.map(|age| now + age),
            blocked_since: None,
            alarm: Alarm::default(),
            held_since: None,
            input_closed: false,
            paused: false,
            registered: false,
        }
    }

    /// Does everything that can be done now. Ready when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        if !self.registered {
            self.core.member.mailbox.register(cx);
            self.registered = true;
        }
        let mut progress = false;
        loop {
            let mail = self.mail();
            let Ok(read) = self.read(cx) else {
                return Poll::Ready(CloseReason::Reset);
            };
            self.end_if_done();
            if self.write(cx).is_err() {
                return Poll::Ready(CloseReason::Reset);
            }
            match self.advance_phase() {
                Step::Closed(reason) => return Poll::Ready(reason),
                // What the new phase writes or reads is not waited for yet.
                Step::Further => continue,
                Step::Stay => {}
            }
            // The write may have made the room that frames held back are waiting for.
            let resumes = self.paused && self.core.has_room(self.core.outbound_len());
            if !mail && !read && !resumes && self.on_timer(cx, progress).is_pending() {
                break;
            }
            progress = true;
        }
        self.core.release();
        self.deframer.release();
        Poll::Pending
    }

    /// Takes the mail. Gives whether there was any.
    fn mail(&mut self) -> bool {
        let Some(mail) = self.core.take_mail() else {
            return false;
        };
        // Answers come at a time of their own: it tells latencies, and whose turn comes too late.
        self.now = Instant::now();
        let closing = !matches!(self.phase, Phase::Serving);
        if let Err(ended) = self.core.mail(mail, self.now, closing) {
            self.end(ended);
        }
        true
    }

    /// Reads once and takes the frames. Gives whether there was anything.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if !matches!(self.phase, Phase::Serving) {
            return Ok(self.discard(cx));
        }
        if self.input_closed || !self.may_read() {
            return self.look_without_reading();
        }
        buffers::with_read_buffer(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match self.stream.poll_read(cx, &mut buffer) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    self.input_closed = true;
                    self.now = Instant::now();
                    // A client that has said everything is silent with a right to it.
                    self.core.session.pause_reading(self.now);
                    Ok(true)
                }
                Poll::Ready(Ok(())) => {
                    self.now = Instant::now();
                    self.core.session.bytes_received(self.now);
                    self.take(buffer.filled(), self.now);
                    Ok(true)
                }
            }
        })
    }

    /// Asks whether the connection is broken while it is not read, when nothing else would tell: the
    /// work of a client that is gone must not run to its end.
    #[cold]
    fn look_without_reading(&self) -> io::Result<bool> {
        match socket::is_broken(self.stream.socket())? {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(false),
        }
    }

    /// Back-pressure: a connection whose work or answers take too much room is not read. Takes up
    /// again what was held back once there is room, before anything new is read.
    #[inline]
    fn may_read(&mut self) -> bool {
        if self.paused && self.core.has_room(self.core.outbound_len()) {
            self.now = Instant::now();
            self.paused = false;
            self.core.session.resume_reading(self.now);
            self.deframer.restart_deadline(self.now);
            // Their time runs from when they were read.
            let read = self.held_since.take().unwrap_or(self.now);
            self.take(&[], read);
        }
        if !self.core.has_room(self.core.outbound_len()) {
            self.pause();
        }
        !self.paused && matches!(self.phase, Phase::Serving)
    }

    /// Stops reading until there is room.
    #[cold]
    fn pause(&mut self) {
        if !self.paused {
            self.paused = true;
            self.core.session.pause_reading(Instant::now());
            if !self.core.session.is_deciding() {
                self.core.shared.metrics.backpressure();
            }
        }
    }

    /// Takes the frames of one read, or those that were held back; `read` is when they were read.
    fn take(&mut self, mut input: &[u8], read: Instant) {
        let table = self.core.shared.dispatch.table();
        let mut batch = Batch::new(read, input.len(), &self.core.shared.metrics);
        let waited = self.now.saturating_duration_since(read);
        let Driver { deframer, core, .. } = self;
        let mut lanes = core.lanes.take().unwrap_or_else(buffers::take_lanes);
        let result = loop {
            if !core.has_room(lanes.len()) {
                deframer.hold(input);
                break Ok(true);
            }
            let rules = core.session.rules();
            match deframer.next(&mut input, &rules, batch.began()) {
                Ok(Some(raw)) => {
                    if let Err(ended) = core.frame(&raw, waited, &mut lanes, &table, &mut batch) {
                        break Err(ended);
                    }
                }
                Ok(None) => break Ok(false),
                Err(error) => {
                    core.shared.metrics.frame_error(&error);
                    break Err(error.into());
                }
            }
        };
        core.lanes = Some(lanes);
        batch.finish(&core.shared.metrics);
        match result {
            // Whatever is written meanwhile, what is held comes before what is read next.
            Ok(true) => {
                self.held_since = Some(read);
                self.pause();
            }
            Ok(false) => {}
            Err(ended) => self.end(ended),
        }
    }

    /// Writes everything that is ready, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.core.lanes.is_none() && !self.stream.has_unsent() {
            return Ok(());
        }
        let lanes = self.core.lanes.get_or_insert_with(buffers::take_lanes);
        let sent = self.stream.write(cx, lanes)?;
        let blocked = !lanes.is_empty() || self.stream.has_unsent();
        if sent.taken > 0 {
            self.core.session.bytes_sent(self.now);
            self.core.shared.metrics.sent(sent.taken, &mut lanes.frames);
        }
        if !blocked {
            self.blocked_since = None;
        } else if sent.moved || self.blocked_since.is_none() {
            self.blocked_since = Some(Instant::now());
        }
        Ok(())
    }

    /// Ends the connection in order once nothing is left to be done for its client.
    fn end_if_done(&mut self) {
        if matches!(self.phase, Phase::Serving) && self.core.is_drained() {
            self.end(Ended::new(
                ErrorCode::CLOSING,
                "the server closes this connection",
            ));
        }
    }

    /// Begins the end: nothing more is read, what is queued goes out, then `ended`.
    fn end(&mut self, ended: Ended) {
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        // What was held back is not looked at any more.
        self.paused = false;
        let code = ended.code;
        let orderly = code == ErrorCode::CLOSING;
        if !orderly {
            let (connection, peer) = (self.core.peer.connection, self.core.peer.addr);
            tracing::debug!(connection, %peer, %ended, "the connection ends");
            // There is nobody to answer any more.
            self.core.works = Default::default();
        }
        // An orderly end waits for as long as the client reads.
        let by = (!orderly).then(|| Instant::now() + self.core.settings.close_linger);
        self.phase = Phase::Ending {
            last: Some(ended),
            by,
            code,
        };
    }

    /// Goes on with the end of a connection as far as its output is written.
    fn advance_phase(&mut self) -> Step {
        if self.core.outbound_len() > 0 || self.stream.has_unsent() {
            return Step::Stay;
        }
        match &mut self.phase {
            Phase::Serving if self.input_closed && !self.paused && self.core.works.is_empty() => {
                if self.stream.farewell() {
                    return Step::Further;
                }
                if self.deframer.has_rest() {
                    self.core.shared.metrics.frame_truncated();
                }
                Step::Closed(CloseReason::Eof)
            }
            Phase::Serving => Step::Stay,
            Phase::Ending { last, code, .. } => {
                let code = *code;
                if let Some(ended) = last.take() {
                    self.core.queue_last(&ended);
                    return Step::Further;
                }
                if self.stream.farewell() {
                    return Step::Further;
                }
                // The peer may be gone already; then there is nothing to shut down.
                let _ = socket2::SockRef::from(self.stream.socket()).shutdown(Shutdown::Write);
                let by = Instant::now() + self.core.settings.close_linger;
                self.phase = Phase::Lingering { by, code };
                Step::Further
            }
            Phase::Lingering { code, .. } if self.input_closed => {
                Step::Closed(CloseReason::Code(*code))
            }
            Phase::Lingering { .. } => Step::Stay,
        }
    }

    /// Reads on while and after the last frames go out: a peer that is still writing gets to reading
    /// them, and closing with unread bytes would send RST, which destroys what it has not read yet.
    fn discard(&mut self, cx: &mut Context<'_>) -> bool {
        if self.input_closed {
            return false;
        }
        buffers::with_read_buffer(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match self.stream.poll_read(cx, &mut buffer) {
                Poll::Pending => false,
                Poll::Ready(result) => {
                    self.input_closed = result.is_err() || buffer.filled().is_empty();
                    true
                }
            }
        })
    }

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
    fn on_timer(&mut self, cx: &mut Context<'_>, busy: bool) -> Poll<()> {
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

// Nothing in it is pinned but the alarm's timer, which has a pin of its own.
impl<D: Dispatch, S> Unpin for Driver<D, S> {}

impl<D: Dispatch, S: Stream> Future for Driver<D, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let reason = ready!(self.turn(cx));
        let age = self.opened.elapsed();
        self.core.shared.metrics.closed(reason, age);
        Poll::Ready(())
    }
}
