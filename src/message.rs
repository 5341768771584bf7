//! What passes between a connection and a handler: a [`Call`] one way, an [`Answer`] the other.

pub use crate::auth::{Identity, InFlight};
use crate::scheduler::Places;
use crate::telemetry::CallSpan;
use bytes::Bytes;
use mcpd_proto::topic::Topic;
use mcpd_proto::{ErrorCode, Meta, MetaBuf, Qos, Request};
use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;

/// No deadline is further away, so that it can be added to the clock: the longest timeout of a route.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// What a client may show of itself.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// Nothing.
    Nothing,
    /// AUTH_TOKEN of its HELLO.
    Token(&'a [u8]),
    /// A certificate of its TLS handshake.
    Certificate(&'a Certificate),
}

/// Who a client's certificate says it is. One of our client CAs vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Subject alternative names that are URIs.
    pub uris: Vec<String>,
    /// Those that are DNS names.
    pub dns_names: Vec<String>,
    /// Those that are mail addresses.
    pub emails: Vec<String>,
    /// When it expires.
    pub not_after: SystemTime,
}

/// What is made of a client's [`Proof`].
pub enum Verdict {
    /// Who it is; `None` where nobody asks.
    Now(Result<Option<Identity>, Denied>),
    /// The same, later: within seconds, whatever happens.
    Later(Pin<Box<dyn Future<Output = Result<Option<Identity>, Denied>> + Send>>),
}

/// A client is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Denied {
    /// UNAUTHENTICATED, or TOO_MANY_CONNECTIONS.
    pub code: ErrorCode,
    /// What the client is told; nothing secret.
    pub text: String,
    /// How long it should wait before it tries again.
    pub retry_after: Option<Duration>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Unique within this process.
    pub connection: u64,
    /// The client's address; the original one where the PROXY protocol tells it.
    pub addr: SocketAddr,
    /// CLIENT_ID of its HELLO.
    pub client_id: Option<Arc<str>>,
    /// Who has been authenticated.
    pub identity: Option<Arc<Identity>>,
}

/// A request as routing and handlers see it. It borrows from the buffer it was read into.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The valid topic.
    pub topic: Topic<'a>,
    /// What the client says.
    pub body: &'a [u8],
    /// Its metadata.
    pub meta: Meta<'a>,
    /// 0–7, higher is more urgent; for a handler no higher than its sender may.
    pub priority: u8,
    /// The least delivery the client accepts.
    pub qos: Qos,
    /// When its last byte was read.
    pub received: Instant,
    /// How long it was held back since then; mostly zero.
    pub waited: Duration,
    /// The longest that its route lets it take.
    pub limit: Duration,
    /// Where it came from.
    pub peer: &'a Arc<Peer>,
    /// Its span, when it is sampled. Whoever lets it wait before its handler runs says with
    /// [`CallSpan::start`] when the wait is over.
    pub span: Option<&'a Arc<CallSpan>>,
}

impl<'a> Call<'a> {
    /// The call of an admitted request.
    #[inline]
    pub(crate) fn new(
        request: &Request<'a>,
        topic: Topic<'a>,
        received: Instant,
        waited: Duration,
        peer: &'a Arc<Peer>,
    ) -> Call<'a> {
        let Request {
            body,
            meta,
            priority,
            qos,
            ..
        } = *request;
        Call {
            topic,
            body,
            meta,
            priority,
            qos,
            received,
            waited,
            limit: Duration::MAX,
            peer,
            span: None,
        }
    }

    /// When it came to its turn. All that one read brought share it.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.received + self.waited
    }

    /// When its answer is of no use any more: whoever asks somebody else passes on what is left.
    #[inline]
    pub fn deadline(&self) -> Instant {
        self.received + self.timeout(self.limit.min(MAX_TIMEOUT))
    }

    /// How long the client is willing to wait, at most `route`: what is left of its patience counts
    /// from the moment the frame was read.
    #[inline]
    pub fn timeout(&self, route: Duration) -> Duration {
        match self.meta.timeout_ms() {
            Some(ms) => route.min(Duration::from_millis(ms.into())),
            None => route,
        }
    }
}

/// The bytes of an answer.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// Bytes of the request or of the handler itself, copied into the outbound buffer.
    Borrowed(&'a [u8]),
    /// Bytes of their own; large ones go out without being copied.
    Shared(Bytes),
}

impl Body<'_> {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Body::Borrowed(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }
}

/// What a handler, or whoever refuses a request before one, says. There is one for every request.
#[derive(Debug, Clone)]
pub enum Answer<'a> {
    /// A RESPONSE.
    Response {
        /// Its body.
        body: Body<'a>,
        /// Media type of the body.
        content_type: Option<Cow<'a, str>>,
    },
    /// An ERROR on the request's `seq_id`.
    Error {
        /// What the client may conclude.
        code: ErrorCode,
        /// Text of at most 1 KiB; for HANDLER_ERROR a body.
        detail: Cow<'a, str>,
        /// How long the client should wait before it tries again.
        retry_after: Option<Duration>,
    },
    /// Either, with metadata of its own.
    Reply(Box<Reply>),
}

/// An answer as upstreams and functions give it: with HEADERs, a STATUS, a body for a HANDLER_ERROR
/// that is no text. See [`Answer`] for what handlers of ours say more shortly.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The code of an ERROR; `None` for a RESPONSE.
    pub code: Option<ErrorCode>,
    /// The body of a RESPONSE or HANDLER_ERROR; the text, at most 1 KiB of UTF-8, of another ERROR.
    pub body: Bytes,
    /// CONTENT_TYPE, HEADERs, STATUS, RETRY_AFTER_MS. TRACE and ROUTE_REVISION are the connection's.
    pub meta: MetaBuf,
}

impl From<Reply> for Answer<'_> {
    fn from(reply: Reply) -> Self {
        Answer::Reply(Box::new(reply))
    }
}

impl<'a> Answer<'a> {
    /// A RESPONSE with these bytes.
    #[inline]
    pub fn bytes(body: &'a [u8]) -> Answer<'a> {
        Answer::Response {
            body: Body::Borrowed(body),
            content_type: None,
        }
    }

    /// A RESPONSE whose body is JSON.
    pub fn json(body: Vec<u8>) -> Answer<'static> {
        let content_type = Some(Cow::Borrowed("application/json"));
        Answer::Response {
            body: Body::Shared(body.into()),
            content_type,
        }
    }

    /// An ERROR.
    pub fn error(code: ErrorCode, detail: impl Into<Cow<'a, str>>) -> Answer<'a> {
        Answer::Error {
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The same answer, owning what it borrowed.
    pub fn into_owned(self) -> Answer<'static> {
        match self {
            Answer::Response { body, content_type } => {
                let body = match body {
                    Body::Borrowed(bytes) => Body::Shared(Bytes::copy_from_slice(bytes)),
                    Body::Shared(bytes) => Body::Shared(bytes),
                };
                let content_type = content_type.map(|text| Cow::Owned(text.into_owned()));
                Answer::Response { body, content_type }
            }
            Answer::Error {
                code,
                detail,
                retry_after,
            } => Answer::Error {
                code,
                detail: Cow::Owned(detail.into_owned()),
                retry_after,
            },
            Answer::Reply(reply) => Answer::Reply(reply),
        }
    }

    /// Whether it is a RESPONSE.
    pub fn is_response(&self) -> bool {
        match self {
            Answer::Response { .. } => true,
            Answer::Error { .. } => false,
            Answer::Reply(reply) => reply.code.is_none(),
        }
    }

    /// The metadata of the answer's own, to which the connection adds.
    pub(crate) fn meta(&self) -> MetaBuf {
        let mut meta = MetaBuf::new();
        match self {
            Answer::Response {
                content_type: Some(content_type),
                ..
            } => {
                // A handler's media type that is no valid one is left out rather than failing what
                // has already been done.
                let _ = meta.set_content_type(content_type);
            }
            Answer::Error {
                retry_after: Some(wait),
                ..
            } => meta.set_retry_after(*wait),
            Answer::Reply(reply) => return reply.meta.clone(),
            _ => {}
        }
        meta
    }
}

/// Work whose answer comes later. Nothing of it may happen before it is first polled: until then it
/// counts as not executed. Who runs it polls it once more when its time is over, then drops it.
pub type Work = Pin<Box<dyn Future<Output = Answer<'static>> + Send>>;

/// Work that may run on the thread of the connection itself: it never blocks, and begins at once.
pub trait Hosted: Future<Output = Answer<'static>> + Send {
    /// Polls it for the first time. The thread may be one without timers; `time` has them, and is where tasks
    /// belong. Later polls are made from within it.
    fn begin(self: Pin<&mut Self>, cx: &mut Context<'_>, time: &Handle) -> Poll<Answer<'static>> {
        let _on = time.enter();
        self.poll(cx)
    }

    /// The client has given it up. Gives whether it answers all the same, as soon as what it has begun
    /// elsewhere is over; if not, it is dropped.
    fn cancel(self: Pin<&mut Self>) -> bool;

    /// Where its places at the gates are put; it holds them until it is dropped.
    fn places(self: Pin<&mut Self>) -> &mut Places;

    /// Drops it; whoever makes many of its kind may use the memory again.
    fn recycle(self: Pin<Box<Self>>) {}
}

impl Hosted for Here {
    fn begin(self: Pin<&mut Self>, cx: &mut Context<'_>, time: &Handle) -> Poll<Answer<'static>> {
        self.get_mut().as_mut().begin(cx, time)
    }

    fn cancel(self: Pin<&mut Self>) -> bool {
        self.get_mut().as_mut().cancel()
    }

    fn places(self: Pin<&mut Self>) -> &mut Places {
        self.get_mut().as_mut().places()
    }
}

/// [`Hosted`] work. Whoever cannot host it can have it run as [`Work`], which it is as well.
pub type Here = Pin<Box<dyn Hosted>>;

/// What calling a handler gives.
pub enum Outcome<'a> {
    /// The answer, at once: no task, no channel, no allocation.
    Now(Answer<'a>),
    /// Work to be run by the connection. Dropping it must stop it.
    Later(Work),
    /// The same for work that the connection can host: it wakes no other thread.
    Here(Here),
    /// Work as of [`Outcome::Later`], but the handler's part of it may have to wait: until it has [`Begun`], the request
    /// counts as not executed.
    Waiting(Work, Begun),
}

impl Outcome<'_> {
    /// The same, owning what it borrowed.
    pub fn into_owned(self) -> Outcome<'static> {
        match self {
            Outcome::Now(answer) => Outcome::Now(answer.into_owned()),
            Outcome::Later(work) => Outcome::Later(work),
            Outcome::Here(work) => Outcome::Here(work),
            Outcome::Waiting(work, begun) => Outcome::Waiting(work, begun),
        }
    }
}

/// Whether work that waits for its place has begun.
#[derive(Debug, Clone, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    /// It begins now.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Outcome::Later(_) => f.write_str("Later"),
            Outcome::Here(_) => f.write_str("Here"),
            Outcome::Waiting(..) => f.write_str("Waiting"),
        }
    }
}

/// A call that owns what it refers to, for its turn that comes when the read buffer is gone.
#[derive(Debug, Clone)]
pub(crate) struct OwnedCall {
    topic: Box<str>,
    body: Bytes,
    meta: Box<[u8]>,
    priority: u8,
    qos: Qos,
    received: Instant,
    limit: Duration,
    peer: Arc<Peer>,
    span: Option<Arc<CallSpan>>,
}

impl From<&Call<'_>> for OwnedCall {
    fn from(call: &Call<'_>) -> OwnedCall {
        OwnedCall {
            topic: call.topic.as_str().into(),
            body: Bytes::copy_from_slice(call.body),
            meta: call.meta.as_bytes().into(),
            priority: call.priority,
            qos: call.qos,
            received: call.received,
            limit: call.limit,
            peer: Arc::clone(call.peer),
            span: call.span.cloned(),
        }
    }
}

impl OwnedCall {
    /// The call again, now; `None` never happens, as topic and metadata were valid before.
    pub(crate) fn as_call(&self) -> Option<Call<'_>> {
        Some(Call {
            topic: Topic::parse(self.topic.as_bytes()).ok()?,
            body: &self.body,
            meta: Meta::parse(&self.meta).ok()?,
            priority: self.priority,
            qos: self.qos,
            received: self.received,
            waited: self.received.elapsed(),
            limit: self.limit,
            peer: &self.peer,
            span: self.span.as_ref(),
        })
    }
}
