//! Building a request and waiting for its answer.

use crate::connection::Connection;
use crate::driver::{Call, Command, Waiting, now};
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::reply::Answer;
use crate::shared::Shared;
use bytes::Bytes;
use mcpd_proto::limits::MAX_PRIORITY;
use mcpd_proto::{MetaBuf, MetaError, Qos, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

/// How much longer than the server one waits here: its own answer to a request out of time says
/// more than silence does.
const GRACE: Duration = Duration::from_millis(250);

/// A request under construction: see [`Connection::request`].
///
/// What is wrong with it is told by [`RequestBuilder::send`].
#[derive(Debug, Clone)]
#[must_use = "a request goes out when it is sent"]
pub struct RequestBuilder {
    connection: Connection,
    topic: Box<str>,
    body: Bytes,
    priority: u8,
    qos: Qos,
    dup: bool,
    timeout: Option<Duration>,
    meta: MetaBuf,
    problem: Option<MetaError>,
}

impl RequestBuilder {
    pub(crate) fn new(connection: Connection, topic: &str) -> RequestBuilder {
        RequestBuilder {
            connection,
            topic: topic.into(),
            body: Bytes::new(),
            priority: 0,
            qos: Qos::AtMostOnce,
            dup: false,
            timeout: None,
            meta: MetaBuf::new(),
            problem: None,
        }
    }

    /// What the request says. A [`Bytes`] or `Vec<u8>` is not copied, a slice is.
    pub fn body(mut self, body: impl Into<Body>) -> RequestBuilder {
        self.body = body.into().0;
        self
    }

    /// 0–7, higher is more urgent; 0 unless set.
    pub fn priority(mut self, priority: u8) -> RequestBuilder {
        self.priority = priority;
        self
    }

    /// The least delivery that will do; [`Qos::AtMostOnce`] unless set.
    pub fn qos(mut self, qos: Qos) -> RequestBuilder {
        self.qos = qos;
        self
    }

    /// Marks a request that was sent before; diagnostic only.
    pub fn dup(mut self, dup: bool) -> RequestBuilder {
        self.dup = dup;
        self
    }

    /// How long the answer is of use. The server is told what is left of it when the request goes
    /// out; here the wait ends a quarter of a second later with [`ErrorKind::Timeout`], and the
    /// request is cancelled. Without it the route's own time holds, and the wait here has no end but
    /// that of the connection.
    pub fn timeout(mut self, timeout: Duration) -> RequestBuilder {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a header: key of 1–64 `[a-z0-9_.-]`, value ≤ 4 KiB without CR, LF and NUL; at most 64.
    pub fn header(mut self, key: &str, value: impl AsRef<[u8]>) -> RequestBuilder {
        let added = self.meta.add_header(key, value.as_ref());
        self.note(added)
    }

    /// Media type of the body: ASCII, ≤ 255 bytes.
    pub fn content_type(mut self, content_type: &str) -> RequestBuilder {
        let set = self.meta.set_content_type(content_type);
        self.note(set)
    }

    /// The trace this belongs to, and the caller's span.
    pub fn trace(mut self, trace: Trace) -> RequestBuilder {
        self.meta.set_trace(trace);
        self
    }

    /// Names the message, so that copies of it can be told (UUIDv7 advised); QoS 2 needs it.
    pub fn message_id(mut self, id: [u8; 16]) -> RequestBuilder {
        self.meta.set_message_id(id);
        self
    }

    /// The memory of message ids on which this id was first sent: that server's
    /// [`incarnation`](crate::ServerInfo::incarnation).
    pub fn incarnation(mut self, incarnation: [u8; 16]) -> RequestBuilder {
        self.meta.set_incarnation(incarnation);
        self
    }

    /// The time since this message id was first sent; over 49 days reads as 49 days.
    pub fn age(mut self, age: Duration) -> RequestBuilder {
        let ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        self.meta.set_age_ms(ms);
        self
    }

    /// Replaces all metadata set so far. For what has no method here; what is set later is added.
    pub fn meta(mut self, meta: MetaBuf) -> RequestBuilder {
        self.meta = meta;
        self
    }

    fn note(mut self, result: Result<(), MetaError>) -> RequestBuilder {
        self.problem = self.problem.or(result.err());
        self
    }

    /// Sends the request and waits for its final answer.
    ///
    /// Waits first, in the order of the calls, while as many requests are unanswered as the server
    /// allows, or while it does not read. Dropping the future gives the request up: one that is on
    /// its way is cancelled, and its place is free when the server has answered that.
    ///
    /// # Errors
    /// [`Error`]: its [`kind`](Error::kind) says what went wrong, its [`class`](Error::class)
    /// whether the request ran.
    pub async fn send(self) -> Result<Answer> {
        self.check()?;
        // A time too long to be reckoned with is none.
        let deadline = self.timeout.and_then(|time| now().checked_add(time));
        let handle = self.connection.clone();
        let shared = handle.shared();
        let mut given_up = GiveUp::new(shared);
        let receiver = match deadline {
            None => self.submit(None).await?,
            Some(at) => match timeout_at(at.into(), self.submit(deadline)).await {
                Ok(receiver) => receiver?,
                Err(_) => return Err(Error::not_sent_in_time()),
            },
        };
        let receiver = given_up.watch(receiver);
        let answer = match deadline.and_then(|at| at.checked_add(GRACE)) {
            None => receiver.await,
            Some(at) => match timeout_at(at.into(), receiver).await {
                Ok(answer) => answer,
                Err(_) => return Err(not_answered_in_time()),
            },
        };
        given_up.settled();
        // The task is gone without a word when its runtime is.
        answer.unwrap_or_else(|_| Err(shared.closed().error(ErrorClass::Unknown)))
    }

    fn check(&self) -> Result<()> {
        if let Some(problem) = self.problem {
            return Err(problem.into());
        }
        if self.priority > MAX_PRIORITY {
            let text = format!("priority {} is above {MAX_PRIORITY}", self.priority);
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    /// Waits for a slot and for room on the way to the task.
    async fn submit(self, deadline: Option<Instant>) -> Result<oneshot::Receiver<Result<Answer>>> {
        let shared = self.connection.shared();
        let refused = || shared.closed().error(ErrorClass::NotExecuted);
        let slot = shared
            .slots
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| refused())?;
        let room = self
            .connection
            .commands()
            .reserve()
            .await
            .map_err(|_| refused())?;
        let (reply, receiver) = oneshot::channel();
        room.send(Command::Call(Box::new(Call {
            topic: self.topic,
            body: self.body,
            priority: self.priority,
            qos: self.qos,
            dup: self.dup,
            meta: self.meta,
            deadline,
            waiting: Waiting { reply, slot },
        })));
        Ok(receiver)
    }
}

fn not_answered_in_time() -> Error {
    let text = "no answer within the time given";
    Error::new(ErrorKind::Timeout, ErrorClass::Unknown, text)
}

/// Tells the task when a call's future is dropped before its answer came.
struct GiveUp<'a> {
    shared: &'a Arc<Shared>,
    receiver: Option<oneshot::Receiver<Result<Answer>>>,
}

impl<'a> GiveUp<'a> {
    fn new(shared: &'a Arc<Shared>) -> GiveUp<'a> {
        GiveUp {
            shared,
            receiver: None,
        }
    }

    fn watch(
        &mut self,
        receiver: oneshot::Receiver<Result<Answer>>,
    ) -> &mut oneshot::Receiver<Result<Answer>> {
        self.receiver.insert(receiver)
    }

    fn settled(&mut self) {
        self.receiver = None;
    }
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(mut receiver) = self.receiver.take() {
            // Closed first, so that the task sees it when it looks.
            receiver.close();
            self.shared.gave_up();
        }
    }
}

/// The body of a request, from any of the usual owners of bytes.
#[derive(Debug, Clone, Default)]
pub struct Body(Bytes);

macro_rules! bodies {
    ($($from:ty: $how:expr;)*) => {
        $(impl From<$from> for Body {
            fn from(bytes: $from) -> Body {
                Body($how(bytes))
            }
        })*
    };
}

bodies! {
    Bytes: std::convert::identity;
    Vec<u8>: Bytes::from;
    String: Bytes::from;
    &[u8]: Bytes::copy_from_slice;
    &Vec<u8>: |bytes: &Vec<u8>| Bytes::copy_from_slice(bytes);
    &str: |text: &str| Bytes::copy_from_slice(text.as_bytes());
}

impl<const N: usize> From<&[u8; N]> for Body {
    fn from(bytes: &[u8; N]) -> Body {
        Body(Bytes::copy_from_slice(bytes))
    }
}
