//! Building a request.

use crate::connection::Connection;
use crate::driver::now;
use crate::error::{Error, Result};
use crate::exchange::Attempt;
use crate::reply::Answer;
use crate::text::Text;
use bytes::Bytes;
use mcpd_proto::limits::MAX_PRIORITY;
use mcpd_proto::topic::Topic;
use mcpd_proto::{MetaBuf, MetaError, Qos, Trace};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request under construction, and whom it goes to: see [`Connection::request`] and
/// [`Client::request`](crate::Client::request).
///
/// What is wrong with it is told by `send`.
#[derive(Debug, Clone)]
#[must_use = "a request goes out when it is sent"]
pub struct RequestBuilder<T = Connection> {
    pub(crate) target: T,
    pub(crate) parts: Parts,
}

/// A request that goes to nobody yet, to be kept, passed through layers and sent by
/// [`Client::send`](crate::Client::send).
///
/// ```
/// use mcpd_client::Request;
/// let request = Request::new("user/login").body(r#"{"user":"ada"}"#).priority(5).qos(1);
/// assert_eq!(request.topic(), "user/login");
/// ```
pub type Request = RequestBuilder<()>;

/// What a request says, whoever it goes to.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) topic: Text,
    /// Whether the topic is known to be one.
    pub(crate) is_topic: bool,
    pub(crate) body: Bytes,
    pub(crate) priority: u8,
    pub(crate) qos: Qos,
    pub(crate) dup: bool,
    pub(crate) patience: Patience,
    pub(crate) meta: MetaBuf,
    problem: Option<Problem>,
}

/// How long a caller wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as is usual.
    Usual,
    Time(Duration),
    Endless,
}

#[derive(Debug, Clone, Copy)]
enum Problem {
    Meta(MetaError),
    Qos(u8),
}

impl Parts {
    /// What can be told to be wrong without a connection.
    pub(crate) fn check(&self) -> Result<()> {
        match self.problem {
            Some(Problem::Meta(problem)) => return Err(problem.into()),
            Some(Problem::Qos(qos)) => {
                return Err(Error::invalid(format!("QoS is 0, 1 or 2, not {qos}")));
            }
            None => {}
        }
        if self.priority > MAX_PRIORITY {
            let text = format!("priority {} is above {MAX_PRIORITY}", self.priority);
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    pub(crate) fn check_topic(&self) -> Result<()> {
        let parsed = Topic::parse(self.topic.as_bytes());
        parsed.map(drop).map_err(|problem| {
            Error::invalid(format!("the topic is not valid: {problem}"))
                .with_source(Arc::new(problem))
        })
    }

    /// When patience ends; a time too long to be reckoned with is none.
    pub(crate) fn deadline(&self, usual: Option<Duration>, now: Instant) -> Option<Instant> {
        let time = match self.patience {
            Patience::Usual => usual,
            Patience::Time(time) => Some(time),
            Patience::Endless => None,
        };
        time.and_then(|time| now.checked_add(time))
    }
}

impl RequestBuilder<()> {
    /// Begins a request to a topic: UTF-8 of 1–255 bytes.
    pub fn new(topic: impl AsRef<str>) -> Request {
        RequestBuilder::to((), topic.as_ref())
    }

    /// Makes another request of it, to a topic that was parsed before and with everything else as in a new one. Its
    /// memory is used again, for whoever sends many.
    ///
    /// ```
    /// use mcpd_client::Request;
    /// use mcpd_proto::topic::Topic;
    ///
    /// let mut request = Request::new("first").header("tenant", "acme").body("1").priority(7);
    /// request.renew(Topic::parse(b"second")?);
    /// request.set_body("2");
    /// request.meta_mut().set_hops(3);
    /// assert_eq!(request.topic(), "second");
    /// # Ok::<(), mcpd_proto::topic::TopicError>(())
    /// ```
    pub fn renew(&mut self, topic: Topic<'_>) {
        let parts = &mut self.parts;
        parts.topic.set(topic.as_str());
        parts.is_topic = true;
        parts.body = Bytes::new();
        (parts.priority, parts.qos, parts.dup) = (0, Qos::AtMostOnce, false);
        (parts.patience, parts.problem) = (Patience::Usual, None);
        parts.meta.clear();
    }

    /// Sets the body, as [`body`](RequestBuilder::body) does.
    pub fn set_body(&mut self, body: impl Into<Body>) {
        self.parts.body = body.into().0;
    }

    /// Sets the priority, as [`priority`](RequestBuilder::priority) does.
    pub fn set_priority(&mut self, priority: u8) {
        self.parts.priority = priority;
    }

    /// Its metadata, to be added to.
    pub fn meta_mut(&mut self) -> &mut MetaBuf {
        &mut self.parts.meta
    }
}

impl<T> RequestBuilder<T> {
    pub(crate) fn to(target: T, topic: &str) -> RequestBuilder<T> {
        RequestBuilder {
            target,
            parts: Parts {
                topic: topic.into(),
                is_topic: false,
                body: Bytes::new(),
                priority: 0,
                qos: Qos::AtMostOnce,
                dup: false,
                patience: Patience::Usual,
                meta: MetaBuf::new(),
                problem: None,
            },
        }
    }

    /// The topic it goes to.
    pub fn topic(&self) -> &str {
        self.parts.topic.as_str()
    }

    /// What the request says. A [`Bytes`] or `Vec<u8>` is not copied, a slice is.
    pub fn body(mut self, body: impl Into<Body>) -> RequestBuilder<T> {
        self.parts.body = body.into().0;
        self
    }

    /// Says `value` as JSON, and names that as the body's media type.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the value cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json<B: serde::Serialize + ?Sized>(self, value: &B) -> Result<RequestBuilder<T>> {
        let body = serde_json::to_vec(value).map_err(|problem| {
            Error::invalid("the body cannot be written as JSON").with_source(Arc::new(problem))
        })?;
        Ok(self.body(body).content_type("application/json"))
    }

    /// 0–7, higher is more urgent; 0 unless set.
    pub fn priority(mut self, priority: u8) -> RequestBuilder<T> {
        self.parts.priority = priority;
        self
    }

    /// The least delivery that will do, as a [`Qos`] or its number; [`Qos::AtMostOnce`] unless set.
    pub fn qos(mut self, qos: impl IntoQos) -> RequestBuilder<T> {
        match qos.into_qos() {
            Ok(qos) => self.parts.qos = qos,
            Err(number) => self.parts.problem = Some(Problem::Qos(number)),
        }
        self
    }

    /// Marks a request that was sent before; diagnostic only.
    pub fn dup(mut self, dup: bool) -> RequestBuilder<T> {
        self.parts.dup = dup;
        self
    }

    /// How long the answer is of use. The server is told what is left of it when the request goes
    /// out; here the wait ends a quarter of a second later with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), and the request is cancelled. Without it
    /// the route's own time holds on a bare connection, where the wait here has no end but that of
    /// the connection; a [`Client`](crate::Client) has a time of its own.
    pub fn timeout(mut self, timeout: Duration) -> RequestBuilder<T> {
        self.parts.patience = Patience::Time(timeout);
        self
    }

    /// Waits without end, and leaves the time to the route. With a [`Client`](crate::Client) this
    /// waits for servers, too, however long they are gone.
    pub fn no_timeout(mut self) -> RequestBuilder<T> {
        self.parts.patience = Patience::Endless;
        self
    }

    /// Adds a header: key of 1–64 `[a-z0-9_.-]`, value ≤ 4 KiB without CR, LF and NUL; at most 64.
    pub fn header(mut self, key: &str, value: impl AsRef<[u8]>) -> RequestBuilder<T> {
        let added = self.parts.meta.add_header(key, value.as_ref());
        self.note(added)
    }

    /// Media type of the body: ASCII, ≤ 255 bytes.
    pub fn content_type(mut self, content_type: &str) -> RequestBuilder<T> {
        let set = self.parts.meta.set_content_type(content_type);
        self.note(set)
    }

    /// The trace this belongs to, and the caller's span.
    pub fn trace(mut self, trace: Trace) -> RequestBuilder<T> {
        self.parts.meta.set_trace(trace);
        self
    }

    /// Names the message, so that copies of it can be told (UUIDv7 advised); QoS 2 needs it. A
    /// [`Client`](crate::Client) makes one by itself for QoS 1 and 2.
    pub fn message_id(mut self, id: [u8; 16]) -> RequestBuilder<T> {
        self.parts.meta.set_message_id(id);
        self
    }

    /// The memory of message ids on which this id was first sent: that server's
    /// [`incarnation`](crate::ServerInfo::incarnation).
    pub fn incarnation(mut self, incarnation: [u8; 16]) -> RequestBuilder<T> {
        self.parts.meta.set_incarnation(incarnation);
        self
    }

    /// The time since this message id was first sent; over 49 days reads as 49 days. To a
    /// [`Client`](crate::Client) it says as well that the message may have run already.
    pub fn age(mut self, age: Duration) -> RequestBuilder<T> {
        let ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        self.parts.meta.set_age_ms(ms);
        self
    }

    /// Replaces all metadata set so far. For what has no method here; what is set later is added.
    pub fn meta(mut self, meta: MetaBuf) -> RequestBuilder<T> {
        self.parts.meta = meta;
        self
    }

    fn note(mut self, result: Result<(), MetaError>) -> RequestBuilder<T> {
        let problem = result.err().map(Problem::Meta);
        self.parts.problem = self.parts.problem.or(problem);
        self
    }
}

impl RequestBuilder<Connection> {
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
        self.parts.check()?;
        let now = now();
        let deadline = self.parts.deadline(None, now);
        let attempt = Attempt::plain(&self.parts, deadline);
        self.target.call(&attempt, now).await
    }
}

/// What a [`Qos`] can be written as: itself or its number on the wire.
pub trait IntoQos: sealed::Sealed {
    /// The QoS, or the number that stands for none.
    #[doc(hidden)]
    fn into_qos(self) -> Result<Qos, u8>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for mcpd_proto::Qos {}
    impl Sealed for u8 {}
}

impl IntoQos for Qos {
    fn into_qos(self) -> Result<Qos, u8> {
        Ok(self)
    }
}

impl IntoQos for u8 {
    fn into_qos(self) -> Result<Qos, u8> {
        Qos::from_wire(self).ok_or(self)
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
