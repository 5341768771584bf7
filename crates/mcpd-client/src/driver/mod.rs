//! The task of a connection: the only one that touches its socket.
//!
//! It owns the session and waits for whichever comes first: the socket takes bytes or has some, a
//! handle asks for something, a caller gives up, a deadline passes.

mod calls;
mod outbox;
mod pace;
mod receive;

pub(crate) use calls::{Call, Command, Waiting};

use crate::error::{Error, ErrorClass, ErrorKind};
use crate::options::ConnectOptions;
use crate::shared::Shared;
use crate::state::{Closed, ServerInfo};
use calls::Calls;
use mcpd_proto::limits::{CLOSE_LINGER, MAX_HEARTBEAT};
use mcpd_proto::session::{Client, Ended};
use mcpd_proto::{Confirm, Deframer, ErrorCode, ErrorFrame, Meta, MetaBuf, Request};
use outbox::Outbox;
use pace::{BATCH, Pace};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
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
    session: Client,
    deframer: Deframer,
    outbox: Outbox,
    calls: Calls,
    pings: Vec<oneshot::Sender<Duration>>,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    /// Told once, when the connection is open.
    opened: Option<oneshot::Sender<ServerInfo>>,
    write_timeout: Duration,
    write_buffer: usize,
    /// When the stream last took bytes, while there are some for it.
    stalled_since: Option<Instant>,
    cancels: Pace,
    confirms: Pace,
    /// No handle is left, or one of them closed the connection: nothing new comes.
    no_more: bool,
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

enum Event {
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    Command(Option<Command>),
    Woken,
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
        commands: mpsc::Receiver<Command>,
        shared: Arc<Shared>,
        opened: oneshot::Sender<ServerInfo>,
    ) -> Driver<R, W> {
        let now = now();
        let mut driver = Driver {
            reader,
            writer,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            session: Client::new(options.session(), now),
            deframer: Deframer::new(),
            outbox: Outbox::default(),
            calls: Calls::default(),
            pings: Vec::new(),
            commands,
            shared,
            opened: Some(opened),
            write_timeout: options.write_timeout,
            write_buffer: options.write_buffer,
            stalled_since: None,
            cancels: Pace::of_cancels(now),
            confirms: Pace::of_confirms(now),
            no_more: false,
            sleep: Box::pin(tokio::time::sleep_until(now.into())),
            armed: now,
        };
        match hello {
            Some(meta) => driver.session.hello(meta, driver.outbox.head()),
            None => receive::open(
                &mut driver.opened,
                &driver.shared,
                &driver.session,
                &Meta::EMPTY,
            ),
        }
        driver
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(mut self) {
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
        if self.shared.is_closing() {
            self.commands.close();
        }
        self.take_commands();
        let now = now();
        self.confirms.due |= self.shared.take_confirmed();
        self.send_confirms(now);
        self.cancels.due |= self.shared.take_gave_up();
        self.cancel_forsaken(now);
        if self.no_more && self.may_part() {
            return Err(Closed::local());
        }
        self.check_outbox(now)?;
        self.arm(now);
        match self.wait().await {
            Event::Wrote(Ok(count)) if count > 0 => self.wrote(count),
            Event::Wrote(Ok(_)) => return Err(Closed::failed(io::ErrorKind::WriteZero.into())),
            Event::Read(Ok(0)) => return Err(Closed::end_of_stream()),
            Event::Read(Ok(count)) => self.received(count)?,
            // What the server said last may still lie in the socket, and says more than the error.
            Event::Wrote(Err(error)) => return Err(self.last_words(error).await),
            Event::Read(Err(error)) => return Err(Closed::failed(error)),
            Event::Command(command) => self.command(command),
            // The next turn looks what it was about; it does so each time, as a stream that is never
            // quiet would keep this event from coming.
            Event::Woken => {}
            Event::Timer => self.on_deadlines()?,
        }
        Ok(())
    }

    /// The timer comes last. So nobody is called late whose bytes lie in the socket, however long
    /// this task was kept from looking. Writing comes first; it cannot keep the others out, since
    /// what is written is bounded by the slots.
    async fn wait(&mut self) -> Event {
        let room = !self.no_more && self.has_room();
        tokio::select! {
            biased;
            result = self.outbox.write_to(&mut self.writer), if !self.outbox.is_empty() => {
                Event::Wrote(result)
            }
            result = self.reader.read(&mut self.buffer) => Event::Read(result),
            command = self.commands.recv(), if room => Event::Command(command),
            () = self.shared.woken() => Event::Woken,
            () = &mut self.sleep => Event::Timer,
        }
    }

    fn has_room(&self) -> bool {
        self.outbox.len() < self.write_buffer
    }

    /// Whether the connection may end although nobody said so but us.
    fn may_part(&self) -> bool {
        // With no handle left, nobody waits for the answers either.
        self.calls.is_empty() || !self.shared.is_closing() || self.shared.is_cut()
    }

    /// Takes what handles ask for, until there is enough to write.
    fn take_commands(&mut self) {
        while !self.no_more && self.has_room() {
            match self.commands.try_recv() {
                Ok(command) => self.command(Some(command)),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => self.command(None),
            }
        }
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Call(call)) => self.send(*call),
            Some(Command::Ping(reply)) => {
                // Whoever gave up makes room, so there are never more than callers that wait.
                self.pings.retain(|waiting| !waiting.is_closed());
                self.pings.push(reply);
                let session = &mut self.session;
                self.outbox.control_with(|out| session.ping(now(), out));
            }
            None => {
                self.no_more = true;
                self.cancels.due = true;
            }
        }
    }

    /// Makes the frame of a request that somebody still waits for.
    fn send(&mut self, mut call: Call) {
        if call.waiting.reply.is_closed() {
            return;
        }
        if let Some(deadline) = call.deadline {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                let _ = call.waiting.reply.send(Err(Error::not_sent_in_time()));
                return;
            }
            // Rounded up, since 0 would say that it is over already.
            let ms = left.as_nanos().div_ceil(1_000_000);
            call.meta
                .set_timeout_ms(u32::try_from(ms).unwrap_or(u32::MAX));
        }
        let request = Request {
            seq: 0,
            priority: call.priority,
            qos: call.qos,
            dup: call.dup,
            topic: call.topic.as_bytes(),
            body: &call.body,
            meta: call.meta.view(),
        };
        match self.session.request(&request, self.outbox.head()) {
            Ok(seq) => {
                self.calls.insert(seq, call.waiting);
                self.outbox.body(call.body);
            }
            Err(error) => {
                let _ = call.waiting.reply.send(Err(error.into()));
            }
        }
    }

    /// Tells the server of QoS 2 outcomes that have arrived, at a bounded rate.
    fn send_confirms(&mut self, now: Instant) {
        if !self.confirms.may_send(now) || !self.has_room() {
            return;
        }
        let ids = self.shared.confirms(BATCH);
        self.confirms.sent(ids.len(), now);
        for id in ids {
            let mut meta = MetaBuf::new();
            meta.set_message_id(id);
            let meta = meta.view();
            self.outbox.control_with(|out| Confirm { meta }.encode(out));
        }
    }

    /// Sends CANCEL for requests that nobody waits for any more, at a bounded rate.
    fn cancel_forsaken(&mut self, now: Instant) {
        if !self.cancels.may_send(now) {
            return;
        }
        let forsaken = self.calls.forsaken(BATCH);
        self.cancels.sent(forsaken.len(), now);
        for seq in &forsaken {
            let session = &mut self.session;
            self.outbox.control_with(|out| session.cancel(*seq, out));
        }
    }

    fn wrote(&mut self, count: usize) {
        let now = now();
        self.outbox.written(count);
        self.session.bytes_sent(now);
        self.stalled_since = (!self.outbox.is_empty()).then_some(now);
    }

    /// Notes that there is something to write, and ends what a deaf server makes grow.
    fn check_outbox(&mut self, now: Instant) -> Flow {
        if self.outbox.control() > MAX_CONTROL {
            let text = "the server asks for more than it reads";
            return Err(gave_up(Ended::new(ErrorCode::SLOW_CONSUMER, text)));
        }
        if !self.outbox.is_empty() {
            self.stalled_since.get_or_insert(now);
        }
        Ok(())
    }

    /// The next moment at which something is due.
    fn deadline(&self) -> Option<Instant> {
        let frame = self.deframer.deadline(&self.session.rules());
        let stall = self.stalled_since.map(|since| since + self.write_timeout);
        // Without room for them, the stream wakes the task.
        let confirms = self.confirms.deadline().filter(|_| self.has_room());
        let cancels = self.cancels.deadline();
        let all = [self.session.deadline(), frame, stall, cancels, confirms];
        all.into_iter().flatten().min()
    }

    /// Sees to it that the task wakes in time. It may wake early, when what it was set for has been
    /// put off meanwhile; setting the timer anew for each frame would cost more.
    fn arm(&mut self, now: Instant) {
        let deadline = self.deadline().unwrap_or(now + MAX_HEARTBEAT);
        if deadline < self.armed || self.armed <= now {
            self.armed = deadline;
            self.sleep.as_mut().reset(deadline.into());
        }
    }

    /// What is due although the stream never falls quiet, so that the timer cannot speak.
    fn on_busy_deadline(&mut self, now: Instant) -> Flow {
        if now < self.armed {
            return Ok(());
        }
        let session = &mut self.session;
        let report = self
            .outbox
            .control_with(|out| session.on_deadline(now, out));
        report.map_err(gave_up)?;
        let stalled = self.stalled_since.map(|since| since + self.write_timeout);
        if stalled.is_some_and(|at| now >= at) {
            let text = format!("nothing could be written for {:?}", self.write_timeout);
            return Err(gave_up(Ended::new(ErrorCode::SLOW_CONSUMER, text)));
        }
        Ok(())
    }

    fn on_deadlines(&mut self) -> Flow {
        let now = now();
        self.on_busy_deadline(now)?;
        let frame = self.deframer.deadline(&self.session.rules());
        if frame.is_some_and(|at| now >= at) {
            let text = "a frame was not complete in time";
            return Err(gave_up(Ended::new(ErrorCode::PROTOCOL_ERROR, text)));
        }
        Ok(())
    }

    /// Writing failed: reads what the server said before it closed, then ends.
    async fn last_words(&mut self, error: io::Error) -> Closed {
        let reading = async {
            loop {
                match self.reader.read(&mut self.buffer).await {
                    Ok(count) if count > 0 => self.received(count)?,
                    _ => return Flow::Ok(()),
                }
                tokio::task::consume_budget().await;
            }
        };
        match tokio::time::timeout(CLOSE_LINGER, reading).await {
            Ok(Err(closed)) => closed,
            _ => Closed::failed(error),
        }
    }

    /// Tells everybody, then parts from the server as politely as it deserves.
    async fn end(mut self, closed: Closed) {
        let fates = self.session.abandon();
        self.shared.ended(&closed);
        for (seq, fate) in fates {
            self.calls.fail(seq, closed.error(fate.into()));
        }
        self.commands.close();
        self.pings.clear();
        while let Some(command) = self.commands.recv().await {
            if let Command::Call(call) = command {
                let error = closed.error(ErrorClass::NotExecuted).unsent();
                let _ = call.waiting.reply.send(Err(error));
            }
        }
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
                .encode(self.outbox.head());
            }
            // After CLOSING nothing more is sent.
            (Server | Lost | GivenUp, _) => return self.writer.shutdown().await,
        }
        while !self.outbox.is_empty() {
            let count = self.outbox.write_to(&mut self.writer).await?;
            if count == 0 {
                return Ok(());
            }
            self.outbox.written(count);
        }
        self.writer.shutdown().await?;
        // What still comes is of no use to anyone; the end of it is.
        while self.reader.read(&mut self.buffer).await? > 0 {
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
}

impl Error {
    pub(crate) fn not_sent_in_time() -> Error {
        let text = "the time given was over before the request could be sent";
        Error::new(ErrorKind::Timeout, ErrorClass::NotExecuted, text).unsent()
    }
}

impl<R, W> Drop for Driver<R, W> {
    /// Whether it ended or its runtime did: whoever waits must hear of it.
    fn drop(&mut self) {
        self.shared.gone();
    }
}
