//! What a connection's task does with the bytes of the server.

use super::{Driver, Flow, gave_up};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::reply::Answer;
use crate::shared::Shared;
use crate::state::{Closed, GoingAway, ServerInfo};
use mcpd_proto::session::{ClientEvent, Ended, LinkReport};
use mcpd_proto::{Deframer, ErrorCode};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// What the frames of one read lead to, once the exchange is free for others again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Callers whose answer is there.
    pub(super) woken: Vec<Waker>,
    welcome: Option<ServerInfo>,
    going_away: Option<GoingAway>,
    pongs: Vec<(oneshot::Sender<Duration>, Duration)>,
}

impl<R, W> Driver<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Takes the first `count` bytes of the buffer.
    pub(super) fn received(&mut self, count: usize) -> Flow {
        let mut exchange = self.shared.exchange();
        exchange.session.bytes_received(self.now);
        let first = self.opened.is_some();
        let input = &self.buffer[..count];
        let frames = Frames {
            deframer: &mut self.deframer,
            exchange: &mut exchange,
            batch: &mut self.batch,
            now: self.now,
        };
        let result = frames.take(input, first);
        let settled = exchange.take_settled();
        drop(exchange);
        self.shared.release(settled);
        self.deliver();
        result?;
        self.on_busy_deadline()
    }

    /// Tells everybody what the last read brought.
    fn deliver(&mut self) {
        if let Some(info) = self.batch.welcome.take() {
            open(&mut self.opened, &self.shared, info);
        }
        if let Some(why) = self.batch.going_away.take() {
            self.shared.going_away(why);
        }
        for (waiting, time) in self.batch.pongs.drain(..) {
            let _ = waiting.send(time);
        }
        self.batch.wake();
    }
}

impl Batch {
    pub(super) fn wake(&mut self) {
        self.woken.drain(..).for_each(Waker::wake);
    }
}

/// The frames of one read, and those whom they concern.
struct Frames<'a> {
    deframer: &'a mut Deframer,
    exchange: &'a mut Exchange,
    batch: &'a mut Batch,
    now: Instant,
}

impl Frames<'_> {
    /// Takes them all. `unopened`: the server's HELLO is still to come.
    fn take(self, mut input: &[u8], mut unopened: bool) -> Flow {
        let Frames {
            deframer,
            exchange,
            batch,
            now,
        } = self;
        let rules = exchange.session.rules();
        loop {
            let cut = deframer.next(&mut input, &rules, now);
            let Some(raw) = cut.map_err(|error| gave_up(error.into()))? else {
                return Ok(());
            };
            let Exchange {
                session, outbox, ..
            } = &mut *exchange;
            let event = outbox.control_with(|out| session.receive(&raw, now, out));
            match event.map_err(gave_up)? {
                ClientEvent::None | ClientEvent::Link(LinkReport::Miss) => {}
                ClientEvent::Response(response) => {
                    exchange.answer(response.seq, &mut batch.woken, |granted| {
                        Ok(Answer::new(&response, raw.payload, granted))
                    });
                }
                ClientEvent::Failed(error) => {
                    exchange.answer(error.seq, &mut batch.woken, |_| {
                        Err(Error::from_frame(&error, raw.payload))
                    });
                }
                ClientEvent::Ack(ack) => exchange.acked(ack.seq, ack.qos),
                ClientEvent::Link(LinkReport::RoundTrip(time)) => {
                    let pings = exchange.pings.drain(..);
                    batch.pongs.extend(pings.map(|waiting| (waiting, time)));
                }
                ClientEvent::GoAway(frame) => batch.going_away = Some(GoingAway::new(&frame)),
                ClientEvent::Welcome(hello) => {
                    if !std::mem::take(&mut unopened) {
                        let text = "the server answered HELLO twice";
                        return Err(gave_up(Ended::new(ErrorCode::PROTOCOL_ERROR, text)));
                    }
                    batch.welcome = Some(ServerInfo::new(&exchange.session, &hello.meta));
                }
                ClientEvent::Closed(error) => return Err(Closed::by_server(&error)),
            }
        }
    }
}

/// The connection takes requests from now on.
pub(super) fn open(
    opened: &mut Option<oneshot::Sender<ServerInfo>>,
    shared: &Shared,
    info: ServerInfo,
) {
    shared.open(info.max_in_flight);
    if let Some(opened) = opened.take() {
        // Whoever connects may have given up; the task then ends for want of handles.
        let _ = opened.send(info);
    }
}
