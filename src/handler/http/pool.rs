//! The connections to one endpoint.

use super::dial::{Dialed, Dialer, Request, Task};
use super::wire::WireState;
use crate::upstream::{Connections, Sent, Transport};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Version;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that share a connection of HTTP/2; most servers take no more.
pub(super) const MAX_STREAMS: usize = 100;

/// The connections to one endpoint.
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    addr: SocketAddr,
    dialer: Arc<Dialer>,
    idle_timeout: Duration,
    links: Mutex<Links>,
    active: AtomicUsize,
    /// Held while a connection is opened that others will share.
    dialing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Links {
    /// The one used last is at the end, and used next: so that those that are too many get old.
    idle: Vec<Idle>,
    shared: Vec<Arc<Shared>>,
}

struct Idle {
    one: One,
    since: Instant,
}

/// A connection that carries one request at a time.
struct One {
    sender: http1::SendRequest<Full<Bytes>>,
    wire: Arc<WireState>,
    _task: Task,
}

/// A connection that many requests share.
struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    streams: AtomicUsize,
    idle_since: Mutex<Instant>,
    _task: Task,
}

/// The use of a connection: one that is dropped before its answer is complete takes the connection, or its
/// stream, with it.
pub(super) struct Lease {
    inner: Arc<Inner>,
    link: Option<Link>,
}

enum Link {
    One(One),
    Two(Arc<Shared>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Not a byte of the request was taken.
    NotSent(String),
    /// The server says that it has not looked at it.
    Refused,
    /// It was sent, or part of it.
    Lost(String),
}

/// The same, where another connection can still be tried.
enum Once {
    Unsent(String),
    Failed(Failed),
}

impl Pool {
    pub(super) fn new(addr: SocketAddr, dialer: Arc<Dialer>, idle_timeout: Duration) -> Pool {
        Pool(Arc::new(Inner {
            addr,
            dialer,
            idle_timeout,
            links: Mutex::default(),
            active: AtomicUsize::new(0),
            dialing: tokio::sync::Mutex::default(),
        }))
    }

    /// Sends a request, on connections that are there as long as they prove not to have taken it, then on a
    /// new one. The head of its answer, and the use of the connection until its end.
    pub(super) async fn send(
        &self,
        make: impl Fn(Version) -> Request,
        sent: &Sent,
    ) -> Result<(hyper::Response<Incoming>, Lease), Failed> {
        while let Some(mut lease) = self.0.take() {
            match lease.send(&make, sent, true).await {
                Ok(response) => return Ok((response, lease)),
                Err(Once::Unsent(_)) => lease.discard(),
                Err(Once::Failed(failed)) => return Err(failed),
            }
        }
        let mut lease = self.0.open().await?;
        match lease.send(&make, sent, false).await {
            Ok(response) => Ok((response, lease)),
            Err(Once::Unsent(why)) => Err(Failed::NotSent(why)),
            Err(Once::Failed(failed)) => Err(failed),
        }
    }
}

impl Inner {
    /// They are changed in single steps.
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(self: &Arc<Self>, link: Link) -> Lease {
        if matches!(link, Link::One(_)) {
            self.active.fetch_add(1, Ordering::Relaxed);
        }
        let inner = Arc::clone(self);
        Lease {
            inner,
            link: Some(link),
        }
    }

    /// A connection that is there and has room.
    fn take(self: &Arc<Self>) -> Option<Lease> {
        let link = {
            let mut links = self.links();
            links.shared.retain(|one| !one.sender.is_closed());
            match links.shared.iter().find(|one| one.enter()) {
                Some(shared) => Link::Two(Arc::clone(shared)),
                None => {
                    let open = |idle: &Idle| !idle.one.sender.is_closed();
                    let idle = std::iter::from_fn(|| links.idle.pop()).find(open)?;
                    Link::One(idle.one)
                }
            }
        };
        Some(self.lease(link))
    }

    async fn open(self: &Arc<Self>) -> Result<Lease, Failed> {
        let mut _turn = None;
        if self.dialer.shares() {
            _turn = Some(self.dialing.lock().await);
            // Whoever had the turn before may have opened one for all.
            if let Some(lease) = self.take() {
                return Ok(lease);
            }
        }
        let dialed = self.dialer.dial(self.addr).await;
        let dialed = dialed.map_err(|error| Failed::NotSent(error.to_string()))?;
        Ok(self.lease(match dialed {
            Dialed::One(sender, wire, _task) => Link::One(One {
                sender,
                wire,
                _task,
            }),
            Dialed::Two(sender, _task) => {
                let shared = Arc::new(Shared {
                    sender,
                    streams: AtomicUsize::new(1),
                    idle_since: Mutex::new(Instant::now()),
                    _task,
                });
                self.links().shared.push(Arc::clone(&shared));
                Link::Two(shared)
            }
        }))
    }
}

impl Shared {
    fn enter(&self) -> bool {
        let room = |streams| (streams < MAX_STREAMS).then_some(streams + 1);
        let entered = self
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        entered.is_ok()
    }

    fn leave(&self) {
        if self.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            let since = self.idle_since.lock();
            *since.unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn is_used(&self) -> bool {
        self.streams.load(Ordering::Acquire) > 0
    }

    fn is_idle_since(&self, before: Instant) -> bool {
        let since = self.idle_since.lock();
        !self.is_used() && *since.unwrap_or_else(PoisonError::into_inner) < before
    }
}

impl Lease {
    async fn send(
        &mut self,
        make: &impl Fn(Version) -> Request,
        sent: &Sent,
        reused: bool,
    ) -> Result<hyper::Response<Incoming>, Once> {
        match &mut self.link {
            Some(Link::One(one)) => one.send(make(Version::HTTP_11), sent, reused).await,
            Some(Link::Two(shared)) => {
                two(shared.sender.clone(), make(Version::HTTP_2), sent).await
            }
            None => Err(Once::Unsent("the connection is gone".to_owned())),
        }
    }

    /// The answer is complete: the connection may be used again.
    pub(super) fn done(mut self) {
        let Some(Link::One(_)) = &self.link else {
            return;
        };
        self.inner.active.fetch_sub(1, Ordering::Relaxed);
        if let Some(Link::One(one)) = self.link.take()
            && !one.sender.is_closed()
        {
            let since = Instant::now();
            self.inner.links().idle.push(Idle { one, since });
        }
    }

    /// The connection takes no requests.
    fn discard(mut self) {
        if let Some(Link::Two(shared)) = &self.link {
            let gone = |one: &Arc<Shared>| !Arc::ptr_eq(one, shared);
            self.inner.links().shared.retain(gone);
        }
        self.let_go();
    }

    fn let_go(&mut self) {
        match self.link.take() {
            Some(Link::One(_)) => drop(self.inner.active.fetch_sub(1, Ordering::Relaxed)),
            Some(Link::Two(shared)) => shared.leave(),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl One {
    async fn send(
        &mut self,
        request: Request,
        sent: &Sent,
        reused: bool,
    ) -> Result<hyper::Response<Incoming>, Once> {
        if let Err(error) = self.sender.ready().await {
            return Err(Once::Unsent(tell(&error)));
        }
        let before = match reused {
            true => self.wire.arm(),
            false => self.wire.written(),
        };
        sent.set();
        let failed = match self.sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        // Given back, it was not even written into a buffer; else the socket knows.
        if failed.message().is_some() || self.wire.written() == before {
            sent.unset();
            return Err(Once::Unsent(tell(failed.error())));
        }
        Err(Once::Failed(Failed::Lost(tell(failed.error()))))
    }
}

async fn two(
    mut sender: http2::SendRequest<Full<Bytes>>,
    request: Request,
    sent: &Sent,
) -> Result<hyper::Response<Incoming>, Once> {
    if let Err(error) = sender.ready().await {
        return Err(Once::Unsent(tell(&error)));
    }
    sent.set();
    let failed = match sender.try_send_request(request).await {
        Ok(response) => return Ok(response),
        Err(failed) => failed,
    };
    if failed.message().is_some() {
        sent.unset();
        return Err(Once::Unsent(tell(failed.error())));
    }
    let failed = failed.into_error();
    // RFC 9113, 8.7: it was not processed at all.
    if reset_reason(&failed) == Some(h2::Reason::REFUSED_STREAM) {
        return Err(Once::Failed(Failed::Refused));
    }
    Err(Once::Failed(Failed::Lost(tell(&failed))))
}

/// How the server has reset the stream, if it was the server.
fn reset_reason(error: &hyper::Error) -> Option<h2::Reason> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error
                .reason()
                .filter(|_| error.is_reset() && error.is_remote());
        }
        source = error.source();
    }
    None
}

/// An error with what is behind it.
pub(super) fn tell(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Transport for Pool {
    fn connections(&self) -> Connections {
        let links = self.0.links();
        let used = links.shared.iter().filter(|one| one.is_used()).count();
        Connections {
            idle: links.idle.len() + links.shared.len() - used,
            active: self.0.active.load(Ordering::Relaxed) + used,
        }
    }

    fn upkeep(&self, now: Instant) {
        self.0.dialer.upkeep(now);
        let Some(before) = now.checked_sub(self.0.idle_timeout) else {
            return;
        };
        let mut links = self.0.links();
        let young = |idle: &Idle| idle.since >= before && !idle.one.sender.is_closed();
        links.idle.retain(young);
        let keeps = |one: &Arc<Shared>| !one.is_idle_since(before) && !one.sender.is_closed();
        links.shared.retain(keeps);
    }
}
