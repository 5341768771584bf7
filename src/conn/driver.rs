//! The task of one connection: its socket, its timer, and the order in which it ends.
//!
//! Hand-written as one future so that an idle connection is as small as it can be: no read buffer, no
//! write buffer, no channel, one timer.

mod due;

use super::Dispatch;
use super::alarm::Alarm;
use super::buffers;
use super::core::Core;
use super::mailbox::Mail;
use super::phase::{Phase, Step};
use super::socket;
use super::stream::Stream;
use crate::clock;
use crate::telemetry::{Batch, CloseReason};
use mcpd_proto::session::Ended;
use mcpd_proto::{Deframer, ErrorCode};
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::ReadBuf;

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
    /// It has let others go first, and has answers to write.
    stood_back: bool,
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
            stood_back: false,
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
            let (mail, woken) = self.mail();
            if woken && !std::mem::replace(&mut self.stood_back, true) {
                // Others on this thread have been woken with it. Once all have dealt with their mail, their
                // writes follow each other closely, and wake whoever reads them less often.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.stood_back = false;
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

    /// Takes the mail. Gives whether there was any, and whether work that goes on here was woken.
    fn mail(&mut self) -> (bool, bool) {
        let Some(mail) = self.core.take_mail() else {
            return (false, false);
        };
        let woken = matches!(mail.first(), Some(Mail::Woken(_)));
        // Answers come at a time of their own: it tells latencies, and whose turn comes too late.
        self.now = Instant::now();
        let closing = !matches!(self.phase, Phase::Serving);
        let _held = clock::hold(self.now);
        if let Err(ended) = self.core.mail(mail, self.now, closing) {
            self.end(ended);
        }
        (true, woken)
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
        let _held = clock::hold(self.now);
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
            self.core.works.abandon();
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
