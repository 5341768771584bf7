//! HTTP on the sidecar port, so that no client keeps another one from its answer.

use super::PeerAddr;
use crate::conn::TlsConfig;
use crate::telemetry::{Handshake, TlsPort};
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections at one time: probes, scrapers and people are few. One more closes the oldest, which
/// has most likely been idle for longest, so that a flood cannot keep a probe out.
pub(crate) const MAX_CONNECTIONS: usize = 128;
/// Time for the head of a request, and for an idle connection. Scrapers connect anew.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request; nothing here needs more than a path.
const MAX_HEAD: usize = 16 * 1024;
/// Time for a whole connection; a client that reads a page slower than this goes without.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long a client may take nothing of its answer.
const UNREAD_FOR: Duration = Duration::from_secs(30);
/// Time for answers under way when the process ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Pause after an accept that failed for lack of a resource.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Lets what is being answered on HTTP ports go out before the process ends.
#[derive(Debug)]
pub struct Ports {
    stop: watch::Sender<bool>,
    open: mpsc::Sender<()>,
    closed: mpsc::Receiver<()>,
}

/// What a port needs to know of its end.
#[derive(Debug, Clone)]
pub struct Gate {
    stop: watch::Receiver<bool>,
    /// Every connection holds one of these.
    open: mpsc::WeakSender<()>,
}

impl Default for Ports {
    fn default() -> Ports {
        let (open, closed) = mpsc::channel(1);
        let stop = watch::Sender::new(false);
        Ports { stop, open, closed }
    }
}

impl Ports {
    /// For a port that is about to be served.
    pub fn gate(&self) -> Gate {
        Gate {
            stop: self.stop.subscribe(),
            open: self.open.downgrade(),
        }
    }

    /// Closes idle connections, and waits at most half a second for those that are being answered.
    pub async fn finish(self) {
        let Ports {
            stop,
            open,
            mut closed,
        } = self;
        stop.send_replace(true);
        drop(open);
        let _ = tokio::time::timeout(LAST_ANSWERS, closed.recv()).await;
    }
}

/// Serves until the process ends.
pub(super) async fn run(
    listener: TcpListener,
    tls: Option<TlsConfig>,
    router: Router,
    gate: Gate,
) -> io::Result<()> {
    let mut open = VecDeque::new();
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                failing = false;
                let tls = tls.as_ref().map(|config| config.load_full());
                let (router, gate) = (router.clone(), gate.clone());
                let task = tokio::spawn(connection(stream, addr, tls, router, gate));
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

async fn connection(
    stream: TcpStream,
    addr: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    gate: Gate,
) {
    let _counted = gate.open.upgrade();
    // Whoever takes nothing of a long answer is gone, or means no good. Without the option only the
    // greatest age ends this.
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_FOR));
    // A socket for both families shows IPv4 clients as IPv6 ones, whose loopback is none.
    let peer = PeerAddr(SocketAddr::new(addr.ip().to_canonical(), addr.port()));
    match tls {
        None => serve(stream, peer, router, gate).await,
        Some(tls) => {
            if let Some(stream) = shake_hands(stream, addr, tls).await {
                serve(stream, peer, router, gate).await;
            }
        }
    }
}

/// The handshake of a port with TLS. How many there are at once is bounded by the connections.
async fn shake_hands(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
) -> Option<TlsStream<TcpStream>> {
    let accepted = TlsAcceptor::from(config).accept(stream);
    let (result, stream) = match tokio::time::timeout(HEAD_TIMEOUT, accepted).await {
        Ok(Ok(stream)) => (Handshake::Ok, Some(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, %peer, "a TLS handshake failed");
            (Handshake::of(&error), None)
        }
        Err(_) => (Handshake::Timeout, None),
    };
    TlsPort::Admin.handshake(result);
    stream
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: PeerAddr,
    router: Router,
    mut gate: Gate,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    let to_the_end = async {
        // A client that breaks HTTP, or the connection, is its own fault and no news.
        tokio::select! {
            _ = served.as_mut() => return,
            _ = gate.stop.wait_for(|stop| *stop) => {}
        }
        served.as_mut().graceful_shutdown();
        let _ = served.await;
    };
    let _ = tokio::time::timeout(MAX_AGE, to_the_end).await;
}
