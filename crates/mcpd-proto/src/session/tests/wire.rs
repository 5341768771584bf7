//! Two ends joined in memory, under a clock that only the test moves.

use super::super::*;
use crate::{
    Ack, Deframer, ErrorFrame, Flags, Frame, Header, Kind, MetaBuf, Request, Response, Side,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A frame that was put on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sent {
    /// Seconds since the start.
    pub(super) at: u64,
    pub(super) from: Side,
    pub(super) kind: Kind,
    pub(super) seq: u16,
    pub(super) reply: bool,
    pub(super) announces: Option<Duration>,
}

/// One direction of the connection, with the receiver's deframer at its end.
#[derive(Default)]
struct Pipe {
    /// Bytes under way and when they arrive.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    deframer: Deframer,
}

/// Both ends and what is under way between them.
pub(super) struct Wire {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) client: Client,
    pub(super) server: Server,
    /// Time from one end to the other.
    pub(super) latency: Duration,
    /// Most bytes of one read.
    pub(super) piece: usize,
    /// Whether the server decides on a HELLO at once.
    pub(super) welcomes: bool,
    /// Whether timers that are due together with bytes are run before them.
    pub(super) timers_first: bool,
    /// The end that hangs: it takes nothing, runs no timer and says nothing.
    pub(super) hung: Option<Side>,
    to_server: Pipe,
    to_client: Pipe,
    pub(super) server_saw: Vec<String>,
    pub(super) client_saw: Vec<String>,
    pub(super) sent: Vec<Sent>,
    /// Ends that are over, by their own error or the other's word.
    over: Vec<Side>,
}

impl Wire {
    pub(super) fn new(server: ServerSettings, client: ClientSettings) -> Wire {
        let start = Instant::now();
        Wire {
            start,
            now: start,
            client: Client::new(client, start),
            server: Server::new(Arc::new(server), start),
            latency: Duration::ZERO,
            piece: usize::MAX,
            welcomes: true,
            timers_first: false,
            hung: None,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            server_saw: Vec::new(),
            client_saw: Vec::new(),
            sent: Vec::new(),
            over: Vec::new(),
        }
    }

    pub(super) fn plain() -> Wire {
        Wire::new(ServerSettings::default(), ClientSettings::default())
    }

    /// Calls the client with a buffer and sends what it wrote there.
    pub(super) fn client<T>(&mut self, call: impl FnOnce(&mut Client, &mut Vec<u8>) -> T) -> T {
        let mut out = Vec::new();
        let result = call(&mut self.client, &mut out);
        self.transmit(Side::Client, out);
        result
    }

    /// The same for the server.
    pub(super) fn server<T>(&mut self, call: impl FnOnce(&mut Server, &mut Vec<u8>) -> T) -> T {
        let mut out = Vec::new();
        let result = call(&mut self.server, &mut out);
        self.transmit(Side::Server, out);
        result
    }

    pub(super) fn hello(&mut self) {
        self.client(|client, out| client.hello(MetaBuf::new(), out));
    }

    pub(super) fn request(&mut self, topic: &str) -> Result<u16, SendError> {
        let request = Request {
            topic: topic.as_bytes(),
            ..Request::default()
        };
        self.client(|client, out| client.request(&request, out))
    }

    pub(super) fn answer(&mut self, seq: u16) {
        let known = self.server(|server, out| {
            Response {
                seq,
                ..Response::default()
            }
            .encode(out);
            server.finish(seq)
        });
        assert!(known, "{seq} was in flight");
    }

    pub(super) fn ack(&mut self, seq: u16) {
        self.server(|_, out| {
            Ack {
                seq,
                ..Ack::default()
            }
            .encode(out);
        });
    }

    /// Sends an ERROR as the driver does when it ends a connection.
    pub(super) fn fail(&mut self, from: Side, seq: u16, code: ErrorCode) {
        let mut out = Vec::new();
        let detail = &b""[..];
        let (priority, meta) = (0, crate::Meta::EMPTY);
        ErrorFrame {
            seq,
            priority,
            code,
            detail,
            meta,
        }
        .encode(&mut out);
        self.transmit(from, out);
    }

    /// Puts bytes on the wire, whoever made them.
    pub(super) fn transmit(&mut self, from: Side, bytes: Vec<u8>) {
        if bytes.is_empty() || self.hung == Some(from) {
            return;
        }
        self.log(from, &bytes);
        let arrival = self.now + self.latency;
        let pipe = match from {
            Side::Client => {
                self.client.bytes_sent(self.now);
                &mut self.to_server
            }
            Side::Server => {
                self.server.bytes_sent(self.now);
                &mut self.to_client
            }
        };
        pipe.under_way.push_back((arrival, bytes));
    }

    fn log(&mut self, from: Side, mut bytes: &[u8]) {
        let to = match from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        while let Ok((frame, used)) = Frame::decode_one(bytes, to, u32::MAX) {
            let head = bytes.first_chunk().expect("decoded above");
            let header = Header::parse(head, to, u32::MAX).expect("decoded above");
            let announces = match frame {
                Frame::Heartbeat(beat) => beat.meta.heartbeat(),
                _ => None,
            };
            self.sent.extend(header.kind.map(|kind| Sent {
                at: (self.now - self.start).as_secs(),
                from,
                kind,
                seq: header.seq,
                reply: header.flags.has(Flags::REPLY),
                announces,
            }));
            bytes = &bytes[used..];
        }
    }

    /// When each side asked for a sign of life, in seconds.
    pub(super) fn pings(&self, from: Side) -> Vec<u64> {
        let asks = |sent: &&Sent| sent.from == from && sent.kind == Kind::Heartbeat && !sent.reply;
        self.sent.iter().filter(asks).map(|sent| sent.at).collect()
    }

    /// Lets `time` go by, delivering and running what falls due on the way.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        let mut at_this_instant = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= until) {
            at_this_instant = if next > self.now {
                0
            } else {
                at_this_instant + 1
            };
            assert!(at_this_instant < 10_000, "a busy loop at {next:?}");
            self.now = self.now.max(next);
            self.step();
        }
        self.now = until;
    }

    /// Delivers everything that is under way, and what that sets off, without waiting for timers.
    pub(super) fn settle(&mut self) {
        self.run(self.latency * 4);
    }

    fn is_live(&self, side: Side) -> bool {
        self.hung != Some(side) && !self.over.contains(&side)
    }

    fn next_event(&self) -> Option<Instant> {
        let mut events = Vec::new();
        if self.is_live(Side::Client) {
            events.extend(self.client.deadline());
            events.extend(self.to_client.under_way.front().map(|(at, _)| *at));
        }
        if self.is_live(Side::Server) {
            events.extend(self.server.deadline());
            events.extend(self.to_server.under_way.front().map(|(at, _)| *at));
        }
        events.into_iter().min()
    }

    fn step(&mut self) {
        if self.timers_first {
            self.timers();
            self.deliver();
        } else {
            self.deliver();
            self.timers();
        }
    }

    fn timers(&mut self) {
        let now = self.now;
        if self.is_live(Side::Server) && self.server.deadline().is_some_and(|at| at <= now) {
            let due = self.server(|server, out| server.on_deadline(now, out));
            self.timer_ran(Side::Server, due);
        }
        if self.is_live(Side::Client) && self.client.deadline().is_some_and(|at| at <= now) {
            let due = self.client(|client, out| client.on_deadline(now, out));
            self.timer_ran(Side::Client, due);
        }
    }

    fn timer_ran(&mut self, side: Side, due: Result<Option<LinkReport>, Ended>) {
        match due {
            Ok(report) => self.saw(side).extend(report.map(|r| format!("{r:?}"))),
            Err(ended) => self.end(side, &ended),
        }
    }

    fn saw(&mut self, side: Side) -> &mut Vec<String> {
        match side {
            Side::Server => &mut self.server_saw,
            Side::Client => &mut self.client_saw,
        }
    }

    fn end(&mut self, side: Side, ended: &Ended) {
        self.saw(side).push(format!("ended {}", ended.code));
        self.over.push(side);
        self.fail(side, 0, ended.code);
    }

    fn deliver(&mut self) {
        let now = self.now;
        for side in [Side::Server, Side::Client] {
            loop {
                let live = self.is_live(side);
                let pipe = match side {
                    Side::Server => &mut self.to_server,
                    Side::Client => &mut self.to_client,
                };
                let Some((_, bytes)) = pipe.under_way.pop_front_if(|(at, _)| live && *at <= now)
                else {
                    break;
                };
                for piece in bytes.chunks(self.piece) {
                    if self.is_live(side) {
                        self.read(side, piece);
                    }
                }
            }
        }
    }

    /// One read of one end.
    pub(super) fn read(&mut self, side: Side, bytes: &[u8]) {
        let read = match side {
            Side::Server => self.server_reads(bytes),
            Side::Client => self.client_reads(bytes),
        };
        if let Err(ended) = read {
            self.end(side, &ended);
        }
    }

    fn server_reads(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        let now = self.now;
        self.server.bytes_received(now);
        let mut out = Vec::new();
        let result = loop {
            if self.server.is_deciding() {
                self.to_server.deframer.hold(bytes);
                break Ok(());
            }
            let rules = self.server.rules();
            let raw = match self.to_server.deframer.next(&mut bytes, &rules, now) {
                Ok(Some(raw)) => raw,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let event = match self.server.receive(&raw, now, &mut out) {
                Ok(event) => event,
                Err(ended) => break Err(ended),
            };
            let hello = matches!(event, ServerEvent::Hello(_));
            if let ServerEvent::Request(admitted) = &event {
                self.server.begin(admitted.request.seq);
            }
            self.server_saw.extend(tell_server(&event));
            if hello && self.welcomes {
                self.server.welcome(Welcome::default(), &mut out);
            }
        };
        self.transmit(Side::Server, out);
        result
    }

    fn client_reads(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        let now = self.now;
        self.client.bytes_received(now);
        let mut out = Vec::new();
        let result = loop {
            let rules = self.client.rules();
            let raw = match self.to_client.deframer.next(&mut bytes, &rules, now) {
                Ok(Some(raw)) => raw,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            match self.client.receive(&raw, now, &mut out) {
                Ok(event) => self.client_saw.extend(tell_client(&event)),
                Err(ended) => break Err(ended),
            }
        };
        self.transmit(Side::Client, out);
        result
    }
}

fn tell_server(event: &ServerEvent<'_>) -> Option<String> {
    Some(match event {
        ServerEvent::None => return None,
        ServerEvent::Request(admitted) => format!("request {}", admitted.request.seq),
        ServerEvent::Refused(request, code, _) => format!("refused {} {code}", request.seq),
        ServerEvent::Cancel(seq) => format!("cancel {seq}"),
        ServerEvent::Hello(_) => "hello".to_owned(),
        ServerEvent::Confirm(id) => format!("confirm {}", id[0]),
        ServerEvent::Link(report) => format!("{report:?}"),
        ServerEvent::PeerError(code, _) => format!("peer error {code}"),
    })
}

fn tell_client(event: &ClientEvent<'_>) -> Option<String> {
    Some(match event {
        ClientEvent::None => return None,
        ClientEvent::Welcome(_) => "welcome".to_owned(),
        ClientEvent::Response(response) => format!("response {}", response.seq),
        ClientEvent::Failed(error) => format!("failed {} {}", error.seq, error.code),
        ClientEvent::Ack(ack) => format!("ack {}", ack.seq),
        ClientEvent::GoAway(goaway) => format!("goaway {}", goaway.reason().name()),
        ClientEvent::Closed(error) => format!("closed {}", error.code),
        ClientEvent::Link(report) => format!("{report:?}"),
    })
}
