//! A client made of the protocol crate alone: one connection, one request at a time. It does what docs/protocol.md asks
//! of clients ("Leaving"), and nothing else: no pool, no budget, no memory of servers.

use crate::random_below;
use crate::tally::Tally;
use anyhow::{Context, Result, bail};
use mcpd_proto::session::{Client, ClientEvent, ClientSettings};
use mcpd_proto::{Class, Deframer, ErrorCode, Meta, MetaBuf, Request};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout, timeout_at};

const CONNECT: Duration = Duration::from_secs(5);
/// Between attempts to connect, and to send what was not executed.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a request has no good answer.
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// What a connection tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// The server's HELLO.
    Welcome,
    Answered(Vec<u8>),
    Failed(ErrorCode, String),
    /// The server asks to move after this time.
    Move(Duration),
    /// The server ended it in order: what is unanswered was not executed.
    Closing,
    Lost(String),
    /// Nothing until the given time.
    Quiet,
}

pub(crate) struct RawConnection {
    stream: TcpStream,
    session: Client,
    deframer: Deframer,
    input: Vec<u8>,
    events: VecDeque<Event>,
    /// SERVER_ID, or the peer's address.
    pub(crate) server: String,
    /// When to have moved.
    pub(crate) move_at: Option<Instant>,
}

impl RawConnection {
    /// `to` is `host:port`, with or without `mcp://`.
    pub(crate) async fn open(to: &str) -> Result<RawConnection> {
        let address = to.strip_prefix("mcp://").unwrap_or(to);
        let opened = timeout(CONNECT, RawConnection::greet(address)).await;
        opened
            .context("no connection in time")?
            .with_context(|| address.to_owned())
    }

    async fn greet(address: &str) -> Result<RawConnection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = RawConnection {
            server: stream.peer_addr()?.to_string(),
            stream,
            session: Client::new(ClientSettings::default(), Instant::now()),
            deframer: Deframer::new(),
            input: vec![0; 16 * 1024],
            events: VecDeque::new(),
            move_at: None,
        };
        let mut hello = Vec::new();
        connection.session.hello(MetaBuf::new(), &mut hello);
        connection.write(&hello).await?;
        match connection.event(Instant::now() + CONNECT).await {
            Event::Welcome => Ok(connection),
            other => bail!("{other:?} where the server's HELLO should be"),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.session.bytes_sent(Instant::now());
        Ok(())
    }

    pub(crate) async fn send(&mut self, topic: &str, body: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        let request = Request {
            topic: topic.as_bytes(),
            body,
            ..Request::default()
        };
        self.session.request(&request, &mut out)?;
        out.extend_from_slice(body);
        Ok(self.write(&out).await?)
    }

    /// The next thing that happens, or [`Event::Quiet`] at `until`.
    pub(crate) async fn event(&mut self, until: Instant) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.remember(&event);
                return event;
            }
            let due = self.session.deadline().map_or(until, |due| due.min(until));
            let read = timeout_at(due.into(), self.stream.read(&mut self.input)).await;
            let now = Instant::now();
            let outcome = match read {
                Ok(Ok(0)) => Err("the stream ended".to_owned()),
                Ok(Ok(count)) => self.take(count, now).await,
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) if now >= until => return Event::Quiet,
                Err(_) => self.on_deadline(now).await,
            };
            if let Err(text) = outcome {
                self.events.push_back(Event::Lost(text));
            }
        }
    }

    fn remember(&mut self, event: &Event) {
        if let Event::Move(pause) = event {
            let wait = *pause + random_below(*pause);
            self.move_at.get_or_insert(Instant::now() + wait);
        }
    }

    async fn on_deadline(&mut self, now: Instant) -> Result<(), String> {
        let mut out = Vec::new();
        self.session
            .on_deadline(now, &mut out)
            .map_err(|ended| ended.to_string())?;
        self.write(&out).await.map_err(|error| error.to_string())
    }

    async fn take(&mut self, count: usize, now: Instant) -> Result<(), String> {
        self.session.bytes_received(now);
        let input = std::mem::take(&mut self.input);
        let (mut rest, mut out) = (&input[..count], Vec::new());
        let rules = self.session.rules();
        loop {
            let raw = self
                .deframer
                .next(&mut rest, &rules, now)
                .map_err(|error| error.to_string())?;
            let Some(raw) = raw else { break };
            let event = self
                .session
                .receive(&raw, now, &mut out)
                .map_err(|ended| ended.to_string())?;
            let event = match event {
                ClientEvent::Welcome(hello) => {
                    if let Some(id) = hello.meta.server_id() {
                        self.server = id.to_owned();
                    }
                    Event::Welcome
                }
                ClientEvent::Response(response) => Event::Answered(response.body.to_vec()),
                ClientEvent::Failed(error) => Event::Failed(error.code, error.text().to_owned()),
                ClientEvent::GoAway(goaway) => Event::Move(retry_after(&goaway.meta)),
                ClientEvent::Closed(error) if error.code == ErrorCode::CLOSING => Event::Closing,
                ClientEvent::Closed(error) => {
                    Event::Lost(format!("{}: {}", error.code, error.text()))
                }
                ClientEvent::None | ClientEvent::Ack(_) | ClientEvent::Link(_) => continue,
            };
            self.events.push_back(event);
        }
        self.input = input;
        self.write(&out).await.map_err(|error| error.to_string())
    }

    /// Says that there is no more to come, and reads to the end.
    pub(crate) async fn close(mut self) {
        let parting = async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut self.input).await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        let _ = timeout(CONNECT, parting).await;
    }
}

fn retry_after(meta: &Meta<'_>) -> Duration {
    Duration::from_millis(meta.retry_after_ms().unwrap_or(0).into())
}

/// Sends one request after the other, on a new connection when the server asks for it.
pub(crate) struct RawCaller<'a> {
    to: &'a str,
    tally: &'a Tally,
    connection: Option<RawConnection>,
}

impl<'a> RawCaller<'a> {
    pub(crate) fn new(to: &'a str, tally: &'a Tally) -> RawCaller<'a> {
        RawCaller {
            to,
            tally,
            connection: None,
        }
    }

    /// Gives the SERVER_ID of the server that answered.
    pub(crate) async fn call(
        &mut self,
        topic: &str,
        body: &[u8],
        until: Instant,
    ) -> Result<String, Failure> {
        loop {
            let mut connection = self.connection(until).await?;
            let event = match connection.send(topic, body).await {
                Ok(()) => await_answer(&mut connection, until).await,
                // A request that was written in part cannot have run, but only CLOSING would say so.
                Err(error) => connection.last_word(&error.to_string(), until).await,
            };
            match event {
                Event::Answered(answer) if answer == body => {
                    let server = connection.server.clone();
                    self.connection = Some(connection);
                    return Ok(server);
                }
                Event::Failed(code, _) if code == ErrorCode::DRAINING => {
                    self.tally.event("draining")
                }
                Event::Closing => self.tally.event("resent after closing"),
                Event::Failed(code, text)
                    if code.class() != Class::NotExecuted || code.is_permanent() =>
                {
                    return Err(Failure {
                        kind: code.to_string(),
                        text,
                    });
                }
                Event::Failed(..) => {
                    self.tally.event("refused");
                    self.connection = Some(connection);
                    sleep(PAUSE).await;
                }
                other => {
                    let text = format!("{other:?} from {}", connection.server);
                    return Err(Failure {
                        kind: "lost".to_owned(),
                        text,
                    });
                }
            }
        }
    }

    /// The connection to send on: the present one, or a new one where the time to move has come.
    async fn connection(&mut self, until: Instant) -> Result<RawConnection, Failure> {
        let present = self.connection.take();
        let stays =
            |connection: &RawConnection| connection.move_at.is_none_or(|at| Instant::now() < at);
        let leaving = match present {
            Some(connection) if stays(&connection) => return Ok(connection),
            leaving => leaving,
        };
        loop {
            match RawConnection::open(self.to).await {
                Ok(connection) => {
                    self.tally.event("connected");
                    if let Some(leaving) = leaving {
                        self.tally.event("moved");
                        tokio::spawn(leaving.close());
                    }
                    return Ok(connection);
                }
                Err(error) if Instant::now() >= until => {
                    return Err(Failure {
                        kind: "no connection".to_owned(),
                        text: format!("{error:#}"),
                    });
                }
                Err(_) => {
                    self.tally.event("could not connect");
                    sleep(PAUSE + random_below(PAUSE)).await;
                }
            }
        }
    }

    pub(crate) async fn leave(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }
}

/// What becomes of the one request under way.
async fn await_answer(connection: &mut RawConnection, until: Instant) -> Event {
    loop {
        match connection.event(until).await {
            Event::Move(_) => {}
            Event::Quiet if Instant::now() < until => {}
            decisive => return decisive,
        }
    }
}

impl RawConnection {
    /// After a write that failed: what the server said before it closed.
    async fn last_word(&mut self, error: &str, until: Instant) -> Event {
        match await_answer(self, until).await {
            Event::Lost(_) => Event::Lost(error.to_owned()),
            said => said,
        }
    }
}
