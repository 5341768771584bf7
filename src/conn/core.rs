//! A connection without its socket: frames and mail in, lanes filled.

use super::answer::{self, Head};
use super::buffers;
use super::lanes::Lanes;
use super::later::stopped;
use super::mailbox::{Mail, Order};
use super::pending::{Reply, Stop, Waiting};
use super::registry::Member;
use super::settings::ConnSettings;
use super::work::{Bounds, Going, Works};
use super::{Dispatch, Refusal, Route};
use crate::message::{Answer, Call, Certificate, Outcome, OwnedCall, Peer};
use crate::telemetry::{Batch, ConnMetrics, Record, Tally};
use mcpd_proto::session::{Admitted, Ended, LinkReport, Server, ServerEvent};
use mcpd_proto::{ErrorCode, ErrorFrame, GoAwayReason, Kind, MetaBuf, RawFrame, Request};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::Sleep;

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Shared<D> {
    pub(super) dispatch: D,
    pub(super) metrics: Arc<ConnMetrics>,
    /// Where timers tick and work that is answered later runs.
    ///
    /// Not on the threads of the connections: a loop that waits for sockets alone sleeps without a
    /// timeout, which saves a tenth of the cost of a lone request, and a handler that blocks holds
    /// up no connection.
    pub(super) background: Handle,
}

impl<D> Shared<D> {
    pub(super) fn sleep_until(&self, deadline: Instant) -> Pin<Box<Sleep>> {
        let _on = self.background.enter();
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }

    /// Runs what may ask for timers or tasks: it gets those of `background`.
    pub(super) fn in_time<R>(&self, run: impl FnOnce() -> R) -> R {
        let _on = self.background.enter();
        run()
    }
}

/// One connection's state, apart from the socket, the deframer and the timer.
pub(super) struct Core<D: Dispatch> {
    pub(super) shared: Arc<Shared<D>>,
    pub(super) settings: Arc<ConnSettings>,
    pub(super) session: Server,
    pub(super) works: Works<D::Route>,
    /// Present while something waits to be written.
    pub(super) lanes: Option<Box<Lanes>>,
    pub(super) peer: Arc<Peer>,
    /// Whether it is settled who that is, which the first frame does.
    pub(super) is_met: bool,
    /// Whether nobody on the way can read it.
    pub(super) is_encrypted: bool,
    /// What its TLS handshake has shown.
    pub(super) certificate: Option<Box<Certificate>>,
    /// When its credential expires.
    pub(super) expires_at: Option<Instant>,
    /// Whether the client has reported an error.
    pub(super) peer_complained: bool,
    /// Requests so far.
    pub(super) requests: u64,
    pub(super) member: Member,
}

impl<D: Dispatch> Core<D> {
    #[inline]
    pub(super) fn lanes(&mut self) -> &mut Lanes {
        self.lanes.get_or_insert_with(buffers::take_lanes)
    }

    /// Bytes that wait to be written.
    #[inline]
    pub(super) fn outbound_len(&self) -> usize {
        self.lanes.as_ref().map_or(0, |lanes| lanes.len())
    }

    /// Whether there is room for the work and the answers of another frame, when `outbound` bytes wait
    /// to be written. There is none until a HELLO is decided.
    #[inline]
    pub(super) fn has_room(&self, outbound: usize) -> bool {
        outbound <= self.settings.max_outbound_bytes
            && self.works.bytes() <= self.settings.max_in_flight_bytes
            && !self.session.is_deciding()
    }

    /// Whether everything the client may still expect is answered and it was told to expect no more.
    pub(super) fn is_drained(&self) -> bool {
        self.session.is_refusing() && self.works.is_empty()
    }

    /// Takes one frame, which `waited` since it was read.
    ///
    /// # Errors
    /// The connection must end.
    #[inline]
    pub(super) fn frame<'t>(
        &mut self,
        raw: &RawFrame<'_>,
        waited: Duration,
        lanes: &mut Lanes,
        table: &'t D::Table,
        batch: &mut Batch<'t>,
    ) -> Result<(), Ended> {
        batch.frame(raw);
        let session = &mut self.session;
        let event = lanes.control(|control| session.receive(raw, batch.began(), control))?;
        if !self.is_met && !session.is_deciding() {
            self.meet()?;
        }
        // Looked at where it is: moving it out would copy it for every request.
        if let ServerEvent::Request(admitted) = &event {
            self.requests += 1;
            self.request(admitted, waited, lanes, table, batch);
            return Ok(());
        }
        self.event(event, lanes, batch)?;
        self.trace_control(raw, batch);
        Ok(())
    }

    #[inline]
    fn request<'t>(
        &mut self,
        admitted: &Admitted<'_>,
        waited: Duration,
        lanes: &mut Lanes,
        table: &'t D::Table,
        batch: &mut Batch<'t>,
    ) {
        let (request, topic) = (&admitted.request, admitted.topic);
        let mut call = Call::new(request, topic, batch.began(), waited, &self.peer);
        let refusing = self.session.is_refusing();
        let peer_max = self.session.peer_max_payload();
        let route = match self.shared.dispatch.route(table, &mut call, refusing) {
            Ok(route) => route,
            Err(refusal) => return self.refuse(&refusal, request, &call, lanes, batch),
        };
        if call.peer.identity.is_some() {
            batch.permitted();
        }
        let mut head = Head::of(request).routed(route, call.priority);
        let tracer = &self.shared.metrics.tracer;
        let span = tracer.head(&mut head.trace, route.stats(), call.peer, call.received);
        if span.is_some() {
            batch.sampled();
        }
        (call.span, call.limit) = (span.as_ref(), route.timeout());
        if route.is_ordered() && self.works.is_busy(topic.as_str()) {
            let waiting = Waiting {
                seq: head.seq,
                route: route.clone(),
                call: OwnedCall::from(&call),
            };
            let record = Record::new(&call, head.trace, route.stats());
            let reply = Reply::new(head, record, call.peer);
            self.works
                .wait(reply, request.encoded_len(), topic.as_str(), waiting);
            return self.session.begin(head.seq);
        }
        let (shared, mailbox) = (&*self.shared, &self.member.mailbox);
        let bells = &mut self.works.bells;
        let ran = guarded(|| match route.call(&call) {
            Outcome::Now(answer) => Ran::Answered(answer::put(lanes, &head, &answer, peer_max)),
            outcome => {
                let deadline = call.deadline();
                match Self::begin(shared, bells, mailbox, head.seq, outcome, deadline) {
                    Ok(going) => Ran::Later(going),
                    Err(answer) => Ran::Answered(answer::put(lanes, &head, &answer, peer_max)),
                }
            }
        });
        let code = match ran {
            Some(Ran::Answered(code)) => code,
            Some(Ran::Later(going)) => {
                let reply = || {
                    let record = Record::new(&call, head.trace, route.stats());
                    Reply::new(head, record, call.peer)
                };
                let ordered = route.is_ordered().then(|| topic.as_str());
                let bounds = Bounds {
                    deadline: call.deadline(),
                    mailbox,
                    background: &shared.background,
                };
                let bytes = request.encoded_len();
                self.works
                    .begin(head.seq, reply, bytes, ordered, going, bounds);
                return self.session.begin(head.seq);
            }
            None => answer::put(lanes, &head, &stopped(None), peer_max),
        };
        batch.answered(Some(route.stats()), code, &self.shared.metrics);
        let tracer = &self.shared.metrics.tracer;
        if tracer.tells(code, call.span.is_some(), batch.is_verbose()) {
            let record = Record::new(&call, head.trace, route.stats());
            tracer.ended(record.end(code, Instant::now(), Some(&self.peer)));
        }
    }

    /// Answers a request that is not run.
    #[cold]
    fn refuse<'t>(
        &self,
        refusal: &Refusal<'t>,
        request: &Request<'_>,
        call: &Call<'_>,
        lanes: &mut Lanes,
        batch: &mut Batch<'t>,
    ) {
        let mut head = Head {
            revision: refusal.revision,
            ..Head::of(request)
        };
        let metrics = &self.shared.metrics;
        let stats = refusal.stats.unwrap_or_else(|| metrics.routes.none());
        let tracer = &metrics.tracer;
        let span = tracer.head(&mut head.trace, stats, call.peer, call.received);
        let peer_max = self.session.peer_max_payload();
        let code = answer::put(lanes, &head, &refusal.answer, peer_max);
        batch.refused(refusal.stats, code, metrics);
        if metrics
            .tracer
            .tells(code, span.is_some(), batch.is_verbose())
        {
            let call = Call {
                span: span.as_ref(),
                ..*call
            };
            let record = Record::new(&call, head.trace, stats);
            metrics
                .tracer
                .ended(record.end(code, Instant::now(), Some(&self.peer)));
        }
    }

    /// A frame that is no request was taken.
    #[inline]
    fn trace_control(&self, raw: &RawFrame<'_>, batch: &Batch<'_>) {
        let (metrics, kind) = (&self.shared.metrics, raw.header.kind);
        if kind != Some(Kind::Request) {
            let (none, began) = (metrics.routes.none(), batch.began());
            let verbose = batch.is_verbose();
            metrics
                .tracer
                .control(kind, &self.peer, none, began, verbose);
        }
    }

    fn event(
        &mut self,
        event: ServerEvent<'_>,
        lanes: &mut Lanes,
        batch: &mut Batch<'_>,
    ) -> Result<(), Ended> {
        match event {
            ServerEvent::Refused(request, code, text) => {
                let answer = Answer::error(code, text);
                let peer_max = self.session.peer_max_payload();
                let (metrics, mut head) = (&self.shared.metrics, Head::of(&request));
                let (none, began) = (metrics.routes.none(), batch.began());
                let tracer = &metrics.tracer;
                let span = tracer.head(&mut head.trace, none, &self.peer, began);
                let code = answer::put(lanes, &head, &answer, peer_max);
                batch.refused(None, code, metrics);
                if metrics
                    .tracer
                    .tells(code, span.is_some(), batch.is_verbose())
                {
                    let record = Record::refused(none, began, span);
                    metrics
                        .tracer
                        .ended(record.end(code, Instant::now(), Some(&self.peer)));
                }
            }
            ServerEvent::Cancel(seq) => {
                self.works.stop(seq, Stop::Cancelled, &self.member.mailbox);
            }
            ServerEvent::Hello(hello) => self.hello(&hello, lanes)?,
            ServerEvent::Link(report) => self.report(report),
            ServerEvent::PeerError(code, text) => self.peer_error(code, text),
            // There is no memory of outcomes without a journal, so there is nothing to forget.
            ServerEvent::Confirm(_) | ServerEvent::None | ServerEvent::Request(_) => {}
        }
        Ok(())
    }

    /// Logs what the client has to say. The first time is news; after that a client could fill the
    /// log at the pace of its control frames.
    fn peer_error(&mut self, code: ErrorCode, text: &str) {
        let (connection, text) = (self.peer.connection, text.escape_debug());
        if std::mem::replace(&mut self.peer_complained, true) {
            tracing::debug!(connection, %code, %text, "the client reports another error");
        } else {
            tracing::info!(connection, %code, %text, "the client reports an error");
        }
    }

    /// What has come for this connection, if anything has.
    #[inline]
    pub(super) fn take_mail(&self) -> Option<Vec<Mail>> {
        let mail = self.member.mailbox.take();
        (!mail.is_empty()).then_some(mail)
    }

    /// Deals with mail; `closing` says that the end of the connection has begun.
    ///
    /// # Errors
    /// The connection must end.
    pub(super) fn mail(
        &mut self,
        mail: Vec<Mail>,
        now: Instant,
        closing: bool,
    ) -> Result<(), Ended> {
        let background = self.shared.background.clone();
        let _on = background.enter();
        let mut tally = Tally::default();
        for mail in mail {
            match mail {
                // Whoever asked may have lost their patience.
                Mail::Describe(reply) => drop(reply.send(self.describe(now, closing))),
                Mail::Done(seq, answer) => self.ended(seq, Some(answer), now, &mut tally),
                Mail::Stopped(seq) => self.ended(seq, None, now, &mut tally),
                Mail::Woken(seq) => self.woken(seq, now, &mut tally),
                Mail::Order(order) => self.order(order, now),
                Mail::Decided(_) if closing => {}
                Mail::Decided(decided) => self.decided(*decided)?,
            }
        }
        Ok(())
    }

    fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::GoAway {
                reason,
                retry_after,
                refuse_at,
            } => {
                self.go_away(reason, retry_after, refuse_at);
            }
            Order::Finish => {
                self.go_away(GoAwayReason::Draining, Duration::ZERO, now);
                self.session.refuse_new();
            }
            Order::Cut => {
                self.session.refuse_new();
                self.works.stop_all(Stop::Cut, &self.member.mailbox);
            }
        }
    }

    /// Asks the client to move, once.
    pub(super) fn go_away(&mut self, reason: GoAwayReason, retry_after: Duration, at: Instant) {
        let lanes = self.lanes.get_or_insert_with(buffers::take_lanes);
        let text = match reason {
            GoAwayReason::Draining => "the server is going to stop",
            GoAwayReason::MaxAge => "the connection has reached its greatest age",
            GoAwayReason::Rebalance => "another server has more room",
            GoAwayReason::Reauthenticate => "show your credentials again",
        };
        let wait = (!retry_after.is_zero()).then_some(retry_after);
        let session = &mut self.session;
        if lanes.control(|control| session.go_away(reason, text, wait, at, control)) {
            self.shared.metrics.goaway(reason);
        }
    }

    /// Does what the session has to do by now.
    ///
    /// # Errors
    /// The connection must end.
    pub(super) fn on_deadline(&mut self, now: Instant) -> Result<(), Ended> {
        self.expire(now);
        self.rest();
        let lanes = self.lanes.get_or_insert_with(buffers::take_lanes);
        let session = &mut self.session;
        if let Some(report) = lanes.control(|control| session.on_deadline(now, control))? {
            self.report(report);
        }
        Ok(())
    }

    fn report(&self, report: LinkReport) {
        match report {
            LinkReport::RoundTrip(time) => self.shared.metrics.heartbeat_rtt(time),
            LinkReport::Miss => self.shared.metrics.heartbeat_miss(),
        }
    }

    /// Queues the last frame.
    pub(super) fn queue_last(&mut self, ended: &Ended) {
        let detail = ended.text.as_bytes();
        let mut meta = MetaBuf::new();
        if let Some(wait) = ended.retry_after {
            meta.set_retry_after(wait);
        }
        let meta = meta.view();
        let mut frame = ErrorFrame {
            seq: 0,
            priority: 0,
            code: ended.code,
            detail,
            meta,
        };
        answer::fit(&mut frame, self.session.peer_max_payload());
        let lanes = self.lanes.get_or_insert_with(buffers::take_lanes);
        lanes.control(|out| frame.encode(out));
    }

    /// Tells how many requests are in flight, and gives memory back that others can use: at the end of a turn.
    #[inline]
    pub(super) fn release(&mut self) {
        self.works.count();
        if let Some(lanes) = self.lanes.take_if(|lanes| lanes.is_empty()) {
            buffers::give_back(lanes);
        }
        if self.works.is_empty() {
            self.works.release();
        }
    }

    /// Gives memory back that an idle connection does not need, and that would be missed between two of
    /// its requests: to be called now and then.
    fn rest(&mut self) {
        if self.works.is_empty() {
            self.works.bells.release();
            self.session.release();
        }
    }
}

/// What became of a call.
enum Ran {
    /// It was answered in place, with this code.
    Answered(Option<ErrorCode>),
    Later(Going),
}

/// Calls a handler; a panic, which gives `None`, is the end of this request alone.
#[inline]
pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
