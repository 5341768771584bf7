//! A script of calls, bytes and time for both ends of a session, joined in memory.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mcpd_proto::limits::UNANNOUNCED_IN_FLIGHT;
use mcpd_proto::session::{
    Client, ClientEvent, ClientSettings, Ended, HeartbeatSettings, Server, ServerEvent,
    ServerSettings, Welcome,
};
use mcpd_proto::{Deframer, ErrorCode, ErrorFrame, GoAwayReason, Meta, MetaBuf, Request, Response};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAX_IN_FLIGHT: u16 = 4;
/// More steps without time going by than any script can set off.
const STEPS_PER_INSTANT: usize = 10_000;

#[derive(Arbitrary, Debug)]
struct Script<'a> {
    demand_hello: bool,
    server: (u16, u16),
    client: (u16, u16),
    ops: Vec<Op<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Hello(bool),
    Welcome,
    Request(&'a [u8], u8),
    Cancel(u16),
    Answer(u8),
    Fail(u8, u16),
    GoAway(u16),
    RefuseNew,
    Closing,
    /// Moves up to so many bytes to the server, then to the client.
    Deliver(u8, u8),
    /// Lets time go by, running timers on the way or late.
    Wait(u16, bool),
    PauseServer(bool),
    PauseClient(bool),
    RawToServer(&'a [u8]),
    RawToClient(&'a [u8]),
    /// A request of somebody's who chooses numbers as they please.
    Forge(u16),
    Release,
}

struct Wire {
    now: Instant,
    client: Client,
    server: Server,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    server_deframer: Deframer,
    client_deframer: Deframer,
    server_over: bool,
    client_over: bool,
    /// Requests the server took and has not answered.
    open: BTreeSet<u16>,
    /// Requests sent and not answered, by the client's account.
    asked: BTreeMap<u16, u32>,
    /// Whether bytes that neither end made are on the way, a request to be answered perhaps.
    forged: bool,
}

fuzz_target!(|script: Script<'_>| {
    let mut wire = Wire::new(&script);
    for op in &script.ops {
        wire.apply(op);
        assert!(wire.server.in_flight() <= usize::from(MAX_IN_FLIGHT));
        assert_eq!(wire.server.in_flight(), wire.open.len());
        // A limit that the server announces does not take back what is under way.
        let allowed = wire.client.max_in_flight().max(UNANNOUNCED_IN_FLIGHT);
        assert!(wire.client.in_flight() <= usize::from(allowed));
    }
    wire.wait(Duration::from_secs(5000));
    let left = wire.client.in_flight();
    assert_eq!(wire.client.abandon().len(), left);
    assert_eq!(wire.client.in_flight(), 0);
});

fn heartbeat((interval, max): (u16, u16)) -> HeartbeatSettings {
    HeartbeatSettings {
        interval: Duration::from_secs(interval.into()),
        max_interval: Duration::from_secs(max.into()),
    }
}

impl Wire {
    fn new(script: &Script<'_>) -> Wire {
        let now = Instant::now();
        let server = ServerSettings {
            max_in_flight: MAX_IN_FLIGHT,
            control_per_second: 50,
            heartbeat: heartbeat(script.server),
            demand_hello: script.demand_hello.then(|| Duration::from_secs(10)),
            ..ServerSettings::default()
        };
        let client = ClientSettings {
            heartbeat: heartbeat(script.client),
            ..ClientSettings::default()
        };
        Wire {
            now,
            client: Client::new(client, now),
            server: Server::new(Arc::new(server), now),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            server_deframer: Deframer::new(),
            client_deframer: Deframer::new(),
            server_over: false,
            client_over: false,
            open: BTreeSet::new(),
            asked: BTreeMap::new(),
            forged: false,
        }
    }

    fn apply(&mut self, op: &Op<'_>) {
        let mut out = Vec::new();
        match *op {
            Op::Hello(token) => {
                let mut meta = MetaBuf::new();
                if token {
                    let _ = meta.set_auth_token(b"t");
                }
                self.client.hello(meta, &mut out);
                self.from_client(&out);
            }
            Op::Welcome => {
                self.server.welcome(Welcome::default(), &mut out);
                self.from_server(&out);
                self.server_reads(&[]);
            }
            Op::Request(topic, priority) => self.request(topic, priority),
            Op::Cancel(seq) => {
                self.client.cancel(seq % 16, &mut out);
                self.from_client(&out);
            }
            Op::Answer(at) => self.answer(at, None),
            Op::Fail(at, code) => self.answer(at, Some(ErrorCode::new(code | 0x200))),
            Op::GoAway(after) => {
                let at = self.now + Duration::from_secs(after.into());
                let reason = GoAwayReason::from_wire(after);
                let before = self.server.is_going_away();
                let said = self.server.go_away(reason, "move", None, at, &mut out);
                assert_eq!(said, !out.is_empty());
                assert!(self.server.is_going_away() && (before || said));
                self.from_server(&out);
            }
            Op::RefuseNew => self.server.refuse_new(),
            Op::Closing => self.end_server(ErrorCode::CLOSING),
            Op::Deliver(up, down) => self.deliver(up.into(), down.into()),
            Op::Wait(seconds, true) => self.wait(Duration::from_secs(seconds.into())),
            Op::Wait(seconds, false) => self.now += Duration::from_secs(seconds.into()),
            Op::PauseServer(true) => self.server.pause_reading(self.now),
            Op::PauseServer(false) => self.server.resume_reading(self.now),
            Op::PauseClient(true) => self.client.pause_reading(self.now),
            Op::PauseClient(false) => self.client.resume_reading(self.now),
            Op::RawToServer(bytes) => {
                self.forged = true;
                self.to_server.extend(bytes);
            }
            Op::RawToClient(bytes) => {
                self.forged = true;
                self.to_client.extend(bytes);
            }
            Op::Forge(seq) => {
                self.forged = true;
                let (seq, topic) = (seq % 8 + 1, &b"forged"[..]);
                Request {
                    seq,
                    topic,
                    ..Request::default()
                }
                .encode(&mut out);
                self.to_server.extend(out);
            }
            Op::Release => {
                self.server.release();
                self.server_deframer.release();
                self.client_deframer.release();
            }
        }
    }

    fn from_client(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && !self.client_over {
            self.client.bytes_sent(self.now);
            self.to_server.extend(bytes);
        }
    }

    fn from_server(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && !self.server_over {
            self.server.bytes_sent(self.now);
            self.to_client.extend(bytes);
        }
    }

    fn request(&mut self, topic: &[u8], priority: u8) {
        if self.client_over {
            return;
        }
        let (mut out, priority) = (Vec::new(), priority & 7);
        let request = Request {
            topic,
            priority,
            ..Request::default()
        };
        if let Ok(seq) = self.client.request(&request, &mut out) {
            *self.asked.entry(seq).or_default() += 1;
            assert!(!out.is_empty());
        } else {
            assert!(out.is_empty());
        }
        self.from_client(&out);
    }

    fn answer(&mut self, at: u8, code: Option<ErrorCode>) {
        let count = self.open.len().max(1);
        let Some(seq) = self.open.iter().nth(usize::from(at) % count).copied() else {
            return;
        };
        let mut out = Vec::new();
        match code {
            None => Response {
                seq,
                ..Response::default()
            }
            .encode(&mut out),
            Some(code) => error(seq, code).encode(&mut out),
        }
        self.open.remove(&seq);
        assert!(self.server.finish(seq));
        assert!(!self.server.finish(seq));
        self.from_server(&out);
    }

    fn deliver(&mut self, up: usize, down: usize) {
        let up: Vec<u8> = self
            .to_server
            .drain(..up.min(self.to_server.len()))
            .collect();
        self.server_reads(&up);
        let down: Vec<u8> = self
            .to_client
            .drain(..down.min(self.to_client.len()))
            .collect();
        self.client_reads(&down);
    }

    fn server_reads(&mut self, bytes: &[u8]) {
        if self.server_over {
            return;
        }
        let mut out = Vec::new();
        if !bytes.is_empty() {
            self.server.bytes_received(self.now);
        }
        let read = self.server_takes(bytes, &mut out);
        self.from_server(&out);
        if let Err(ended) = read {
            self.end_server(ended.code);
        }
    }

    fn server_takes(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Ended> {
        loop {
            if self.server.is_deciding() {
                self.server_deframer.hold(bytes);
                return Ok(());
            }
            let rules = self.server.rules();
            let Some(raw) = self.server_deframer.next(&mut bytes, &rules, self.now)? else {
                return Ok(());
            };
            match self.server.receive(&raw, self.now, out)? {
                ServerEvent::Request(admitted) => {
                    let seq = admitted.request.seq;
                    assert!(self.open.insert(seq), "taken twice");
                    assert!(!admitted.topic.is_reserved());
                    self.server.begin(seq);
                }
                ServerEvent::Refused(request, code, _) => {
                    assert!(!self.open.contains(&request.seq));
                    error(request.seq, code).encode(out);
                }
                ServerEvent::Cancel(seq) => assert!(self.open.contains(&seq)),
                _ => {}
            }
        }
    }

    fn client_reads(&mut self, mut bytes: &[u8]) {
        if self.client_over {
            return;
        }
        let mut out = Vec::new();
        if !bytes.is_empty() {
            self.client.bytes_received(self.now);
        }
        loop {
            let rules = self.client.rules();
            let raw = self.client_deframer.next(&mut bytes, &rules, self.now);
            let event = match raw {
                Ok(Some(raw)) => self.client.receive(&raw, self.now, &mut out),
                Ok(None) => break,
                Err(error) => Err(error.into()),
            };
            let answered = match event {
                Ok(ClientEvent::Response(response)) => Some(response.seq),
                Ok(ClientEvent::Failed(error)) => Some(error.seq),
                Ok(ClientEvent::Closed(_)) => {
                    self.client_over = true;
                    break;
                }
                Ok(_) => None,
                Err(ended) => return self.end_client(ended.code),
            };
            if let Some(seq) = answered {
                // One final answer for each request, and none without.
                let left = self.asked.get_mut(&seq).filter(|left| **left > 0);
                *left.expect("a request for the answer") -= 1;
            }
        }
        self.from_client(&out);
    }

    fn end_server(&mut self, code: ErrorCode) {
        let mut out = Vec::new();
        error(0, code).encode(&mut out);
        self.from_server(&out);
        self.server_over = true;
    }

    fn end_client(&mut self, code: ErrorCode) {
        // Only what somebody else put on the wire, or silence, makes a client end it.
        assert!(
            self.forged || code == ErrorCode::HEARTBEAT_TIMEOUT,
            "{code}"
        );
        self.client_over = true;
    }

    /// Lets time go by, with every timer run on time.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut steps = 0;
        while let Some(next) = self.deadline().filter(|next| *next <= until) {
            steps = if next > self.now { 0 } else { steps + 1 };
            assert!(steps < STEPS_PER_INSTANT, "a busy loop");
            self.now = self.now.max(next);
            self.timers();
        }
        self.now = until;
    }

    fn deadline(&self) -> Option<Instant> {
        let server = self.server.deadline().filter(|_| !self.server_over);
        let client = self.client.deadline().filter(|_| !self.client_over);
        server.into_iter().chain(client).min()
    }

    fn timers(&mut self) {
        let mut out = Vec::new();
        if !self.server_over {
            let due = self.server.on_deadline(self.now, &mut out);
            self.from_server(&out);
            if let Err(ended) = due {
                self.end_server(ended.code);
            }
        }
        out.clear();
        if !self.client_over {
            let due = self.client.on_deadline(self.now, &mut out);
            self.from_client(&out);
            if let Err(ended) = due {
                self.end_client(ended.code);
            }
        }
    }
}

fn error(seq: u16, code: ErrorCode) -> ErrorFrame<'static> {
    ErrorFrame {
        seq,
        priority: 0,
        code,
        detail: b"",
        meta: Meta::EMPTY,
    }
}
