//! Requests whose answer comes later: their tasks, and the order in which they may run.

use super::answer::Head;
use super::buffers;
use super::hosted::Hosted;
use super::later::TOO_LATE;
use super::mailbox::{Mail, Mailbox};
use crate::message::{Answer, Begun, InFlight as Place, OwnedCall, Peer, Work};
use crate::telemetry::{ConnMetrics, InFlight, Record};
use mcpd_proto::ErrorCode;
use mcpd_proto::session::SeqHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// How an answer is put together once it is there.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Head,
    /// What its counts, its span and its log line will tell.
    pub(super) record: Box<Record>,
    _counted: InFlight,
    /// Among the requests that its sender may have under way.
    _place: Option<Place>,
}

impl Reply {
    pub(super) fn new(
        head: Head,
        record: Box<Record>,
        peer: &Peer,
        metrics: &ConnMetrics,
    ) -> Reply {
        let _place = peer.identity.as_ref().map(|identity| identity.enter());
        Reply {
            head,
            record,
            _counted: metrics.begin(),
            _place,
        }
    }
}

/// Why work was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client gave up.
    Cancelled,
    /// The server cannot wait any longer.
    Cut,
    /// The same, and the work had not begun.
    NoTurn,
}

/// An unanswered request.
#[derive(Debug)]
pub(super) struct Pending {
    reply: Reply,
    /// Bytes of the request, which its work holds.
    bytes: usize,
    run: Run,
    /// Present when its work may have to wait for its place.
    begun: Option<Begun>,
    /// The topic whose order it keeps.
    ordered: Option<Arc<str>>,
    stop: Option<Stop>,
}

/// Work that was begun, or is to begin.
pub(super) enum Going {
    /// A task is to be made of it; it may say when it begins.
    Beside(Work, Option<Begun>),
    /// It has begun here.
    Here(Hosted),
}

/// Where the work on a request is.
#[derive(Debug)]
enum Run {
    /// It waits for its turn.
    Waits,
    /// A task of its own.
    Beside(AbortHandle),
    /// The connection runs it.
    Here(Hosted),
    /// It was stopped.
    Over,
}

/// Unanswered requests by their number.
pub(super) type Table = HashMap<u16, Pending, BuildHasherDefault<SeqHasher>>;

/// A call that waits until an earlier one to its topic is answered.
#[derive(Debug)]
pub(super) struct Waiting<R> {
    pub(super) seq: u16,
    pub(super) route: R,
    pub(super) call: OwnedCall,
}

/// The unanswered requests of one connection.
#[derive(Debug)]
pub(super) struct Works<R> {
    pending: Table,
    /// By topic: one that runs, and those behind it.
    ordered: HashMap<Arc<str>, VecDeque<Waiting<R>>>,
    bytes: usize,
    /// Not after the first deadline of work that the connection runs.
    due: Option<Instant>,
}

impl<R> Default for Works<R> {
    fn default() -> Works<R> {
        Works {
            pending: Table::default(),
            ordered: HashMap::new(),
            bytes: 0,
            due: None,
        }
    }
}

impl<R> Works<R> {
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

    /// Notes a request whose work is to be [run](Works::run).
    pub(super) fn add(&mut self, reply: Reply, bytes: usize, ordered: Option<&str>) {
        let ordered = ordered.map(Arc::<str>::from);
        if let Some(topic) = &ordered {
            self.ordered.entry(Arc::clone(topic)).or_default();
        }
        self.bytes += bytes;
        let seq = reply.head.seq;
        if self.pending.capacity() == 0 {
            self.pending = buffers::take_table();
        }
        self.pending.insert(
            seq,
            Pending {
                reply,
                bytes,
                run: Run::Waits,
                begun: None,
                ordered,
                stop: None,
            },
        );
    }

    /// Notes a request that waits for its turn.
    pub(super) fn wait(&mut self, reply: Reply, bytes: usize, topic: &str, waiting: Waiting<R>) {
        self.add(reply, bytes, Some(topic));
        if let Some(queue) = self.ordered.get_mut(topic) {
            queue.push_back(waiting);
        }
    }

    /// Sees to the work of a request that was added; it must be answered by `deadline`. What does not
    /// go on here starts on `background`.
    pub(super) fn run(
        &mut self,
        seq: u16,
        going: Going,
        deadline: Instant,
        mailbox: &Arc<Mailbox>,
        background: &Handle,
    ) {
        let Some(pending) = self.pending.get_mut(&seq) else {
            return;
        };
        match going {
            Going::Here(work) => {
                self.due = Some(self.due.map_or(deadline, |due| due.min(deadline)));
                pending.run = Run::Here(work);
            }
            Going::Beside(work, begun) => {
                let completion = Completion {
                    seq,
                    answer: None,
                    mailbox: Arc::clone(mailbox),
                };
                let task = background.spawn(run(work, deadline, completion));
                (pending.run, pending.begun) = (Run::Beside(task.abort_handle()), begun);
            }
        }
    }

    /// Lets the work on a request go on that was woken; `Ready` when it is to be
    /// [ended](Works::end), by its answer or because it broke.
    pub(super) fn poll(&mut self, seq: u16) -> Poll<Option<Answer<'static>>> {
        match self.pending.get_mut(&seq).map(|pending| &mut pending.run) {
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
        for (seq, pending) in &self.pending {
            let Run::Here(work) = &pending.run else {
                continue;
            };
            let deadline = work.deadline();
            match deadline <= now {
                true => over.push(*seq),
                false => self.due = Some(self.due.map_or(deadline, |due| due.min(deadline))),
            }
        }
        over
    }

    /// Asks for the work on `seq` to stop. Work that runs reports when it has; for a request that
    /// still waits for its turn the mail comes at once, as there is nothing to wait for.
    pub(super) fn stop(&mut self, seq: u16, why: Stop, mailbox: &Mailbox) {
        let Some(pending) = self.pending.get_mut(&seq) else {
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
        let all: Vec<u16> = self.pending.keys().copied().collect();
        for seq in all {
            self.stop(seq, why, mailbox);
        }
    }

    /// The work on `seq` has ended: how to answer it, why it was stopped if it was, and who is next
    /// on its topic.
    pub(super) fn end(&mut self, seq: u16) -> Option<(Reply, Option<Stop>, Option<Waiting<R>>)> {
        let pending = self.pending.remove(&seq)?;
        self.bytes -= pending.bytes;
        let ran = !matches!(pending.run, Run::Waits);
        let waited = pending.begun.is_some_and(|begun| !begun.is_set());
        let stop = match pending.stop {
            Some(Stop::Cut) if waited || !ran => Some(Stop::NoTurn),
            stop => stop,
        };
        let next = pending
            .ordered
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
        Some((pending.reply, stop, next))
    }
}

impl<R> Drop for Works<R> {
    /// A connection that is gone has nobody to answer: its work stops.
    fn drop(&mut self) {
        for pending in self.pending.values() {
            if let Run::Beside(task) = &pending.run {
                task.abort();
            }
        }
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
