//! The client's end of a connection.

use super::Ended;
use super::link::{Link, LinkReport};
use super::seq_table::SeqTable;
use super::settings::ClientSettings;
use crate::code::ErrorCode;
use crate::deframe::{RawFrame, Rules};
use crate::frame::{Ack, Cancel, ErrorFrame, Frame, GoAway, Hello, Request, Response};
use crate::header::Side;
use crate::limits::{HEADER_LEN, SERVER_MAX_PAYLOAD, UNANNOUNCED_IN_FLIGHT};
use crate::meta::{Meta, MetaBuf};
use crate::topic::{Topic, TopicError};
use std::time::{Duration, Instant};

/// What a frame from the server means.
#[derive(Debug)]
pub enum ClientEvent<'a> {
    /// Nothing: it was dealt with.
    None,
    /// The server's HELLO.
    Welcome(Hello<'a>),
    /// The answer to the request with its `seq`, whose number is free again.
    Response(Response<'a>),
    /// The refusal or failure of the request with its `seq`, whose number is free again.
    Failed(ErrorFrame<'a>),
    /// The request with its `seq` is durable; its answer follows.
    Ack(Ack<'a>),
    /// The server asks to move; new requests belong on a new connection.
    GoAway(GoAway<'a>),
    /// The connection has ended by the server's word: close it. Ask [`Client::abandon`] for the fate
    /// of what is unanswered.
    Closed(ErrorFrame<'a>),
    /// A heartbeat taught something.
    Link(LinkReport),
}

/// A request that cannot be sent on this connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// As many are unanswered as the server allows.
    #[error("{0} requests are unanswered, the most this server takes on a connection")]
    TooManyInFlight(usize),
    /// The frame would be refused for its size.
    #[error("the request's payload of {len} bytes is over the server's limit of {max}")]
    TooLarge {
        /// Bytes of payload, metadata included.
        len: usize,
        /// Most that the server takes.
        max: u32,
    },
    /// The topic is not a valid one.
    #[error("the topic is not valid: {0}")]
    Topic(#[from] TopicError),
    /// The server has ended the connection.
    #[error("the connection is closed")]
    Closed,
}

/// What became of a request that was unanswered when its connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The server said so: it may be sent again without harm.
    NotExecuted,
    /// It may have run.
    Unknown,
}

/// How far HELLO got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Unsent,
    Asked,
    Answered,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    acked: bool,
}

/// The client's end of a connection: see [`crate::session`].
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    in_flight: SeqTable<Sent>,
    next_seq: u16,
    link: Link,
    max_payload: u32,
    max_in_flight: u16,
    hello: Greeting,
    going_away: bool,
    closed: Option<ErrorCode>,
}

impl Client {
    /// A connection established at `now`.
    pub fn new(settings: ClientSettings, now: Instant) -> Client {
        Client {
            in_flight: SeqTable::default(),
            next_seq: 1,
            link: Link::new(settings.heartbeat, now),
            max_payload: SERVER_MAX_PAYLOAD,
            max_in_flight: UNANNOUNCED_IN_FLIGHT,
            hello: Greeting::Unsent,
            going_away: false,
            closed: None,
            settings,
        }
    }

    /// What to hold the next frame against.
    pub fn rules(&self) -> Rules {
        Rules {
            side: Side::Client,
            max_payload: self.settings.max_payload,
            frame_timeout: self.settings.frame_timeout,
        }
    }

    /// Appends a HELLO with what `meta` says (CLIENT_ID, AUTH_TOKEN, AGENT…) and this client's
    /// HEARTBEAT_MS and MAX_PAYLOAD. It must be the first frame; a second call appends nothing.
    pub fn hello(&mut self, mut meta: MetaBuf, out: &mut Vec<u8>) {
        if self.hello != Greeting::Unsent || self.closed.is_some() {
            return;
        }
        self.hello = Greeting::Asked;
        meta.set_heartbeat(self.link.announced());
        meta.set_max_payload(self.settings.max_payload);
        Hello {
            seq: 1,
            reply: false,
            meta: meta.view(),
        }
        .encode(out);
    }

    /// Appends everything of a request in front of its body, and takes a `seq_id` for it, which
    /// replaces that of `request`.
    ///
    /// # Errors
    /// [`SendError`]; nothing was appended then.
    pub fn request(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<u16, SendError> {
        if self.closed.is_some() {
            return Err(SendError::Closed);
        }
        Topic::parse(request.topic)?;
        self.request_to_topic(request, out)
    }

    /// The same for a request whose topic is known to be one.
    ///
    /// # Errors
    /// As [`Client::request`], but for the topic: what is none, the server refuses.
    pub fn request_to_topic(
        &mut self,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<u16, SendError> {
        if self.closed.is_some() {
            return Err(SendError::Closed);
        }
        let len = request.encoded_len() - HEADER_LEN;
        if len > self.max_payload as usize {
            return Err(SendError::TooLarge {
                len,
                max: self.max_payload,
            });
        }
        if self.in_flight.len() >= usize::from(self.max_in_flight) {
            return Err(SendError::TooManyInFlight(self.in_flight.len()));
        }
        let seq = self.free_seq();
        Request { seq, ..*request }.encode_head(out);
        self.in_flight.insert(seq, Sent { acked: false });
        self.link.used();
        Ok(seq)
    }

    /// The next number that is not taken. There is one: at most 65,534 may be in flight.
    fn free_seq(&mut self) -> u16 {
        loop {
            let seq = self.next_seq;
            self.next_seq = self.next_seq.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains(seq) {
                return seq;
            }
        }
    }

    /// Appends a CANCEL if `seq` is unanswered. Its answer still comes.
    pub fn cancel(&mut self, seq: u16, out: &mut Vec<u8>) {
        if self.closed.is_none() && self.in_flight.contains(seq) {
            Cancel {
                seq,
                meta: Meta::EMPTY,
            }
            .encode(out);
        }
    }

    /// Appends a HEARTBEAT and gives its `seq_id`; the answer is a [`LinkReport::RoundTrip`]. `None`
    /// while one is unanswered: there is at most one a side, and its answer will tell as much.
    pub fn ping(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<u16> {
        self.link.ping(now, out)
    }

    /// Bytes were read at `now`; once per read, before its frames.
    pub fn bytes_received(&mut self, now: Instant) {
        self.link.received(now);
    }

    /// Bytes were written at `now`.
    pub fn bytes_sent(&mut self, now: Instant) {
        self.link.sent(now);
    }

    /// This side does not read for now; the server's silence does not count.
    pub fn pause_reading(&mut self, now: Instant) {
        self.link.pause(now);
    }

    /// This side reads again.
    pub fn resume_reading(&mut self, now: Instant) {
        self.link.resume(now);
    }

    /// Takes a frame. Frames that must go out at once are appended to `out`. After
    /// [`ClientEvent::Closed`] there is nothing more to take: what still comes is passed over.
    ///
    /// # Errors
    /// The server broke the protocol: send the code with `seq_id` 0 and close.
    pub fn receive<'a>(
        &mut self,
        raw: &RawFrame<'a>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<ClientEvent<'a>, Ended> {
        if self.closed.is_some() {
            return Ok(ClientEvent::None);
        }
        match Frame::decode(&raw.header, raw.payload, Side::Client)? {
            Frame::Response(response) => {
                self.settle(response.seq)?;
                Ok(ClientEvent::Response(response))
            }
            Frame::Error(error) => self.error(error),
            Frame::Ack(ack) => Ok(self.ack(ack)),
            Frame::Heartbeat(beat) => Ok(self
                .link
                .heartbeat(&beat, now, out)
                .map_or(ClientEvent::None, ClientEvent::Link)),
            Frame::Hello(hello) => self.welcome(hello),
            Frame::GoAway(goaway) => {
                self.going_away = true;
                Ok(ClientEvent::GoAway(goaway))
            }
            _ => Ok(ClientEvent::None),
        }
    }

    fn settle(&mut self, seq: u16) -> Result<(), Ended> {
        self.link.used();
        let known = self.in_flight.remove(seq).is_some();
        let text = || format!("an answer to seq_id {seq}, which is not in flight");
        if known {
            Ok(())
        } else {
            Err(Ended::new(ErrorCode::PROTOCOL_ERROR, text()))
        }
    }

    fn error<'a>(&mut self, error: ErrorFrame<'a>) -> Result<ClientEvent<'a>, Ended> {
        if error.seq == 0 {
            self.closed = Some(error.code);
            return Ok(ClientEvent::Closed(error));
        }
        self.settle(error.seq)?;
        Ok(ClientEvent::Failed(error))
    }

    fn ack<'a>(&mut self, ack: Ack<'a>) -> ClientEvent<'a> {
        match self.in_flight.get_mut(ack.seq) {
            Some(sent) => {
                sent.acked = true;
                ClientEvent::Ack(ack)
            }
            None => ClientEvent::None,
        }
    }

    fn welcome<'a>(&mut self, hello: Hello<'a>) -> Result<ClientEvent<'a>, Ended> {
        if self.hello != Greeting::Asked {
            let text = "a HELLO answer that nobody waits for";
            return Err(Ended::new(ErrorCode::PROTOCOL_ERROR, text));
        }
        self.hello = Greeting::Answered;
        if let Some(interval) = hello.meta.heartbeat() {
            self.link.peer_announces(interval);
        }
        self.link.known_to_peer();
        self.max_payload = hello.meta.max_payload().unwrap_or(self.max_payload);
        // One number stays free, so that a search for a free one ends.
        let max = hello.meta.max_in_flight().unwrap_or(self.max_in_flight);
        self.max_in_flight = max.clamp(1, u16::MAX - 1);
        Ok(ClientEvent::Welcome(hello))
    }

    /// Requests that are unanswered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Unanswered requests the server allows on this connection.
    pub fn max_in_flight(&self) -> u16 {
        self.max_in_flight
    }

    /// Largest payload the server takes.
    pub fn max_payload(&self) -> u32 {
        self.max_payload
    }

    /// Whether the server asked to move or has ended the connection.
    pub fn is_going_away(&self) -> bool {
        self.going_away || self.closed.is_some()
    }

    /// The connection has ended, in order or not: gives every unanswered request and its fate.
    ///
    /// Only CLOSING says that what was neither answered nor ACKed was not executed.
    pub fn abandon(&mut self) -> Vec<(u16, Fate)> {
        let orderly = self.closed == Some(ErrorCode::CLOSING);
        let fate = |sent: Sent| {
            if orderly && !sent.acked {
                Fate::NotExecuted
            } else {
                Fate::Unknown
            }
        };
        std::mem::take(&mut self.in_flight)
            .into_iter()
            .map(|(seq, sent)| (seq, fate(sent)))
            .collect()
    }

    /// When [`Client::on_deadline`] has something to do. It may be early, never late.
    pub fn deadline(&self) -> Option<Instant> {
        // A client that was told to go has nothing to say any more.
        self.closed.map_or_else(|| self.link.deadline(), |_| None)
    }

    /// Does what is due at `now`; heartbeats are appended to `out`.
    ///
    /// # Errors
    /// The server is dead.
    pub fn on_deadline(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Option<LinkReport>, Ended> {
        match self.closed {
            Some(_) => Ok(None),
            None => self.link.on_deadline(now, out),
        }
    }

    /// Our and the server's heartbeat interval.
    pub fn intervals(&self) -> (Duration, Duration) {
        (self.link.interval(), self.link.peer_interval())
    }
}
