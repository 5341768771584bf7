//! HTTP on the sidecar port, so that no client keeps another one from its answer.

use super::PeerAddr;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Connections at one time: probes, scrapers and people are few. One more closes the oldest, which
/// has most likely been idle for longest, so that a flood cannot keep a probe out.
pub(crate) const MAX_CONNECTIONS: usize = 128;
/// Time for the head of a request, and for an idle connection. Scrapers connect anew.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request; nothing here needs more than a path.
const MAX_HEAD: usize = 16 * 1024;
/// Time for a whole connection; a client that reads a page slower than this goes without.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Pause after an accept that failed for lack of a resource.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the process ends.
pub(super) async fn run(listener: TcpListener, router: Router) -> io::Result<()> {
    let mut open = VecDeque::new();
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                failing = false;
                let task = tokio::spawn(connection(stream, addr, router.clone()));
                make_room(&mut open);
                open.push_back(task.abort_handle());
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                // Said once, not twenty times a second for as long as it lasts.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the sidecar cannot accept connections, trying on");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn make_room(open: &mut VecDeque<AbortHandle>) {
    if open.len() < MAX_CONNECTIONS {
        return;
    }
    open.retain(|task| !task.is_finished());
    if open.len() >= MAX_CONNECTIONS
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
    }
}

async fn connection(stream: TcpStream, addr: SocketAddr, router: Router) {
    // A socket for both families shows IPv4 clients as IPv6 ones, whose loopback is none.
    let peer = PeerAddr(SocketAddr::new(addr.ip().to_canonical(), addr.port()));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks HTTP, or the connection, is its own fault and no news.
    let _ = tokio::time::timeout(MAX_AGE, served).await;
}
