//! Servers that ask to move, drain, and end: their clients' callers do not notice.

use crate::support::net::{Listener, Net};
use crate::support::{Got, Peer, now};
use mcpd_client::{ErrorClass, ErrorCode, ErrorKind, GoAwayReason, MetaBuf};
use std::time::Duration;
use tokio::io::DuplexStream;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_new_connection_is_there_before_the_old_one_is_left() {
    let net = Net::default();
    let mut one = net.listen(1);
    let (client, mut old) = tokio::join!(net.client(&[1, 2]).build(), one.accept());
    let client = client.unwrap();
    let mut two = net.listen(2);
    let slow = tokio::spawn(client.request("slow").send());
    let slow_ask = old.request().await;
    old.go_away(GoAwayReason::Draining, Some(2 * SECOND)).await;
    let told = now();
    // While it waits for its time to dial, the old one is as good as any.
    tokio::time::sleep(SECOND).await;
    let call = tokio::spawn(client.request("meanwhile").send());
    let ask = old.request().await;
    old.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    let mut new = two.accept().await;
    let waited = now() - told;
    assert!((2 * SECOND..=4 * SECOND).contains(&waited), "{waited:?}");
    tokio::time::sleep(SECOND / 100).await;
    let call = tokio::spawn(client.request("new").send());
    let ask = new.request().await;
    assert_eq!(ask.topic, "new");
    new.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    // What the old one has is answered; then it ends.
    old.respond(&slow_ask, b"late").await;
    assert_eq!(slow.await.unwrap().unwrap().body(), "late");
    assert_eq!(old.next().await, Got::Eof);
    drop(old);
    // It is not gone back to for a minute, even when the other is lost.
    drop(new);
    let mut new = two.accept().await;
    let call = tokio::spawn(client.request("t").send());
    let ask = new.request().await;
    new.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    assert!(!one.is_wanted());
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_the_old_one_while_there_is_no_other() {
    let net = Net::default();
    let mut one = net.listen(1);
    one.settings.max_in_flight = 1;
    let (client, mut old) = tokio::join!(net.client(&[1]).build(), one.accept());
    let client = client.unwrap();
    old.go_away(GoAwayReason::Draining, Some(20 * SECOND)).await;
    tokio::time::sleep(SECOND).await;
    let calls = ["a", "b"].map(|topic| tokio::spawn(client.request(topic).send()));
    for _ in 0..2 {
        let ask = old.request().await;
        old.respond(&ask, b"").await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(!one.is_wanted());
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_that_never_ends_is_cut() {
    let net = Net::default();
    let mut one = net.listen(1);
    let (client, mut old) = tokio::join!(net.client(&[1]).build(), one.accept());
    let client = client.unwrap();
    let call = tokio::spawn(client.request("t").no_timeout().send());
    old.request().await;
    old.go_away(GoAwayReason::MaxAge, None).await;
    let mut new = one.accept().await;
    let began = now();
    // Both answer heartbeats, and nothing else.
    let (got, _) = tokio::join!(old.next(), async {
        tokio::time::timeout(1000 * SECOND, new.next()).await
    });
    assert_eq!(got, Got::Eof);
    assert!(now() - began >= 600 * SECOND);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
}

#[tokio::test(start_paused = true)]
async fn max_age_leads_back_to_the_same_server() {
    let net = Net::default();
    let mut one = net.listen(1);
    let (client, mut old) = tokio::join!(net.client(&[1]).build(), one.accept());
    let client = client.unwrap();
    for _ in 0..3 {
        old.go_away(GoAwayReason::MaxAge, None).await;
        let mut new = one.accept().await;
        assert_eq!(old.next().await, Got::Eof);
        let call = tokio::spawn(client.request("t").send());
        let ask = new.request().await;
        new.respond(&ask, b"").await;
        call.await.unwrap().unwrap();
        old = new;
    }
}

#[tokio::test(start_paused = true)]
async fn draining_sends_requests_elsewhere_at_once() {
    let net = Net::default();
    let (mut one, mut two) = (net.listen(1), net.listen(2));
    let client = net.client(&[1, 2]).min_connections(2).build_lazy().unwrap();
    let (mut old, mut new) = tokio::join!(one.accept(), two.accept());
    tokio::time::sleep(SECOND).await;
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client.request("t").send()))
        .collect();
    tokio::time::sleep(SECOND).await;
    let began = now();
    let none = MetaBuf::new();
    let drain = async {
        while let Got::Request(ask) = old.next().await {
            old.fail(ask.seq, ErrorCode::DRAINING, b"", &none).await;
        }
    };
    let serve = async {
        for ask in new.requests(10).await {
            new.respond(&ask, b"").await;
        }
    };
    tokio::join!(drain, serve);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(now() - began < SECOND / 10, "{:?}", now() - began);
}

async fn told(stop: &mut tokio::sync::watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.unwrap();
}

/// Answers everything until it is told to stop, then as a server that drains does.
async fn server(mut peer: Peer<DuplexStream>, mut stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut served = 0;
    let none = MetaBuf::new();
    loop {
        tokio::select! {
            biased;
            () = told(&mut stop) => break,
            got = peer.next() => match got {
                Got::Request(ask) => {
                    served += 1;
                    peer.respond(&ask, b"").await;
                }
                _ => return served,
            }
        }
    }
    peer.go_away(GoAwayReason::Draining, Some(SECOND / 20))
        .await;
    let until = now() + SECOND / 2;
    while let Ok(got) = tokio::time::timeout_at(until.into(), peer.next()).await {
        match got {
            Got::Request(ask) => {
                served += 1;
                peer.respond(&ask, b"").await;
            }
            _ => return served,
        }
    }
    let until = now() + SECOND / 2;
    while let Ok(got) = tokio::time::timeout_at(until.into(), peer.next()).await {
        match got {
            Got::Request(ask) => peer.fail(ask.seq, ErrorCode::DRAINING, b"", &none).await,
            _ => return served,
        }
    }
    peer.end(ErrorCode::CLOSING, "bye").await;
    served
}

async fn serve(mut listener: Listener, stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut peers = tokio::task::JoinSet::new();
    let mut stopped = stop.clone();
    loop {
        tokio::select! {
            peer = listener.accept() => {
                peers.spawn(server(peer, stop.clone()));
            }
            () = told(&mut stopped) => break,
        }
    }
    // Late ones are served and told as well; the listener closes at the end.
    let until = now() + SECOND;
    while let Ok(peer) = tokio::time::timeout_at(until.into(), listener.accept()).await {
        peers.spawn(server(peer, stop.clone()));
    }
    drop(listener);
    peers.join_all().await.into_iter().sum()
}

#[tokio::test(start_paused = true)]
async fn twenty_restarts_in_turn_are_seen_by_nobody() {
    let net = Net::default();
    let start = |n| {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        (stop, tokio::spawn(serve(net.listen(n), stopped)))
    };
    let mut servers = [start(1), start(2), start(3)];
    let client = net.client(&[1, 2, 3]).build().await.unwrap();
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let (began, mut done) = (now(), 0_u64);
                while now() - began < 60 * SECOND {
                    client.request("t").send().await.unwrap();
                    done += 1;
                    tokio::time::sleep(SECOND / 100).await;
                }
                done
            })
        })
        .collect();
    let mut served = 0;
    for round in 0..20 {
        let n = round % 3;
        tokio::time::sleep(SECOND).await;
        servers[n].0.send_replace(true);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let old = std::mem::replace(&mut servers[n], (stop, tokio::spawn(async { 0 })));
        served += old.1.await.unwrap();
        servers[n].1 = tokio::spawn(serve(net.listen(n as u8 + 1), stopped));
    }
    let mut done = 0;
    for call in calls {
        done += call.await.unwrap();
    }
    drop(client);
    for (stop, server) in servers {
        stop.send_replace(true);
        served += server.await.unwrap();
    }
    assert_eq!(served, done, "every request was served once");
    assert!(done > 100_000, "{done}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_given_up_and_left() {
    let net = Net::default();
    let mut one = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1, 2]).build(), one.accept());
    let client = client.unwrap();
    let mut two = net.listen(2);
    peer.answers_beats = false;
    let silent = tokio::spawn(async move {
        loop {
            if peer.next().await == Got::Eof {
                return;
            }
        }
    });
    let began = now();
    let call = tokio::spawn(client.request("t").no_timeout().send());
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
    assert_eq!(error.code(), Some(ErrorCode::HEARTBEAT_TIMEOUT));
    let took = now() - began;
    assert!((80 * SECOND..=95 * SECOND).contains(&took), "{took:?}");
    drop(one);
    two.accept().await;
    silent.await.unwrap();
}
