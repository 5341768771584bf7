//! The server's end of a connection.

use super::Ended;
use super::budget::Budget;
use super::event::{Admitted, ServerEvent};
use super::link::{Link, LinkReport};
use super::seq_table::SeqTable;
use super::settings::{ServerSettings, Welcome};
use crate::code::ErrorCode;
use crate::deframe::{RawFrame, Rules};
use crate::frame::{Frame, GoAway, GoAwayReason, Hello, Request};
use crate::header::{Kind, Side};
use crate::limits::{CLIENT_MAX_PAYLOAD, HEADER_LEN, MAX_DEMANDED_HELLO_LEN};
use crate::meta::MetaBuf;
use crate::topic::Topic;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was received.
    Opening,
    /// A HELLO waits for a decision.
    Deciding(u16),
    Open,
}

/// The server's end of a connection: see [`crate::session`].
#[derive(Debug)]
pub struct Server {
    settings: Arc<ServerSettings>,
    state: State,
    hello_by: Option<Instant>,
    in_flight: SeqTable<()>,
    link: Link,
    control: Budget,
    peer_max_payload: u32,
    /// New requests are refused with DRAINING from then on.
    refuse_at: Option<Instant>,
    refusing: bool,
}

impl Server {
    /// A connection accepted at `now`.
    pub fn new(settings: Arc<ServerSettings>, now: Instant) -> Server {
        Server {
            state: State::Opening,
            hello_by: settings.demand_hello.map(|within| now + within),
            in_flight: SeqTable::default(),
            link: Link::new(settings.heartbeat, now),
            control: Budget::new(now),
            peer_max_payload: CLIENT_MAX_PAYLOAD,
            refuse_at: None,
            refusing: false,
            settings,
        }
    }

    /// Demands a HELLO by then, of this connection alone; to be called before its first frame.
    pub fn demand_hello(&mut self, by: Instant) {
        if self.state == State::Opening {
            self.hello_by = Some(self.hello_by.map_or(by, |before| before.min(by)));
        }
    }

    /// What to hold the next frame against. Before a demanded HELLO only a small frame is taken.
    #[inline]
    pub fn rules(&self) -> Rules {
        let max = if self.hello_by.is_some() {
            MAX_DEMANDED_HELLO_LEN
        } else {
            self.settings.max_payload
        };
        Rules {
            side: Side::Server,
            max_payload: max,
            frame_timeout: self.settings.frame_timeout,
        }
    }

    /// Bytes were read at `now`; once per read, before its frames.
    #[inline]
    pub fn bytes_received(&mut self, now: Instant) {
        self.link.received(now);
    }

    /// Bytes were written at `now`; once per write.
    #[inline]
    pub fn bytes_sent(&mut self, now: Instant) {
        self.link.sent(now);
    }

    /// Takes a frame. Frames that must go out at once are appended to `control`.
    ///
    /// # Errors
    /// The connection must end: send the code with `seq_id` 0, flush, close.
    #[inline(always)]
    pub fn receive<'a>(
        &mut self,
        raw: &RawFrame<'a>,
        now: Instant,
        control: &mut Vec<u8>,
    ) -> Result<ServerEvent<'a>, Ended> {
        if self.state != State::Open {
            self.first_frame(raw.header.kind, now)?;
        }
        // The request may be faster than the timer.
        self.refusing |= self.refuse_at.is_some_and(|at| now >= at);
        if raw.header.kind == Some(Kind::Request) {
            return self.request(Request::decode(&raw.header, raw.payload)?);
        }
        self.other(*raw, now, control)
    }

    /// Checks the order of frames while the connection is not open yet.
    fn first_frame(&mut self, kind: Option<Kind>, now: Instant) -> Result<(), Ended> {
        let is_hello = kind == Some(Kind::Hello);
        if self.state == State::Opening {
            // The frame may be faster than the timer.
            self.check_hello_time(now)?;
        }
        match self.state {
            State::Opening if self.hello_by.is_some() && !is_hello => {
                let text = "the first frame must be a HELLO";
                Err(Ended::new(ErrorCode::UNAUTHENTICATED, text))
            }
            State::Opening if !is_hello => {
                self.state = State::Open;
                Ok(())
            }
            State::Deciding(_) => Err(Ended::new(
                ErrorCode::PROTOCOL_ERROR,
                "a frame came before HELLO was decided",
            )),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn request<'a>(&mut self, request: Request<'a>) -> Result<ServerEvent<'a>, Ended> {
        self.link.used();
        match Topic::parse(request.topic) {
            Ok(topic)
                if !topic.is_reserved()
                    && request.meta.unknown_critical().is_none()
                    && self.in_flight.len() < usize::from(self.settings.max_in_flight)
                    && !self.in_flight.contains(request.seq) =>
            {
                Ok(ServerEvent::Request(Admitted { request, topic }))
            }
            _ => self.refuse(request),
        }
    }

    /// Says what is wrong with a request, the first thing in the protocol's order.
    #[cold]
    #[inline(never)]
    fn refuse<'a>(&self, request: Request<'a>) -> Result<ServerEvent<'a>, Ended> {
        if self.in_flight.contains(request.seq) {
            let text = format!("seq_id {} is still unanswered", request.seq);
            return Err(Ended::new(ErrorCode::PROTOCOL_ERROR, text));
        }
        let (code, text) = match (Topic::parse(request.topic), request.meta.unknown_critical()) {
            (Err(error), _) => (ErrorCode::INVALID_REQUEST, error.to_string()),
            (Ok(topic), _) if topic.is_reserved() => (
                ErrorCode::INVALID_REQUEST,
                "a first level that starts with `$` is reserved".to_owned(),
            ),
            (_, Some(tag)) => (
                ErrorCode::UNSUPPORTED,
                format!("critical metadata tag 0x{tag:02x} is not understood"),
            ),
            _ => (
                ErrorCode::TOO_MANY_IN_FLIGHT,
                format!("{} requests are unanswered", self.settings.max_in_flight),
            ),
        };
        Ok(ServerEvent::Refused(request, code, text))
    }

    #[inline(never)]
    fn other<'a>(
        &mut self,
        raw: RawFrame<'a>,
        now: Instant,
        control: &mut Vec<u8>,
    ) -> Result<ServerEvent<'a>, Ended> {
        let frame = Frame::decode(&raw.header, raw.payload, Side::Server)?;
        if let Frame::Hello(hello) = frame {
            return self.hello(hello);
        }
        if !self.control.take(now, self.settings.control_per_second) {
            let text = format!(
                "over {} control frames a second",
                self.settings.control_per_second
            );
            return Err(Ended::new(ErrorCode::CALM_DOWN, text));
        }
        Ok(match frame {
            Frame::Heartbeat(beat) => self
                .link
                .heartbeat(&beat, now, control)
                .map_or(ServerEvent::None, ServerEvent::Link),
            Frame::Cancel(cancel) if self.in_flight.contains(cancel.seq) => {
                ServerEvent::Cancel(cancel.seq)
            }
            Frame::Confirm(confirm) => confirm
                .meta
                .message_id()
                .map_or(ServerEvent::None, ServerEvent::Confirm),
            Frame::Error(error) => ServerEvent::PeerError(error.code, error.text()),
            // Cancelling what is not there is ignored, and so are types that say they may be; the
            // header check has refused what a client may not send.
            _ => ServerEvent::None,
        })
    }

    fn hello<'a>(&mut self, hello: Hello<'a>) -> Result<ServerEvent<'a>, Ended> {
        if self.state != State::Opening {
            let text = "HELLO may only be the first frame, once";
            return Err(Ended::new(ErrorCode::PROTOCOL_ERROR, text));
        }
        self.state = State::Deciding(hello.seq);
        if let Some(interval) = hello.meta.heartbeat() {
            self.link.peer_announces(interval);
        }
        if let Some(max) = hello.meta.max_payload() {
            self.peer_max_payload = max;
        }
        Ok(ServerEvent::Hello(hello))
    }

    fn check_hello_time(&self, now: Instant) -> Result<(), Ended> {
        match self.hello_by {
            Some(by) if now >= by => {
                Err(Ended::new(ErrorCode::UNAUTHENTICATED, "no HELLO in time"))
            }
            _ => Ok(()),
        }
    }

    /// Accepts the HELLO that waits for a decision and appends the answer; nothing if none waits.
    pub fn welcome(&mut self, welcome: Welcome, control: &mut Vec<u8>) {
        let State::Deciding(seq) = self.state else {
            return;
        };
        (self.state, self.hello_by) = (State::Open, None);
        let mut meta = MetaBuf::new();
        meta.set_heartbeat(self.link.announced());
        meta.set_max_payload(self.settings.max_payload);
        meta.set_max_in_flight(self.settings.max_in_flight);
        // Configuration keeps the id within its limit; a longer one is left out.
        let _ = meta.set_server_id(&self.settings.server_id);
        meta.set_incarnation(self.settings.incarnation);
        if let Some(seconds) = welcome.dedup_window_s {
            meta.set_dedup_window_s(seconds);
        }
        Hello {
            seq,
            reply: true,
            meta: meta.view(),
        }
        .encode(control);
        self.link.known_to_peer();
    }

    /// A request was dispatched and will be answered later: its `seq_id` is taken until
    /// [`Server::finish`].
    pub fn begin(&mut self, seq: u16) {
        self.in_flight.insert(seq, ());
    }

    /// The final answer to `seq` is on its way out; `false` if it was not in flight.
    pub fn finish(&mut self, seq: u16) -> bool {
        self.in_flight.remove(seq).is_some()
    }

    /// Requests begun and not finished.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Largest payload the client takes.
    #[inline]
    pub fn peer_max_payload(&self) -> u32 {
        self.peer_max_payload
    }

    /// Whether a HELLO waits for [`Server::welcome`]; no frame may be looked at until then.
    pub fn is_deciding(&self) -> bool {
        matches!(self.state, State::Deciding(_))
    }

    /// Asks the client to move; requests are served on until `refuse_at`. A later call may only
    /// bring that time forward; `false` if the client had been asked before.
    pub fn go_away(
        &mut self,
        reason: GoAwayReason,
        text: &str,
        retry_after: Option<Duration>,
        refuse_at: Instant,
        control: &mut Vec<u8>,
    ) -> bool {
        if let Some(before) = self.refuse_at {
            self.refuse_at = Some(before.min(refuse_at));
            return false;
        }
        self.refuse_at = Some(refuse_at);
        let mut meta = MetaBuf::new();
        if let Some(wait) = retry_after {
            meta.set_retry_after(wait);
        }
        let mut frame = GoAway {
            reason: reason as u16,
            text,
            meta: meta.view(),
        };
        if frame.encoded_len() - HEADER_LEN > self.peer_max_payload as usize {
            // The reason alone says what to do.
            frame.text = "";
        }
        frame.encode(control);
        true
    }

    /// New requests are refused with DRAINING from now on.
    pub fn refuse_new(&mut self) {
        self.refusing = true;
    }

    /// Whether new requests are refused with DRAINING.
    #[inline]
    pub fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// Whether the client was asked to move.
    pub fn is_going_away(&self) -> bool {
        self.refuse_at.is_some() || self.refusing
    }

    /// This side does not read for now; the peer's silence does not count.
    pub fn pause_reading(&mut self, now: Instant) {
        self.link.pause(now);
    }

    /// This side reads again.
    pub fn resume_reading(&mut self, now: Instant) {
        self.link.resume(now);
    }

    /// When [`Server::on_deadline`] has something to do. It may be early, never late.
    pub fn deadline(&self) -> Option<Instant> {
        let refuse = self.refuse_at.filter(|_| !self.refusing);
        let hello = self.hello_by.filter(|_| !self.is_deciding());
        self.link
            .deadline()
            .into_iter()
            .chain(refuse)
            .chain(hello)
            .min()
    }

    /// Does what is due at `now`; heartbeats are appended to `control`.
    ///
    /// # Errors
    /// The connection must end: the peer is dead, or its HELLO is late.
    pub fn on_deadline(
        &mut self,
        now: Instant,
        control: &mut Vec<u8>,
    ) -> Result<Option<LinkReport>, Ended> {
        self.refusing |= self.refuse_at.is_some_and(|at| now >= at);
        if !self.is_deciding() {
            self.check_hello_time(now)?;
        }
        self.link.on_deadline(now, control)
    }

    /// Our and the peer's heartbeat interval.
    pub fn intervals(&self) -> (Duration, Duration) {
        (self.link.interval(), self.link.peer_interval())
    }

    /// How long the client has been silent at `now`; time in which this side did not read is not
    /// held against it.
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.link.last_received(now))
    }

    /// Gives memory back that an idle connection does not need.
    pub fn release(&mut self) {
        if self.in_flight.is_empty() {
            self.in_flight = SeqTable::default();
        }
    }
}
