//! Requests whose answer comes later: their tasks, and the order in which they may run.

use super::answer::Head;
use super::mailbox::{Mail, Mailbox};
use crate::message::{Answer, Begun, InFlight as Place, OwnedCall, Peer, Work};
use crate::telemetry::{ConnMetrics, InFlight, Record};
use mcpd_proto::ErrorCode;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
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

#[derive(Debug)]
struct Pending {
    reply: Reply,
    /// Bytes of the request, which its work holds.
    bytes: usize,
    /// `None` while it waits for its turn.
    task: Option<AbortHandle>,
    /// Present when its work may have to wait for its place.
    begun: Option<Begun>,
    /// The topic whose order it keeps.
    ordered: Option<Arc<str>>,
    stop: Option<Stop>,
}

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
    pending: HashMap<u16, Pending>,
    /// By topic: one that runs, and those behind it.
    ordered: HashMap<Arc<str>, VecDeque<Waiting<R>>>,
    bytes: usize,
}

impl<R> Default for Works<R> {
    fn default() -> Works<R> {
        Works {
            pending: HashMap::new(),
            ordered: HashMap::new(),
            bytes: 0,
        }
    }
}

impl<R> Works<R> {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
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
        self.pending.insert(
            seq,
            Pending {
                reply,
                bytes,
                task: None,
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

    /// Starts the work of a request that was added, on `background`; it must be answered by
    /// `deadline`.
    pub(super) fn run(
        &mut self,
        seq: u16,
        work: Work,
        begun: Option<Begun>,
        deadline: Instant,
        mailbox: &Arc<Mailbox>,
        background: &Handle,
    ) {
        let Some(pending) = self.pending.get_mut(&seq) else {
            return;
        };
        let completion = Completion {
            seq,
            answer: None,
            mailbox: Arc::clone(mailbox),
        };
        let task = background.spawn(run(work, deadline, completion));
        (pending.task, pending.begun) = (Some(task.abort_handle()), begun);
    }

    /// Asks for the work on `seq` to stop. Work that runs reports when it has; for a request that
    /// still waits for its turn the mail comes at once, as there is nothing to wait for.
    pub(super) fn stop(&mut self, seq: u16, why: Stop, mailbox: &Mailbox) {
        let Some(pending) = self.pending.get_mut(&seq) else {
            return;
        };
        if pending.stop.replace(why).is_some() {
            return;
        }
        match &pending.task {
            Some(task) => task.abort(),
            None => {
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
        let ran = pending.task.is_some();
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
            // An idle connection keeps no tables.
            (self.pending, self.ordered) = (HashMap::new(), HashMap::new());
        }
        Some((pending.reply, stop, next))
    }
}

impl<R> Drop for Works<R> {
    /// A connection that is gone has nobody to answer: its work stops.
    fn drop(&mut self) {
        for pending in self.pending.values() {
            if let Some(task) = &pending.task {
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
        Err(_) => Answer::error(
            ErrorCode::DEADLINE_EXCEEDED,
            "the handler did not answer in time",
        ),
    };
    completion.answer = Some(answer);
}
