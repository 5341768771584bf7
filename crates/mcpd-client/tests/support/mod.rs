//! A server that does what a test tells it.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

pub(crate) mod echo;
pub(crate) mod net;

use mcpd_client::{ConnectOptions, Connection};
use mcpd_proto::session::{Server, ServerEvent, ServerSettings, Welcome};
use mcpd_proto::{
    Ack, Deframer, ErrorCode, ErrorFrame, GoAwayReason, Heartbeat, Meta, MetaBuf, Qos, Response,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

/// What came from the client; HELLO and heartbeats are dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Request(Ask),
    Cancel(u16),
    Confirm([u8; 16]),
    Error(ErrorCode, String),
    Eof,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) seq: u16,
    pub(crate) priority: u8,
    pub(crate) qos: Qos,
    pub(crate) dup: bool,
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
    pub(crate) meta: Vec<u8>,
}

impl Ask {
    pub(crate) fn meta(&self) -> Meta<'_> {
        Meta::parse(&self.meta).unwrap()
    }
}

pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    pub(crate) session: Server,
    deframer: Deframer,
    got: VecDeque<Got>,
    /// The client's HELLO.
    pub(crate) hello: Option<Vec<u8>>,
    /// Clients with another token than this are turned away.
    pub(crate) demands: Option<Vec<u8>>,
    /// Heartbeats that asked for an answer, and answers.
    pub(crate) beats: usize,
    pub(crate) answers_beats: bool,
}

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A client and a server joined by a pipe that holds `size` bytes each way.
pub(crate) async fn pair_with(
    size: usize,
    options: ConnectOptions,
    settings: ServerSettings,
) -> (Connection, Peer<DuplexStream>) {
    let (client, server) = tokio::io::duplex(size);
    let mut peer = Peer::new(server, settings);
    let (connection, ()) = tokio::join!(Connection::from_stream(client, options), peer.welcome());
    (connection.unwrap(), peer)
}

pub(crate) async fn pair() -> (Connection, Peer<DuplexStream>) {
    pair_with(64 * 1024, ConnectOptions::new(), ServerSettings::default()).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S, settings: ServerSettings) -> Peer<S> {
        Peer {
            stream,
            session: Server::new(settings.into(), now()),
            deframer: Deframer::new(),
            got: VecDeque::new(),
            hello: None,
            demands: None,
            beats: 0,
            answers_beats: true,
        }
    }

    /// Waits for the client's HELLO and accepts it.
    pub(crate) async fn welcome(&mut self) {
        while self.hello.is_none() {
            assert!(self.read().await, "the client went away before its HELLO");
        }
    }

    /// The same, unless the client goes away first.
    pub(crate) async fn try_welcome(&mut self) -> bool {
        while self.hello.is_none() {
            if !self.read().await {
                return false;
            }
        }
        true
    }

    pub(crate) async fn next(&mut self) -> Got {
        loop {
            if let Some(got) = self.got.pop_front() {
                return got;
            }
            if !self.read().await {
                return Got::Eof;
            }
        }
    }

    pub(crate) async fn request(&mut self) -> Ask {
        match self.next().await {
            Got::Request(ask) => ask,
            other => panic!("{other:?} instead of a request"),
        }
    }

    pub(crate) async fn requests(&mut self, count: usize) -> Vec<Ask> {
        let mut asks = Vec::new();
        while asks.len() < count {
            asks.push(self.request().await);
        }
        asks
    }

    /// Nothing comes, however long one waits; for paused time.
    pub(crate) async fn expect_silence(&mut self) {
        let waited = tokio::time::timeout(Duration::from_secs(5), self.next()).await;
        assert!(waited.is_err(), "{waited:?} instead of silence");
    }

    async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let count = self.stream.read(&mut buffer).await.unwrap_or(0);
        let (mut input, mut out) = (&buffer[..count], Vec::new());
        self.session.bytes_received(now());
        while let Some(raw) = self
            .deframer
            .next(&mut input, &self.session.rules(), now())
            .unwrap()
        {
            let before = out.len();
            match self.session.receive(&raw, now(), &mut out).unwrap() {
                ServerEvent::Request(admitted) => {
                    let request = admitted.request;
                    self.session.begin(request.seq);
                    self.got.push_back(Got::Request(Ask {
                        seq: request.seq,
                        priority: request.priority,
                        qos: request.qos,
                        dup: request.dup,
                        topic: admitted.topic.as_str().to_owned(),
                        body: request.body.to_vec(),
                        meta: request.meta.as_bytes().to_vec(),
                    }));
                }
                ServerEvent::Confirm(id) => self.got.push_back(Got::Confirm(id)),
                ServerEvent::Cancel(seq) => self.got.push_back(Got::Cancel(seq)),
                ServerEvent::PeerError(code, text) => {
                    self.got.push_back(Got::Error(code, text.to_owned()));
                }
                ServerEvent::Hello(hello) => {
                    let shown = hello.meta.auth_token();
                    if self.demands.is_some() && self.demands.as_deref() != shown {
                        self.end(ErrorCode::UNAUTHENTICATED, "no").await;
                        return false;
                    }
                    self.hello = Some(hello.meta.as_bytes().to_vec());
                    self.session.welcome(Welcome::default(), &mut out);
                }
                ServerEvent::None => {
                    let beat = out.len() > before;
                    self.beats += usize::from(beat);
                    if beat && !self.answers_beats {
                        out.truncate(before);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        self.raw(&out).await;
        count > 0
    }

    /// Sends bytes as they are. A client that is gone does not mind.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    pub(crate) async fn respond(&mut self, ask: &Ask, body: &[u8]) {
        self.respond_with(ask, body, &MetaBuf::new()).await;
    }

    pub(crate) async fn respond_with(&mut self, ask: &Ask, body: &[u8], meta: &MetaBuf) {
        self.session.finish(ask.seq);
        let (seq, priority, meta) = (ask.seq, ask.priority, meta.view());
        let mut out = Vec::new();
        Response {
            seq,
            priority,
            body,
            meta,
        }
        .encode(&mut out);
        self.raw(&out).await;
    }

    pub(crate) async fn ack(&mut self, ask: &Ask, qos: Qos) {
        let mut out = Vec::new();
        let (seq, priority, meta) = (ask.seq, ask.priority, Meta::EMPTY);
        Ack {
            seq,
            priority,
            qos,
            meta,
        }
        .encode(&mut out);
        self.raw(&out).await;
    }

    pub(crate) async fn fail(&mut self, seq: u16, code: ErrorCode, detail: &[u8], meta: &MetaBuf) {
        self.session.finish(seq);
        let mut out = Vec::new();
        let (priority, meta) = (0, meta.view());
        ErrorFrame {
            seq,
            priority,
            code,
            detail,
            meta,
        }
        .encode(&mut out);
        self.raw(&out).await;
    }

    /// Ends the connection with a code; the stream stays open until the peer is dropped.
    pub(crate) async fn end(&mut self, code: ErrorCode, text: &str) {
        self.fail(0, code, text.as_bytes(), &MetaBuf::new()).await;
    }

    pub(crate) async fn beat(&mut self) {
        let mut out = Vec::new();
        Heartbeat {
            seq: 9,
            ..Heartbeat::default()
        }
        .encode(&mut out);
        self.raw(&out).await;
    }

    /// Asks the client to move.
    pub(crate) async fn go_away(&mut self, reason: GoAwayReason, wait: Option<Duration>) {
        let mut out = Vec::new();
        let until = now() + Duration::from_secs(60);
        self.session.go_away(reason, "go", wait, until, &mut out);
        self.raw(&out).await;
    }
}
