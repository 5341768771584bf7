//! Connections go from a server that has more than its share to those that have less.

use super::{server, sidecars, state};
use crate::load::call;
use crate::support::{PATIENCE, Server, Start};
use mcpd_client::{Client, Error};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Clients with a connection each.
const CLIENTS: u64 = 30;

/// Many clients that all ask all the time.
struct Crowd {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<(), Error>>>,
}

impl Crowd {
    fn start(addrs: &[SocketAddr]) -> Crowd {
        let runtime = Runtime::new().unwrap();
        let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        let addrs = addrs.join(",");
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let clients = (0..CLIENTS).map(|n| {
            let (addrs, stop, answered) = (addrs.clone(), stop.clone(), answered.clone());
            runtime.spawn(async move {
                let client = Client::builder(addrs).build().await?;
                while !stop.load(Ordering::Relaxed) {
                    call(&client, "echo", n).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                client.close().await;
                Ok(())
            })
        });
        Crowd {
            clients: clients.collect(),
            runtime,
            stop,
            answered,
        }
    }

    /// Ends it; every request was answered.
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(async {
            for client in self.clients {
                client.await.unwrap().unwrap();
            }
        });
        assert!(self.answered.load(Ordering::Relaxed) > CLIENTS);
    }
}

fn connections(server: &Server) -> f64 {
    server.metric("mcpd_connections")
}

/// Waits until `rebalance` of the state is as wanted.
fn await_rebalance(server: &Server, wanted: impl Fn(&serde_json::Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = state(server)["rebalance"].clone();
        if wanted(&shown) {
            return;
        }
        assert!(Instant::now() < deadline, "{shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn balanced(start: Start) -> Start {
    start
        .set("REBALANCE__ENABLED", "true")
        .set("REBALANCE__INTERVAL", "1s")
        .set("REBALANCE__RATE", "0.5")
}

#[test]
fn a_server_that_is_new_gets_its_share_without_a_request_that_fails() {
    let sidecars = sidecars(2);
    let first = balanced(server("a", sidecars[0], &sidecars)).spawn();
    // Where the second one will be.
    let second_data = SocketAddr::new(sidecars[1].ip(), 8080);
    let crowd = Crowd::start(&[first.data, second_data]);
    first.await_metric("mcpd_connections", |n| n == CLIENTS as f64);
    // Its peer is not there, so nobody knows what its share is.
    await_rebalance(&first, |shown| {
        shown["state"] == "paused" && shown["reason"] == "unreachable"
    });
    assert_eq!(first.metric("mcpd_rebalance_paused"), 1.0);
    assert_eq!(
        first.metric("mcpd_goaways_total{reason=\"rebalance\"}"),
        0.0
    );

    let second = balanced(server("b", sidecars[1], &sidecars));
    let mut second = second.listen(second_data).set("DRAIN__DELAY", "1h").spawn();
    await_rebalance(&first, |shown| {
        shown["state"] == "level" && shown["servers"] == 2
    });
    let most = (CLIENTS as f64 / 2.0 * 1.2).ceil();
    first.await_metric("mcpd_connections", |n| n <= most);
    second.await_metric("mcpd_connections", |n| n >= CLIENTS as f64 - most);
    let moved = first.metric("mcpd_goaways_total{reason=\"rebalance\"}");
    assert!(moved >= CLIENTS as f64 - most, "{moved}");
    assert_eq!(first.metric("mcpd_rebalance_share"), CLIENTS as f64 / 2.0);
    // No more than had to: it stops where the threshold is.
    assert!(connections(&first) >= most - 1.0, "{}", connections(&first));

    second.signal("TERM");
    await_rebalance(&first, |shown| {
        shown["state"] == "paused" && shown["reason"] == "draining"
    });
    // It has its drain instead.
    await_rebalance(&second, serde_json::Value::is_null);
    crowd.finish();
    second.signal("INT");
    assert_eq!(second.await_exit(), Some(0));
}

/// A connection whose client minds nothing is served for `goaway.grace`, then refused and closed.
#[test]
fn who_does_not_move_is_refused_after_the_grace() {
    use mcpd_proto::{ErrorCode, Frame, GoAwayReason};
    let sidecars = sidecars(2);
    let quiet = server("b", sidecars[1], &sidecars).spawn();
    let start = balanced(server("a", sidecars[0], &sidecars)).set("GOAWAY__GRACE", "1s");
    let first = start.set("REBALANCE__RATE", "1").spawn();
    let mut peers = [first.peer(), first.peer(), first.peer(), first.peer()];
    for peer in &mut peers {
        peer.expect_alive(1);
    }
    // The share is two: one of four is more than 1.2 times that, and it is the oldest.
    let got = peers[0].expect();
    match got.frame() {
        Frame::GoAway(goaway) => assert_eq!(goaway.reason(), GoAwayReason::Rebalance),
        other => panic!("a GOAWAY, not {other:?}"),
    }
    peers[0].expect_alive(2);
    peers[0].expect_end(ErrorCode::CLOSING);
    for peer in &mut peers[1..] {
        peer.expect_alive(3);
    }
    assert_eq!(
        first.metric("mcpd_goaways_total{reason=\"rebalance\"}"),
        1.0
    );
    drop(quiet);
}

#[test]
fn by_default_nobody_is_asked_to_move() {
    let sidecars = sidecars(2);
    let servers = [
        server("a", sidecars[0], &sidecars).spawn(),
        server("b", sidecars[1], &sidecars).spawn(),
    ];
    let mut peers: Vec<_> = (0..10).map(|_| servers[0].peer()).collect();
    for peer in &mut peers {
        peer.expect_alive(1);
    }
    assert!(state(&servers[0])["rebalance"].is_null());
    // It is off, so nobody is asked how many they have either.
    for server in &servers {
        assert_eq!(server.metric("mcpd_peer_polls_total{result=\"ok\"}"), 0.0);
    }
    // It can be turned on while it runs: see `reload` for how.
    assert_eq!(
        servers[0].metric("mcpd_goaways_total{reason=\"rebalance\"}"),
        0.0
    );
}
