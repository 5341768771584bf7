//! The task of a connection: the only one that touches its socket.
//!
//! It takes what callers have made ready and waits for whichever comes first: the socket takes bytes
//! or has some, somebody changed something, a deadline passes.

mod pace;
mod receive;

use crate::exchange::{Exchange, Outbox};
use crate::options::ConnectOptions;
use crate::shared::Shared;
use crate::state::{Closed, ServerInfo};
use mcpd_proto::limits::{CLOSE_LINGER, MAX_HEARTBEAT};
use mcpd_proto::session::Ended;
use mcpd_proto::{Confirm, Deframer, ErrorCode, ErrorFrame, Meta, MetaBuf};
use pace::{BATCH, Pace};
use receive::Batch;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Bytes read at once: many small answers, and a large one in few reads.
const READ_BUFFER: usize = 32 * 1024;
/// Bytes of control frames that may wait to be written. They are answers to the server's heartbeats
/// and our CANCELs; when so many wait, the server asks but does not listen.
const MAX_CONTROL: usize = 256 * 1024;

/// The time, as the runtime sees it, which tests may stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) struct Driver<R, W> {
    reader: R,
    writer: W,
    buffer: Box<[u8]>,
    deframer: Deframer,
    /// What was taken from the exchange to be written.
    writing: Outbox,
    /// What one read brought, until it is delivered.
    batch: Batch,
    shared: Arc<Shared>,
    /// Told once, when the connection is open.
    opened: Option<oneshot::Sender<ServerInfo>>,
    write_timeout: Duration,
    /// When the stream last took bytes, while there are some for it.
    stalled_since: Option<Instant>,
    cancels: Pace,
    confirms: Pace,
    /// The clock, as it was read when the last event came.
    now: Instant,
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

enum Event {
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    Poked,
    Timer,
}

/// Whether to go on.
type Flow = Result<(), Closed>;

fn gave_up(ended: Ended) -> Closed {
    Closed::given_up(ended)
}

impl<R, W> Driver<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pub(crate) fn new(
        (reader, writer): (R, W),
        options: &ConnectOptions,
        hello: Option<MetaBuf>,
        shared: Arc<Shared>,
        opened: oneshot::Sender<ServerInfo>,
    ) -> Driver<R, W> {
        let now = now();
        let mut driver = Driver {
            reader,
            writer,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            deframer: Deframer::new(),
            writing: Outbox::default(),
            batch: Batch::default(),
            shared,
            opened: Some(opened),
            write_timeout: options.write_timeout,
            stalled_since: None,
            cancels: Pace::of_cancels(now),
            confirms: Pace::of_confirms(now),
            now,
            sleep: Box::pin(tokio::time::sleep_until(now.into())),
            armed: now,
        };
        let mut exchange = driver.shared.exchange();
        let Exchange {
            session, outbox, ..
        } = &mut *exchange;
        match hello {
            Some(meta) => session.hello(meta, outbox.head()),
            None => {
                let info = ServerInfo::new(session, &Meta::EMPTY);
                drop(exchange);
                receive::open(&mut driver.opened, &driver.shared, info);
                return driver;
            }
        }
        drop(exchange);
        driver
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| {
            self.shared.started(cx.waker());
            Poll::Ready(())
        })
        .await;
        let closed = loop {
            if let Err(closed) = self.turn().await {
                break closed;
            }
        };
        self.end(closed).await;
    }

    /// Does everything that can be done at once, then waits for one thing.
    async fn turn(&mut self) -> Flow {
        // Not every stream gives the runtime's other tasks their turn by itself.
        tokio::task::consume_budget().await;
        self.look()?;
        let event = poll_fn(|cx| self.poll_event(cx)).await;
        self.now = now();
        match event {
            Event::Wrote(Ok(count)) if count > 0 => self.wrote(count),
            Event::Wrote(Ok(_)) => return Err(Closed::failed(io::ErrorKind::WriteZero.into())),
            Event::Read(Ok(0)) => return Err(Closed::end_of_stream()),
            Event::Read(Ok(count)) => self.received(count)?,
            // What the server said last may still lie in the socket, and says more than the error.
            Event::Wrote(Err(error)) => return Err(self.last_words(error).await),
            Event::Read(Err(error)) => return Err(Closed::failed(error)),
            // The next turn looks what it was about; it does so each time, as a stream that is never
            // quiet would keep this event from coming.
            // Those who are about to ask as well get to it first: their frames share the write.
            Event::Poked => tokio::task::yield_now().await,
            Event::Timer => self.on_deadlines()?,
        }
        Ok(())
    }

    /// The timer comes last. So nobody is called late whose bytes lie in the socket, however long
    /// this task was kept from looking. Writing comes first; it cannot keep the others out, since
    /// what is written is bounded by the slots.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if !self.writing.is_empty()
            && let Poll::Ready(result) = self.writing.poll_write_to(&mut self.writer, cx)
        {
            return Poll::Ready(Event::Wrote(result));
        }
        let mut space = ReadBuf::new(&mut self.buffer);
        if let Poll::Ready(result) = Pin::new(&mut self.reader).poll_read(cx, &mut space) {
            let count = space.filled().len();
            return Poll::Ready(Event::Read(result.map(|()| count)));
        }
        if self.shared.is_poked() {
            return Poll::Ready(Event::Poked);
        }
        self.sleep.as_mut().poll(cx).map(|()| Event::Timer)
    }

    /// Looks what there is to do for this side, and takes what is to be written.
    fn look(&mut self) -> Flow {
        self.shared.unpoke();
        let (now, shared) = (self.now, self.shared.clone());
        let mut exchange = shared.exchange();
        self.send_confirms(&mut exchange);
        exchange.expire(now, &mut self.batch.woken);
        self.cancels.due |= exchange.take_gave_up();
        if self.cancels.may_send(now) {
            let count = exchange.cancel_forsaken(BATCH);
            self.cancels.sent(count, now);
        }
        if self.may_part(&exchange) {
            return Err(Closed::local());
        }
        if exchange.outbox.control() + self.writing.control() > MAX_CONTROL {
            let text = "the server asks for more than it reads";
            return Err(gave_up(Ended::new(ErrorCode::SLOW_CONSUMER, text)));
        }
        if self.writing.is_empty() {
            std::mem::swap(&mut self.writing, &mut exchange.outbox);
        }
        exchange.set_writing(self.writing.len());
        let deadline = self.deadline(&exchange);
        let room = exchange.may_call_in();
        drop(exchange);
        if room {
            shared.room.notify_one();
        }
        self.batch.wake();
        if !self.writing.is_empty() {
            self.stalled_since.get_or_insert(now);
        }
        self.arm(deadline);
        Ok(())
    }

    /// Whether nothing new comes, and nobody waits for what is under way.
    fn may_part(&self, exchange: &Exchange) -> bool {
        let closing = self.shared.is_closing();
        // With no handle left, nobody waits for the answers either.
        exchange.is_forsaken() && !closing
            || closing && (exchange.is_idle() || self.shared.is_cut())
    }

    /// Tells the server of QoS 2 outcomes that have arrived, at a bounded rate.
    fn send_confirms(&mut self, exchange: &mut Exchange) {
        self.confirms.due |= self.shared.take_confirmed();
        if !self.confirms.may_send(self.now) || !exchange.has_room() {
            return;
        }
        let ids = self.shared.confirms(BATCH);
        self.confirms.sent(ids.len(), self.now);
        for id in ids {
            let mut meta = MetaBuf::new();
            meta.set_message_id(id);
            let meta = meta.view();
            exchange
                .outbox
                .control_with(|out| Confirm { meta }.encode(out));
        }
    }

    fn wrote(&mut self, count: usize) {
        self.writing.written(count);
        let mut exchange = self.shared.exchange();
        exchange.session.bytes_sent(self.now);
        exchange.set_writing(self.writing.len());
        self.stalled_since = (!self.writing.is_empty()).then_some(self.now);
    }

    /// The next moment at which something is due.
    fn deadline(&self, exchange: &Exchange) -> Option<Instant> {
        let frame = self.deframer.deadline(&exchange.session.rules());
        let stall = match self.writing.is_empty() {
            true => None,
            false => Some(self.stalled_since.unwrap_or(self.now) + self.write_timeout),
        };
        // Without room for them, the stream wakes the task.
        let confirms = self.confirms.deadline().filter(|_| exchange.has_room());
        let cancels = self.cancels.deadline();
        let (session, calls) = (exchange.session.deadline(), exchange.expires());
        let all = [session, calls, frame, stall, cancels, confirms];
        all.into_iter().flatten().min()
    }

    /// Sees to it that the task wakes in time. It may wake early, when what it was set for has been
    /// put off meanwhile; setting the timer anew for each frame would cost more.
    fn arm(&mut self, deadline: Option<Instant>) {
        let deadline = deadline.unwrap_or(self.now + MAX_HEARTBEAT);
        if deadline < self.armed || self.armed <= self.now {
            self.armed = deadline;
            self.sleep.as_mut().reset(deadline.into());
        }
    }

    /// What is due although the stream never falls quiet, so that the timer cannot speak.
    fn on_busy_deadline(&mut self) -> Flow {
        let now = self.now;
        if now < self.armed {
            return Ok(());
        }
        let mut exchange = self.shared.exchange();
        let Exchange {
            session, outbox, ..
        } = &mut *exchange;
        let report = outbox.control_with(|out| session.on_deadline(now, out));
        drop(exchange);
        report.map_err(gave_up)?;
        let stalled = self.stalled_since.map(|since| since + self.write_timeout);
        if stalled.is_some_and(|at| now >= at) {
            let text = format!("nothing could be written for {:?}", self.write_timeout);
            return Err(gave_up(Ended::new(ErrorCode::SLOW_CONSUMER, text)));
        }
        Ok(())
    }

    fn on_deadlines(&mut self) -> Flow {
        self.on_busy_deadline()?;
        let rules = self.shared.exchange().session.rules();
        let frame = self.deframer.deadline(&rules);
        if frame.is_some_and(|at| self.now >= at) {
            let text = "a frame was not complete in time";
            return Err(gave_up(Ended::new(ErrorCode::PROTOCOL_ERROR, text)));
        }
        Ok(())
    }

    /// Writing failed: reads what the server said before it closed, then ends.
    async fn last_words(&mut self, error: io::Error) -> Closed {
        let until = self.now + CLOSE_LINGER;
        self.writing = Outbox::default();
        loop {
            if self.now >= until {
                return Closed::failed(error);
            }
            let next = self.expire_calls().map_or(until, |next| next.min(until));
            let read = self.reader.read(&mut self.buffer);
            let read = tokio::time::timeout_at(next.into(), read).await;
            self.now = now();
            match read {
                Err(_) => {}
                Ok(Ok(count)) if count > 0 => {
                    if let Err(closed) = self.received(count) {
                        return closed;
                    }
                }
                Ok(_) => return Closed::failed(error),
            }
            tokio::task::consume_budget().await;
        }
    }

    /// Callers' times go on running, whatever the stream does. Gives when the next one is over.
    fn expire_calls(&mut self) -> Option<Instant> {
        let mut exchange = self.shared.exchange();
        exchange.expire(self.now, &mut self.batch.woken);
        let next = exchange.expires();
        drop(exchange);
        self.batch.wake();
        next
    }

    /// Tells everybody, then parts from the server as politely as it deserves.
    async fn end(mut self, closed: Closed) {
        self.batch.wake();
        self.shared.ended(&closed, true);
        self.opened = None;
        let parting = tokio::time::timeout(CLOSE_LINGER, self.part(&closed));
        // A server that does not go along is left behind.
        let _ = parting.await;
    }

    async fn part(&mut self, closed: &Closed) -> io::Result<()> {
        use crate::state::CloseCause::{GivenUp, Local, Lost, Server};
        match (closed.cause, closed.code) {
            (Local, _) => {}
            (GivenUp, Some(code)) => {
                let detail = closed.text.as_bytes();
                let (seq, priority, meta) = (0, 0, Meta::EMPTY);
                ErrorFrame {
                    seq,
                    priority,
                    code,
                    detail,
                    meta,
                }
                .encode(self.shared.exchange().outbox.head());
            }
            // After CLOSING nothing more is sent.
            (Server | Lost | GivenUp, _) => return self.writer.shutdown().await,
        }
        loop {
            if self.writing.is_empty() {
                std::mem::swap(&mut self.writing, &mut self.shared.exchange().outbox);
            }
            if self.writing.is_empty() {
                break;
            }
            let (writing, writer) = (&self.writing, &mut self.writer);
            let count = poll_fn(|cx| writing.poll_write_to(writer, cx)).await?;
            if count == 0 {
                return Ok(());
            }
            self.writing.written(count);
        }
        self.writer.shutdown().await?;
        // What still comes is of no use to anyone; the end of it is.
        while self.reader.read(&mut self.buffer).await? > 0 {
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
}

impl<R, W> Drop for Driver<R, W> {
    /// Whether it ended or its runtime did: whoever waits must hear of it.
    fn drop(&mut self) {
        self.shared.gone();
    }
}
