//! What a connection's task does with the bytes of the server.

use super::{Driver, Flow, gave_up, now};
use crate::error::Error;
use crate::reply::Answer;
use crate::shared::Shared;
use crate::state::{Closed, GoingAway, ServerInfo};
use mcpd_proto::session::{Client, ClientEvent, Ended, LinkReport};
use mcpd_proto::{ErrorCode, Meta};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

impl<R, W> Driver<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Takes the first `count` bytes of the buffer.
    pub(super) fn received(&mut self, count: usize) -> Flow {
        let now = now();
        self.session.bytes_received(now);
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.frames(&buffer[..count], now);
        std::mem::swap(&mut self.buffer, &mut buffer);
        result?;
        self.on_busy_deadline(now)
    }

    fn frames(&mut self, mut input: &[u8], now: std::time::Instant) -> Flow {
        let rules = self.session.rules();
        loop {
            let cut = self.deframer.next(&mut input, &rules, now);
            let Some(raw) = cut.map_err(|error| gave_up(error.into()))? else {
                return Ok(());
            };
            let session = &mut self.session;
            let event = self
                .outbox
                .control_with(|out| session.receive(&raw, now, out));
            match event.map_err(gave_up)? {
                ClientEvent::None | ClientEvent::Link(LinkReport::Miss) => {}
                ClientEvent::Response(response) => self.calls.answer(response.seq, |granted| {
                    Ok(Answer::new(&response, raw.payload, granted))
                }),
                ClientEvent::Failed(error) => {
                    self.calls
                        .answer(error.seq, |_| Err(Error::from_frame(&error, raw.payload)));
                }
                ClientEvent::Ack(ack) => self.calls.acked(ack.seq, ack.qos),
                ClientEvent::Link(LinkReport::RoundTrip(time)) => {
                    for waiting in self.pings.drain(..) {
                        let _ = waiting.send(time);
                    }
                }
                ClientEvent::GoAway(frame) => self.shared.going_away(GoingAway::new(&frame)),
                ClientEvent::Welcome(hello) => {
                    if self.opened.is_none() {
                        let text = "the server answered HELLO twice";
                        return Err(gave_up(Ended::new(ErrorCode::PROTOCOL_ERROR, text)));
                    }
                    open(&mut self.opened, &self.shared, &self.session, &hello.meta);
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
    session: &Client,
    hello: &Meta<'_>,
) {
    let info = ServerInfo::new(session, hello);
    shared.open(info.max_in_flight);
    if let Some(opened) = opened.take() {
        // Whoever connects may have given up; the task then ends for want of handles.
        let _ = opened.send(info);
    }
}
