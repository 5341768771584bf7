//! From an accepted socket to a connection: the PROXY header, the TLS handshake, the first state.

use super::Dispatch;
use super::core::{Core, Shared};
use super::driver::Driver;
use super::handshake::Begun;
use super::mailbox::Mailbox;
use super::proxy;
use super::registry::Member;
use super::settings::{ConnSettings, Settings};
use super::stream::Stream;
use super::tls::Tls;
use super::work::Works;
use crate::message::{Certificate, Peer};
use mcpd_proto::session::Server;
use rustls::ServerConnection;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::time::timeout_at;

/// A socket that was accepted and has a place.
pub(super) struct Arrival<D> {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    /// When it was accepted.
    pub(super) at: Instant,
    pub(super) settings: Settings,
    pub(super) shared: Arc<Shared<D>>,
    pub(super) member: Member,
}

impl<D: Dispatch> Arrival<D> {
    /// Serves it on `worker`.
    pub(super) fn serve(self, worker: &Handle) {
        if self.settings.listen.proxy_protocol {
            worker.spawn(self.serve_proxied());
            return;
        }
        // Registered there from here: the task is the connection and nothing else.
        let _on = worker.enter();
        match tokio::net::TcpStream::from_std(self.stream) {
            Ok(stream) => {
                let (conn, shared) = (self.settings.conn, self.shared);
                let driver = driver(stream, self.addr, self.at, conn, shared, self.member);
                worker.spawn(driver);
            }
            Err(error) => self.shared.metrics.failed(&error),
        }
    }

    /// A connection whose first bytes are a PROXY header. Boxed by its spawn only, so that the plain
    /// connection's task stays small.
    async fn serve_proxied(mut self) {
        let mut stream = match tokio::net::TcpStream::from_std(self.stream) {
            Ok(stream) => stream,
            Err(error) => return self.shared.metrics.failed(&error),
        };
        let timeout = self.settings.listen.proxy_timeout;
        let late = self.shared.sleep_until(self.at + timeout);
        let header = tokio::select! {
            header = proxy::read(&mut stream) => header,
            () = late => Err(io::ErrorKind::TimedOut.into()),
        };
        match header {
            Ok(told) => self.addr = told.unwrap_or(self.addr),
            Err(error) => {
                no_header(&error, self.addr);
                return self.shared.metrics.no_proxy_header();
            }
        }
        let conn = self.settings.conn;
        driver(stream, self.addr, self.at, conn, self.shared, self.member).await;
    }

    /// Shakes hands on the current runtime, lest it hold up those that are served, and then serves it on
    /// `worker`.
    pub(super) async fn serve_tls(self, handshake: Begun, worker: Handle) {
        let Arrival {
            stream,
            mut addr,
            at,
            settings,
            shared,
            member,
        } = self;
        let metrics = &shared.metrics;
        let shaken =
            shake_hands(stream, &mut addr, at, &settings, &member.mailbox, handshake).await;
        let (stream, session, certificate) = match shaken {
            Ok(shaken) => shaken,
            Err(Lost::Header) => return metrics.no_proxy_header(),
            Err(Lost::Handshake) => return metrics.no_handshake(),
            Err(Lost::Socket(error)) => return metrics.failed(&error),
        };
        let _on = worker.enter();
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => {
                let core = core(addr, at, settings.conn, shared, member, Some(certificate));
                worker.spawn(begin(Tls::new(stream, session), core));
            }
            Err(error) => metrics.failed(&error),
        }
    }
}

/// Everything before the first frame, on the current runtime.
async fn shake_hands(
    stream: TcpStream,
    addr: &mut SocketAddr,
    at: Instant,
    settings: &Settings,
    mailbox: &Mailbox,
    handshake: Begun,
) -> Result<Encrypted, Lost> {
    let mut stream = tokio::net::TcpStream::from_std(stream).map_err(Lost::Socket)?;
    let listen = &settings.listen;
    if listen.proxy_protocol {
        let by = at + listen.proxy_timeout;
        let header = timeout_at(by.into(), proxy::read(&mut stream)).await;
        match header.unwrap_or_else(|late| Err(late.into())) {
            Ok(told) => *addr = told.unwrap_or(*addr),
            Err(error) => {
                no_header(&error, *addr);
                return Err(Lost::Header);
            }
        }
    }
    let by = at + listen.handshake_timeout;
    let shaken = handshake.run(stream, *addr, by, &settings.conn, mailbox);
    let shaken = shaken.await;
    let shaken = shaken.map_err(|_| Lost::Handshake)?;
    let stream = shaken.stream.into_std().map_err(Lost::Socket)?;
    Ok((stream, shaken.session, shaken.certificate.map(Box::new)))
}

type Encrypted = (TcpStream, Box<ServerConnection>, Option<Box<Certificate>>);

/// Why nothing came of a connection.
enum Lost {
    Header,
    Handshake,
    Socket(io::Error),
}

fn no_header(error: &io::Error, peer: SocketAddr) {
    tracing::debug!(%error, %peer, "no PROXY header");
}

fn driver<D: Dispatch>(
    stream: tokio::net::TcpStream,
    addr: SocketAddr,
    at: Instant,
    settings: Arc<ConnSettings>,
    shared: Arc<Shared<D>>,
    member: Member,
) -> Driver<D, tokio::net::TcpStream> {
    begin(stream, core(addr, at, settings, shared, member, None))
}

fn begin<D: Dispatch, S: Stream>(stream: S, core: Core<D>) -> Driver<D, S> {
    let jitter = crate::telemetry::random_unit();
    Driver::new(stream, core, Instant::now(), jitter)
}

/// The state of a connection that begins; `tls` is there if it is encrypted, with the client's
/// certificate if it has shown one.
fn core<D: Dispatch>(
    addr: SocketAddr,
    at: Instant,
    settings: Arc<ConnSettings>,
    shared: Arc<Shared<D>>,
    member: Member,
    tls: Option<Option<Box<Certificate>>>,
) -> Core<D> {
    // A socket for both families shows IPv4 clients as IPv6 ones, whose loopback is none.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let is_encrypted = tls.is_some();
    let certificate = tls.flatten();
    let mut session = Server::new(Arc::clone(&settings.session), Instant::now());
    if shared.dispatch.demands_hello(certificate.as_deref()) {
        session.demand_hello(at + settings.hello_timeout);
    }
    let peer = Arc::new(Peer {
        connection: member.id,
        addr,
        client_id: None,
        identity: None,
    });
    member.mailbox.belongs_to(&peer);
    let works = Works::new(shared.metrics.in_flight_of_one());
    Core {
        shared,
        settings,
        session,
        works,
        lanes: None,
        peer,
        is_met: false,
        is_encrypted,
        certificate,
        expires_at: None,
        peer_complained: false,
        requests: 0,
        member,
    }
}
