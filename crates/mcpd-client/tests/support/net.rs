//! A network in memory: names, addresses, servers that come and go. With it, time may be stopped.

use super::{Peer, now};
use mcpd_client::{BoxFuture, Client, ClientBuilder, Connector, ErrorCode, Stream, Target};
use mcpd_proto::session::ServerSettings;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes a pipe holds each way.
const PIPE: usize = 64 * 1024;

#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listening: BTreeMap<SocketAddr, mpsc::UnboundedSender<DuplexStream>>,
    names: BTreeMap<String, Vec<SocketAddr>>,
    dials: Vec<(Instant, SocketAddr)>,
    lookups: usize,
    /// Where a connection is never refused and never opened.
    black_holes: Vec<SocketAddr>,
}

pub(crate) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 8080))
}

/// A server's end of the network.
pub(crate) struct Listener {
    net: Net,
    pub(crate) addr: SocketAddr,
    streams: mpsc::UnboundedReceiver<DuplexStream>,
    pub(crate) settings: ServerSettings,
}

impl Net {
    /// Listens at address `n`, as server `s<n>` whose memory of ids is all `n`.
    pub(crate) fn listen(&self, n: u8) -> Listener {
        let (sender, streams) = mpsc::unbounded_channel();
        self.0.lock().unwrap().listening.insert(addr(n), sender);
        Listener {
            net: self.clone(),
            addr: addr(n),
            streams,
            settings: ServerSettings {
                server_id: format!("s{n}"),
                incarnation: [n; 16],
                ..ServerSettings::default()
            },
        }
    }

    pub(crate) fn name(&self, name: &str, numbers: &[u8]) {
        let addrs = numbers.iter().map(|n| addr(*n)).collect();
        self.0.lock().unwrap().names.insert(name.to_owned(), addrs);
    }

    pub(crate) fn black_hole(&self, n: u8) {
        self.0.lock().unwrap().black_holes.push(addr(n));
    }

    /// The near end of a pipe to whoever listens there.
    pub(crate) fn pipe(&self, addr: SocketAddr) -> Option<DuplexStream> {
        let (near, far) = tokio::io::duplex(PIPE);
        let state = self.0.lock().unwrap();
        state.listening.get(&addr)?.send(far).ok()?;
        Some(near)
    }

    /// When which address was dialled.
    pub(crate) fn dials(&self) -> Vec<(Instant, SocketAddr)> {
        self.0.lock().unwrap().dials.clone()
    }

    pub(crate) fn lookups(&self) -> usize {
        self.0.lock().unwrap().lookups
    }

    /// A client of the addresses `numbers`.
    pub(crate) fn client(&self, numbers: &[u8]) -> ClientBuilder {
        let addrs: Vec<String> = numbers.iter().map(|n| addr(*n).to_string()).collect();
        self.client_of(&addrs.join(","))
    }

    pub(crate) fn client_of(&self, addresses: &str) -> ClientBuilder {
        let limit = mcpd_client::ConnectLimit::per_second(100_000);
        let builder = Client::builder(addresses).connector(self.clone());
        builder.connect_limit(limit)
    }
}

impl Connector for Net {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let mut state = self.0.lock().unwrap();
        state.lookups += 1;
        let found = state.names.get(host).cloned();
        Box::pin(async move { found.ok_or(io::ErrorKind::NotFound.into()) })
    }

    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Stream>> {
        let mut state = self.0.lock().unwrap();
        state.dials.push((now(), target.addr));
        if state.black_holes.contains(&target.addr) {
            return Box::pin(std::future::pending());
        }
        let (client, server) = tokio::io::duplex(PIPE);
        let sent = state.listening.get(&target.addr).map(|to| to.send(server));
        let open = matches!(sent, Some(Ok(())));
        Box::pin(async move {
            if open {
                Ok(Stream::new(client))
            } else {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        })
    }
}

impl Listener {
    /// The next connection, its HELLO answered.
    pub(crate) async fn accept(&mut self) -> Peer<DuplexStream> {
        let mut peer = self.accept_silent().await;
        peer.welcome().await;
        peer
    }

    /// The next connection, to which nothing was said.
    pub(crate) async fn accept_silent(&mut self) -> Peer<DuplexStream> {
        let stream = self.streams.recv().await.unwrap();
        Peer::new(stream, self.settings.clone())
    }

    /// The next connection is turned away with this code.
    pub(crate) async fn reject(&mut self, code: ErrorCode) {
        let mut peer = self.accept_silent().await;
        peer.end(code, "no").await;
    }

    /// Whether a connection waits to be accepted.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.streams.is_empty()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.net.0.lock().unwrap().listening.remove(&self.addr);
    }
}
