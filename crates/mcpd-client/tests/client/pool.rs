//! Coming by a connection: the first one, more of them, fewer of them, none.

use crate::support::net::Net;
use crate::support::{Got, now};
use mcpd_client::{Client, ConnectLimit, ErrorClass, ErrorCode, ErrorKind};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn requests_share_a_connection_and_get_their_own_answers() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    let calls: Vec<_> = (0..10)
        .map(|n| tokio::spawn(client.request("t").body(vec![n]).send()))
        .collect();
    let mut asks = peer.requests(10).await;
    asks.reverse();
    for ask in &asks {
        peer.respond(ask, &ask.body).await;
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap().body()[..], [n as u8]);
    }
    assert_eq!(net.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_tells_what_is_wrong() {
    let net = Net::default();
    let began = now();
    let error = net.client(&[1]).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!(error.class(), ErrorClass::NotExecuted);
    assert!(
        error
            .to_string()
            .contains("10.0.0.1:8080: connection refused"),
        "{error}"
    );
    assert!(std::error::Error::source(&error).is_some());
    assert!(now() - began < 6 * SECOND);
    assert!(net.dials().len() > 2, "it was tried more than once");
    // What is wrong for good is told at once.
    let mut server = net.listen(1);
    let began = now();
    let builder = net.client(&[1]).token("t");
    let (client, ()) = tokio::join!(builder.build(), server.reject(ErrorCode::UNAUTHENTICATED));
    let error = client.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNAUTHENTICATED));
    assert!(now() - began < SECOND);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_before_anything_is_tried() {
    let net = Net::default();
    for (builder, why) in [
        (net.client_of("mcps://a,mcp://b"), "one scheme"),
        (net.client_of("a:b"), "port"),
        (net.client(&[1]).client_id("a b"), "CLIENT_ID"),
        (
            net.client(&[1]).max_connections(2).min_connections(3),
            "min_connections",
        ),
    ] {
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(net.dials().is_empty());
    let outside = std::thread::spawn(|| Client::builder("a").build_lazy().unwrap_err());
    assert!(outside.join().unwrap().to_string().contains("runtime"));
}

#[tokio::test(start_paused = true)]
async fn a_lazy_client_waits_for_its_server_within_each_calls_time() {
    let net = Net::default();
    let client = net.client(&[1]).build_lazy().unwrap();
    let error = client
        .request("t")
        .timeout(SECOND)
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Connect, ErrorClass::NotExecuted)
    );
    assert_eq!(error.attempts(), 0);
    let call = tokio::spawn(client.request("t").send());
    tokio::time::sleep(10 * SECOND).await;
    let mut server = net.listen(1);
    let mut peer = server.accept().await;
    let ask = peer.request().await;
    // The server is told what is left of the usual half a minute.
    let left = ask.meta().timeout_ms().unwrap();
    assert!((10_000..=20_000).contains(&left), "{left}");
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn so_many_may_wait_and_one_more_is_turned_away() {
    let net = Net::default();
    let client = net.client(&[1]).max_waiting(2).build_lazy().unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| tokio::spawn(client.request("t").send()))
        .collect();
    tokio::time::sleep(SECOND).await;
    let error = client.request("t").send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Busy, ErrorClass::NotExecuted)
    );
    // A place that is given up is free.
    calls[0].abort();
    tokio::time::sleep(SECOND).await;
    let error = client
        .request("t")
        .timeout(SECOND)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_is_joined_by_others_and_idle_ones_go() {
    let net = Net::default();
    let (mut one, mut two) = (net.listen(1), net.listen(2));
    let builder = net.client(&[1, 2]).max_pending(2).max_connections(3);
    let client = builder
        .idle_timeout(SECOND)
        .timeout(None)
        .build_lazy()
        .unwrap();
    let mut calls = Vec::new();
    let mut peers = Vec::new();
    // Three at a time make their connection busy.
    for round in 1..=3 {
        for _ in 0..3 {
            calls.push(tokio::spawn(client.request("t").send()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while peers.len() < round {
            tokio::select! {
                peer = one.accept() => peers.push(peer),
                peer = two.accept() => peers.push(peer),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..20 {
        calls.push(tokio::spawn(client.request("t").send()));
    }
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(client.connections(), 3);
    assert_eq!(net.dials().len(), 3, "{:?}", net.dials());
    // All are answered, and after a while one connection is left.
    let serve = |mut peer: crate::support::Peer<tokio::io::DuplexStream>| async move {
        let mut count = 0;
        loop {
            match peer.next().await {
                Got::Request(ask) => {
                    count += 1;
                    peer.respond(&ask, b"").await;
                }
                Got::Eof => return count,
                other => panic!("{other:?}"),
            }
        }
    };
    let served: Vec<_> = peers
        .into_iter()
        .map(|peer| tokio::spawn(serve(peer)))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(client.connections(), 1);
    client.close().await;
    for peer in served {
        // The twenty were spread over all three.
        assert!(peer.await.unwrap() >= 5);
    }
}

#[tokio::test(start_paused = true)]
async fn it_grows_no_further_than_calls_need() {
    let net = Net::default();
    let mut server = net.listen(1);
    let builder = net.client(&[1]).max_pending(2).timeout(None);
    // The pool has something to do each second.
    let builder = builder.resolve_interval(SECOND);
    let (client, peer) = tokio::join!(builder.build(), server.accept());
    let client = client.unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| tokio::spawn(client.request("t").send()))
        .collect();
    let other = server.accept().await;
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(net.dials().len(), 2);
    drop((calls, peer, other));
}

#[tokio::test(start_paused = true)]
async fn beyond_what_servers_allow_calls_wait_in_order() {
    let net = Net::default();
    let mut server = net.listen(1);
    server.settings.max_in_flight = 1;
    let builder = net.client(&[1]).max_connections(1);
    let (client, mut peer) = tokio::join!(builder.build(), server.accept());
    let client = client.unwrap();
    let mut calls = Vec::new();
    for n in 0..5 {
        calls.push(tokio::spawn(client.request("t").body(vec![n]).send()));
        tokio::time::sleep(SECOND / 10).await;
    }
    for n in 0..5 {
        let ask = peer.request().await;
        assert_eq!(ask.body, [n]);
        peer.expect_silence().await;
        peer.respond(&ask, b"").await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(net.dials().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_up_again_when_they_fail_and_on_a_timer() {
    let net = Net::default();
    net.name("servers", &[1]);
    let mut one = net.listen(1);
    let builder = net.client_of("mcp://servers:8080");
    let (client, peer) = tokio::join!(builder.build(), one.accept());
    let client = client.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    assert!((3..=5).contains(&net.lookups()), "{}", net.lookups());
    // The server moves.
    net.name("servers", &[2]);
    let mut two = net.listen(2);
    drop((one, peer));
    let moved = now();
    let call = tokio::spawn(client.request("t").send());
    let mut peer = two.accept().await;
    assert!(now() - moved < 3 * SECOND, "{:?}", now() - moved);
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    assert!(net.lookups() < 15, "{}", net.lookups());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_knows_is_told_and_asked_for_again() {
    let net = Net::default();
    let error = net.client_of("servers").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("\"servers\""), "{error}");
    let client = net.client_of("servers").build_lazy().unwrap();
    let call = tokio::spawn(client.request("t").send());
    tokio::time::sleep(5 * SECOND).await;
    net.name("servers", &[1]);
    let mut server = net.listen(1);
    let mut peer = server.accept().await;
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    let call = tokio::spawn(client.request("t").send());
    let ask = peer.request().await;
    call.abort();
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
}

#[tokio::test(start_paused = true)]
async fn close_answers_what_is_under_way_and_takes_nothing_new() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    let call = tokio::spawn(client.request("t").send());
    let ask = peer.request().await;
    let other = client.clone();
    let closing = tokio::spawn(async move { other.close().await });
    tokio::time::sleep(SECOND).await;
    let error = client.request("t").send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Shutdown, ErrorClass::NotExecuted)
    );
    assert!(!closing.is_finished());
    peer.respond(&ask, b"last").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "last");
    assert_eq!(peer.next().await, Got::Eof);
    closing.await.unwrap();
    client.close().await;
    assert_eq!(client.ping().await.unwrap_err().kind(), ErrorKind::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_connections() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    drop(client.clone());
    peer.expect_silence().await;
    // Not even a request that was given up and is never answered keeps them.
    let call = tokio::spawn(client.request("t").send());
    let ask = peer.request().await;
    call.abort();
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    drop(client);
    assert_eq!(peer.next().await, Got::Eof);
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(net.dials().len(), 1);
}

#[test]
fn a_runtime_that_ends_takes_the_client_along() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (first, second) = (runtime(), runtime());
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, _peer) =
        first.block_on(async { tokio::join!(net.client(&[1]).build(), server.accept()) });
    let client = client.unwrap();
    drop(first);
    let error = second.block_on(client.request("t").send()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
    second.block_on(client.close());
}

#[tokio::test(start_paused = true)]
async fn pings_and_notifications() {
    let net = Net::default();
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(net.client(&[1]).build(), server.accept());
    let client = client.unwrap();
    let ping = client.clone();
    let ping = tokio::spawn(async move { ping.ping().await });
    let sent = tokio::spawn(client.notify("seen").body("ada").send());
    let ask = peer.request().await;
    assert_eq!((&ask.topic[..], &ask.body[..]), ("seen", &b"ada"[..]));
    sent.await.unwrap().unwrap();
    ping.await.unwrap().unwrap();
    // Its failure is nobody's, and it is sent again like any other.
    let none = mcpd_proto::MetaBuf::new();
    peer.fail(ask.seq, ErrorCode::OVERLOADED, b"", &none).await;
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    let error = client.notify("+").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn attempts_of_many_clients_are_bounded_together() {
    let net = Net::default();
    let limit = ConnectLimit::per_second(20);
    let clients: Vec<_> = (0..200)
        .map(|_| {
            net.client(&[1])
                .connect_limit(limit.clone())
                .build_lazy()
                .unwrap()
        })
        .collect();
    let began = now();
    tokio::time::sleep(60 * SECOND).await;
    let mut per_second = std::collections::BTreeMap::new();
    for (at, _) in net.dials() {
        *per_second.entry((at - began).as_secs()).or_insert(0) += 1;
    }
    assert!(per_second.values().all(|n| *n <= 22), "{per_second:?}");
    assert!(net.dials().len() > 1000);
    drop(clients);
}
