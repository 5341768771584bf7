//! What is kept of a request until it is answered.

use super::answer::Head;
use super::buffers;
use super::hosted::Hosted;
use crate::message::{Begun, InFlight as Place, OwnedCall, Peer};
use crate::telemetry::Record;
use mcpd_proto::session::SeqTable;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// How an answer is put together once it is there.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Head,
    /// What its counts, its span and its log line will tell.
    pub(super) record: Record,
    /// Among the requests that its sender may have under way.
    _place: Option<Place>,
}

impl Reply {
    #[inline(always)]
    pub(super) fn new(head: Head, record: Record, peer: &Peer) -> Reply {
        let _place = peer.identity.as_ref().map(|identity| identity.enter());
        Reply {
            head,
            record,
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

/// A piece of memory for an unanswered request: it is not small, and copied no more often than it must be.
#[derive(Debug, Default)]
pub(super) struct Desk(Box<Option<Pending>>);

impl Desk {
    #[inline]
    pub(super) fn get(&self) -> Option<&Pending> {
        (*self.0).as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> Option<&mut Pending> {
        (*self.0).as_mut()
    }

    #[inline]
    pub(super) fn put(&mut self, pending: Pending) {
        *self.0 = Some(pending);
    }

    fn take(&mut self) -> Option<Pending> {
        self.0.take()
    }

    /// Drops what is there where it is: moving it would copy it.
    fn clear(&mut self) {
        *self.0 = None;
    }
}

/// An unanswered request.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) reply: Reply,
    /// Bytes of the request, which its work holds.
    pub(super) bytes: usize,
    pub(super) run: Run,
    /// Present when its work may have to wait for its place.
    pub(super) begun: Option<Begun>,
    /// The topic whose order it keeps.
    pub(super) ordered: Option<Arc<str>>,
    pub(super) stop: Option<Stop>,
}

/// Where the work on a request is.
#[derive(Debug)]
pub(super) enum Run {
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
pub(super) type Table = SeqTable<Desk>;

/// A request whose work has ended.
pub(super) struct Over<R> {
    pub(super) desk: Desk,
    /// Why it was stopped, if it was.
    pub(super) stop: Option<Stop>,
    /// Who is next on its topic.
    pub(super) next: Option<Box<Waiting<R>>>,
}

impl<R> Over<R> {
    /// How to answer it.
    pub(super) fn reply(&self) -> Option<&Reply> {
        self.desk.get().map(|pending| &pending.reply)
    }

    /// It is answered; whoever wants to hear of it is told. Gives who is next.
    pub(super) fn answered(mut self, tell: Option<impl FnOnce(Record)>) -> Option<Box<Waiting<R>>> {
        if let Some(tell) = tell
            && let Some(pending) = self.desk.take()
        {
            tell(pending.reply.record);
        }
        self.desk.clear();
        buffers::give_desk_back(self.desk);
        self.next
    }
}

/// A call that waits until an earlier one to its topic is answered.
#[derive(Debug)]
pub(super) struct Waiting<R> {
    pub(super) seq: u16,
    pub(super) route: R,
    pub(super) call: OwnedCall,
}
