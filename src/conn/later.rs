//! Requests that are answered later: how their work begins, goes on and ends.

use super::Dispatch;
use super::Route;
use super::answer;
use super::core::{Core, Shared, guarded};
use super::hosted::{Bells, Hosted};
use super::mailbox::Mailbox;
use super::pending::{Stop, Waiting};
use super::work::{Bounds, Going};
use crate::message::{Answer, Outcome};
use crate::telemetry::{Record, Tally};
use mcpd_proto::ErrorCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

impl<D: Dispatch> Core<D> {
    /// Begins what a handler wants to do; gives its answer if that is there at once.
    ///
    /// # Errors
    /// There is nothing to wait for: the answer.
    #[inline(never)]
    pub(super) fn begin<'a>(
        shared: &Shared<D>,
        bells: &mut Bells,
        mailbox: &Arc<Mailbox>,
        seq: u16,
        outcome: Outcome<'a>,
        deadline: Instant,
    ) -> Result<Going, Answer<'a>> {
        let work = match outcome {
            Outcome::Now(answer) => return Err(answer),
            Outcome::Later(work) => return Ok(Going::Beside(work, None)),
            Outcome::Waiting(work, begun) => return Ok(Going::Beside(work, Some(begun))),
            Outcome::Here(work) => work,
        };
        let mut work = Hosted::new(work, seq, deadline, bells, mailbox);
        match work.begin(&shared.background) {
            Poll::Pending => Ok(Going::Here(work)),
            Poll::Ready(answer) => {
                work.end(bells);
                Err(answer.unwrap_or_else(|| stopped(None)))
            }
        }
    }

    /// Work that this connection runs can go on. To be called where it finds its timers.
    pub(super) fn woken(&mut self, seq: u16, now: Instant, tally: &mut Tally) {
        if let Poll::Ready(answer) = self.works.poll(seq) {
            self.ended(seq, answer, now, tally);
        }
    }

    /// Ends the work that this connection runs and whose time is over: it may have a word to say.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut tally = Tally::default();
        for seq in self.works.overdue(now) {
            let works = &mut self.works;
            let last = self.shared.in_time(|| works.poll(seq));
            let late = || Answer::error(ErrorCode::DEADLINE_EXCEEDED, TOO_LATE);
            let answer = match last {
                Poll::Ready(answer) => answer,
                Poll::Pending => Some(late()),
            };
            self.ended(seq, answer, now, &mut tally);
        }
    }

    /// The work on `seq` has ended: answers it, and starts those that waited for it.
    pub(super) fn ended(
        &mut self,
        seq: u16,
        answer: Option<Answer<'static>>,
        now: Instant,
        tally: &mut Tally,
    ) {
        let mut ended = Some((seq, answer));
        while let Some((seq, answer)) = ended.take() {
            let Some(over) = self.works.end(seq) else {
                return;
            };
            self.session.finish(seq);
            let Some(reply) = over.reply() else { return };
            let answer = answer.unwrap_or_else(|| stopped(over.stop));
            let peer_max = self.session.peer_max_payload();
            let code = answer::put(self.lanes(), &reply.head, &answer, peer_max);
            let (record, tracer) = (&reply.record, &self.shared.metrics.tracer);
            let time = now.saturating_duration_since(record.received);
            tally.add(&record.stats, code, time);
            let tells = tracer.tells(code, record.span.is_some(), tracer.is_verbose());
            let next =
                over.answered((tells || tracer.is_slow(time)).then_some(|record: Record| {
                    // Work that was seen through just now has ended later than `now`, and its span lies in this one.
                    tracer.ended(record.end(code, Instant::now(), Some(&self.peer)));
                }));
            ended = next.and_then(|waiting| self.start(&waiting, now));
        }
    }

    /// Runs a call whose turn has come; gives its answer if that is there at once.
    fn start(
        &mut self,
        waiting: &Waiting<D::Route>,
        now: Instant,
    ) -> Option<(u16, Option<Answer<'static>>)> {
        let Waiting { seq, route, call } = waiting;
        let Some(call) = call.as_call() else {
            return Some((*seq, None));
        };
        let deadline = call.deadline();
        if now >= deadline {
            let text = "its time was over before its turn came";
            return Some((*seq, Some(Answer::error(ErrorCode::EXPIRED, text))));
        }
        let (shared, mailbox) = (&*self.shared, &self.member.mailbox);
        let bells = &mut self.works.bells;
        match guarded(|| Self::begin(shared, bells, mailbox, *seq, route.call(&call), deadline)) {
            Some(Ok(going)) => {
                let bounds = Bounds {
                    deadline,
                    mailbox,
                    background: &shared.background,
                };
                self.works.run(*seq, going, bounds);
                None
            }
            Some(Err(answer)) => Some((*seq, Some(answer.into_owned()))),
            None => Some((*seq, None)),
        }
    }
}

/// What a request is told that was not answered in its time.
pub(super) const TOO_LATE: &str = "the handler did not answer in time";

/// The answer to a request whose work stopped without one.
pub(super) fn stopped(why: Option<Stop>) -> Answer<'static> {
    match why {
        Some(Stop::Cancelled) => Answer::error(ErrorCode::CANCELLED, "cancelled by the client"),
        // Unlike work that is cut off, this may be said not to have run.
        Some(Stop::NoTurn) => {
            let text = "the server stops before its turn has come";
            Answer::error(ErrorCode::DRAINING, text)
        }
        Some(Stop::Cut) => {
            let text = "the server stopped before the handler answered";
            Answer::error(ErrorCode::DEADLINE_EXCEEDED, text)
        }
        None => Answer::error(ErrorCode::INTERNAL, "the handler broke"),
    }
}
