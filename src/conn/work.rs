//! Requests whose answer comes later: their tasks, and the order in which they may run.

use super::buffers;
use super::hosted::{Bells, Hosted};
use super::later::TOO_LATE;
use super::mailbox::{Mail, Mailbox};
use super::pending::{Over, Pending, Reply, Run, Stop, Table, Waiting};
use crate::message::{Answer, Begun, Work};
use crate::telemetry::InFlight;
use mcpd_proto::ErrorCode;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::runtime::Handle;

/// Work that was begun, or is to begin.
pub(super) enum Going {
    /// A task is to be made of it; it may say when it begins.
    Beside(Work, Option<Begun>),
    /// It has begun here.
    Here(Hosted),
}

/// What work is bound to.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// When it must be answered.
    pub(super) deadline: Instant,
    /// Where tasks tell of their end…
    pub(super) mailbox: &'a Arc<Mailbox>,
    /// …and where they run.
    pub(super) background: &'a Handle,
}

/// The unanswered requests of one connection.
#[derive(Debug)]
pub(super) struct Works<R> {
    pending: Table,
    /// By topic: one that runs, and those behind it.
    ordered: HashMap<Arc<str>, VecDeque<Box<Waiting<R>>>>,
    bytes: usize,
    /// Not after the first deadline of work that the connection runs.
    due: Option<Instant>,
    pub(super) bells: Bells,
    counted: InFlight,
}

impl<R> Works<R> {
    pub(super) fn new(counted: InFlight) -> Works<R> {
        Works {
            pending: Table::default(),
            ordered: HashMap::new(),
            bytes: 0,
            due: None,
            bells: Bells::default(),
            counted,
        }
    }

    /// Stops all work, as there is nobody to answer.
    pub(super) fn abandon(&mut self) {
        for pending in self.pending.iter().filter_map(|(_, desk)| desk.get()) {
            if let Run::Beside(task) = &pending.run {
                task.abort();
            }
        }
        self.pending = Table::default();
        self.ordered = HashMap::new();
        (self.bytes, self.due) = (0, None);
        self.count();
    }

    /// Tells how many requests there are, if that has changed.
    #[inline]
    pub(super) fn count(&mut self) {
        self.counted.set(self.pending.len());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Gives the tables back if there is nothing in them: an idle connection keeps none.
    pub(super) fn release(&mut self) {
        if self.pending.is_empty() && self.pending.capacity() > 0 {
            buffers::give_table_back(std::mem::take(&mut self.pending));
            self.ordered = HashMap::new();
        }
    }

    /// Bytes of requests that are being worked on.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an earlier request to this topic of an ordered route is unanswered.
    pub(super) fn is_busy(&self, topic: &str) -> bool {
        self.ordered.contains_key(topic)
    }

    /// Notes a request, and [sees to](Works::run) its work.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        seq: u16,
        reply: impl FnOnce() -> Reply,
        bytes: usize,
        ordered: Option<&str>,
        going: Going,
        bounds: Bounds<'_>,
    ) {
        let (run, begun) = self.launch(seq, going, bounds);
        self.add(seq, reply, bytes, ordered, run, begun);
    }

    /// The reply is made where it is kept.
    #[inline(always)]
    fn add(
        &mut self,
        seq: u16,
        reply: impl FnOnce() -> Reply,
        bytes: usize,
        ordered: Option<&str>,
        run: Run,
        begun: Option<Begun>,
    ) {
        let ordered = ordered.map(Arc::<str>::from);
        if let Some(topic) = &ordered {
            self.ordered.entry(Arc::clone(topic)).or_default();
        }
        self.bytes += bytes;
        if self.pending.capacity() == 0 {
            self.pending = buffers::take_table();
        }
        let mut desk = buffers::take_desk();
        desk.put(Pending {
            reply: reply(),
            bytes,
            run,
            begun,
            ordered,
            stop: None,
        });
        self.pending.insert(seq, desk);
    }

    /// Notes a request that waits for its turn.
    pub(super) fn wait(&mut self, reply: Reply, bytes: usize, topic: &str, waiting: Waiting<R>) {
        let seq = reply.head.seq;
        self.add(seq, || reply, bytes, Some(topic), Run::Waits, None);
        if let Some(queue) = self.ordered.get_mut(topic) {
            queue.push_back(Box::new(waiting));
        }
    }

    /// Sees to the work of a request that has waited.
    pub(super) fn run(&mut self, seq: u16, going: Going, bounds: Bounds<'_>) {
        let (run, begun) = self.launch(seq, going, bounds);
        if let Some(pending) = self.find(seq) {
            (pending.run, pending.begun) = (run, begun);
        }
    }

    /// What does not go on here starts on `background`.
    #[inline(always)]
    fn launch(&mut self, seq: u16, going: Going, bounds: Bounds<'_>) -> (Run, Option<Begun>) {
        let Bounds {
            deadline,
            mailbox,
            background,
        } = bounds;
        match going {
            Going::Here(work) => {
                self.due = Some(self.due.map_or(deadline, |due| due.min(deadline)));
                (Run::Here(work), None)
            }
            Going::Beside(work, begun) => {
                let completion = Completion {
                    seq,
                    answer: None,
                    mailbox: Arc::clone(mailbox),
                };
                let task = background.spawn(run(work, deadline, completion));
                (Run::Beside(task.abort_handle()), begun)
            }
        }
    }

    /// Lets the work on a request go on that was woken; `Ready` when it is to be
    /// [ended](Works::end), by its answer or because it broke.
    pub(super) fn poll(&mut self, seq: u16) -> Poll<Option<Answer<'static>>> {
        match self.find(seq).map(|pending| &mut pending.run) {
            Some(Run::Here(work)) => work.poll(),
            // It was stopped, and another request may have its number by now.
            _ => Poll::Pending,
        }
    }

    /// Not after the next moment at which [`Works::overdue`] gives anybody.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Requests whose work is run here and whose time is over. It looks at all of them, about once in
    /// the time that requests have, which is cheaper than to keep order among deadlines.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<u16> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = None;
        let mut over = Vec::new();
        for (seq, desk) in self.pending.iter() {
            let Some(Run::Here(work)) = desk.get().map(|pending| &pending.run) else {
                continue;
            };
            let deadline = work.deadline();
            match deadline <= now {
                true => over.push(seq),
                false => self.due = Some(self.due.map_or(deadline, |due| due.min(deadline))),
            }
        }
        over
    }

    /// Asks for the work on `seq` to stop. Work that runs reports when it has; for a request that
    /// still waits for its turn the mail comes at once, as there is nothing to wait for.
    pub(super) fn stop(&mut self, seq: u16, why: Stop, mailbox: &Mailbox) {
        let Some(pending) = self.pending.get_mut(seq).and_then(|desk| desk.get_mut()) else {
            return;
        };
        // Work that was cancelled may still wait for what it has begun; nobody waits when all is cut.
        let cut = why == Stop::Cut && matches!(pending.run, Run::Here(_));
        if pending.stop.replace(why).is_some() && !cut {
            return;
        }
        match std::mem::replace(&mut pending.run, Run::Over) {
            Run::Beside(task) => {
                task.abort();
                pending.run = Run::Beside(task);
            }
            Run::Here(mut work) => match why == Stop::Cancelled && work.cancel() {
                true => pending.run = Run::Here(work),
                false => {
                    drop(work);
                    mailbox.send(Mail::Stopped(seq));
                }
            },
            Run::Over => {}
            Run::Waits => {
                pending.run = Run::Waits;
                if let Some(queue) = pending
                    .ordered
                    .as_ref()
                    .and_then(|t| self.ordered.get_mut(t))
                {
                    queue.retain(|waiting| waiting.seq != seq);
                }
                mailbox.send(Mail::Stopped(seq));
            }
        }
    }

    /// Asks for all work to stop.
    pub(super) fn stop_all(&mut self, why: Stop, mailbox: &Mailbox) {
        let all: Vec<u16> = self.pending.iter().map(|(seq, _)| seq).collect();
        for seq in all {
            self.stop(seq, why, mailbox);
        }
    }

    fn find(&mut self, seq: u16) -> Option<&mut Pending> {
        self.pending.get_mut(seq)?.get_mut()
    }

    /// The work on `seq` has ended.
    #[inline(always)]
    pub(super) fn end(&mut self, seq: u16) -> Option<Over<R>> {
        let mut desk = self.pending.remove(seq)?;
        let pending = desk.get_mut()?;
        self.bytes -= pending.bytes;
        let ran = !matches!(pending.run, Run::Waits);
        if let Run::Here(work) = std::mem::replace(&mut pending.run, Run::Over) {
            work.end(&mut self.bells);
        }
        let waited = pending.begun.as_ref().is_some_and(|begun| !begun.is_set());
        let stop = match pending.stop {
            Some(Stop::Cut) if waited || !ran => Some(Stop::NoTurn),
            stop => stop,
        };
        let next = pending
            .ordered
            .take()
            .filter(|_| ran || pending.stop.is_none())
            .and_then(|topic| {
                let next = self.ordered.get_mut(&topic).and_then(VecDeque::pop_front);
                if next.is_none() {
                    self.ordered.remove(&topic);
                }
                next
            });
        if self.pending.is_empty() {
            self.due = None;
        }
        Some(Over { desk, stop, next })
    }
}

impl<R> Drop for Works<R> {
    /// So it is when the connection is gone.
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Reports the end of a task however it ends: with an answer, by being dropped, by a panic.
struct Completion {
    seq: u16,
    answer: Option<Answer<'static>>,
    mailbox: Arc<Mailbox>,
}

impl Drop for Completion {
    fn drop(&mut self) {
        let mail = match self.answer.take() {
            Some(answer) => Mail::Done(self.seq, answer),
            None => Mail::Stopped(self.seq),
        };
        self.mailbox.send(mail);
    }
}

async fn run(work: Work, deadline: Instant, mut completion: Completion) {
    // The work is dropped before the answer is sent, so it has stopped when the client learns of it.
    let answer = match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(answer) => answer,
        Err(_) => Answer::error(ErrorCode::DEADLINE_EXCEEDED, TOO_LATE),
    };
    completion.answer = Some(answer);
}
