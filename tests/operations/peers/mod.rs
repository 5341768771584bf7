//! Servers of the same routes that know each other: whether all have what was written, and how they share
//! out connections.

mod balance;
mod everywhere;

use crate::support::{Server, Start, http};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

/// Sidecar ports that are known before anybody listens there. Each test has loopback addresses of its own, so
/// nobody else takes them.
fn sidecars(count: u8) -> Vec<SocketAddr> {
    static TAKEN: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let first = TAKEN.fetch_add(count, Ordering::Relaxed);
    let own = |n| SocketAddr::from((Ipv4Addr::new(127, 64 | (high & 63), low, n), 8081));
    (first..first + count).map(own).collect()
}

/// A server that knows these, and is one of them.
fn server(name: &str, sidecar: SocketAddr, all: &[SocketAddr]) -> Start {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    Start::new()
        .sidecar(sidecar)
        .set("SERVER_ID", name)
        .set("PEERS__ADDRESSES", &all.join(","))
        .set("ROUTES__POLL_INTERVAL", "50ms")
}

/// The hash of the routes that a server has, as everybody is told.
fn hash(server: &Server) -> String {
    let page: Value = serde_json::from_str(&server.get("/statusz").1).unwrap();
    page["hash"].as_str().unwrap().to_owned()
}

/// `state` of the admin API.
fn state(server: &Server) -> Value {
    let (status, _, body) = http(server.sidecar, "GET", "/admin/v1/state");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}
