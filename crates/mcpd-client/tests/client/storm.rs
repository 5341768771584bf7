//! A thousand clients lose their server at once. Time is virtual, so the bound can be held to exactly.

use crate::support::net::{Listener, Net};
use crate::support::{Got, Peer, now};
use mcpd_client::{Client, ConnectLimit};
use std::time::{Duration, Instant};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);
const CLIENTS: usize = 1000;
/// Attempts a second, as a process has them by default, and those that may come at once.
const BOUND: usize = 100;
const BURST: usize = BOUND / 10;

async fn serve(mut peer: Peer<DuplexStream>) {
    if !peer.try_welcome().await {
        return;
    }
    while let Got::Request(ask) = peer.next().await {
        peer.respond(&ask, b"").await;
    }
}

async fn accept(listener: &mut Listener, count: usize) -> JoinSet<()> {
    let mut served = JoinSet::new();
    for _ in 0..count {
        served.spawn(serve(listener.accept_silent().await));
    }
    served
}

/// Attempts from `from` on, for `width`.
fn count(dials: &[Instant], from: Instant, width: Duration) -> usize {
    dials.partition_point(|at| *at < from + width) - dials.partition_point(|at| *at < from)
}

/// Has all clients connected, ends every connection, and gives back the clients.
async fn lose(net: &Net, listener: &mut Listener, limit: &ConnectLimit) -> Vec<Client> {
    let builder = net.client(&[1]).connect_limit(limit.clone());
    let mut building = JoinSet::new();
    for _ in 0..CLIENTS {
        building.spawn(builder.clone().connect_timeout(60 * SECOND).build());
    }
    let (served, clients) = tokio::join!(accept(listener, CLIENTS), building.join_all());
    let clients: Result<Vec<Client>, _> = clients.into_iter().collect();
    tokio::time::sleep(SECOND).await;
    drop(served);
    clients.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_that_lose_their_server_come_back_evenly_and_under_the_bound() {
    let (net, limit) = (Net::default(), ConnectLimit::per_second(BOUND as u32));
    let mut listener = net.listen(1);
    let clients = lose(&net, &mut listener, &limit).await;
    let lost = now();
    drop(listener);
    tokio::time::sleep(30 * SECOND).await;
    let (mut listener, back) = (net.listen(1), now());
    let served = accept(&mut listener, CLIENTS).await;
    let took = now() - back;
    let dials: Vec<Instant> = net.dials().into_iter().map(|(at, _)| at).collect();
    let after = &dials[dials.partition_point(|at| *at < lost)..];
    let worst = after.iter().map(|at| count(after, *at, SECOND)).max();
    assert!(worst.unwrap() <= BOUND + BURST, "{worst:?} in a second");
    // Once all pause and none pauses in step: no tenth of a second has more or less than its part.
    for tenth in 10..290 {
        let here = count(after, lost + tenth * SECOND / 10, SECOND / 10);
        assert!(
            (BURST - 1..=BURST + 1).contains(&here),
            "{here} in tenth {tenth}"
        );
    }
    // At the bound, a thousand take ten seconds, and pauses of five at most.
    assert!(took <= 16 * SECOND, "{took:?}");
    for client in &clients {
        client.request("t").send().await.unwrap();
    }
    drop((clients, served));
}
