//! What is sent again, and what a copy says.

use crate::support::net::{Listener, Net};
use crate::support::{Ask, Got, Peer, now};
use mcpd_client::{Client, ClientBuilder, Error, ErrorClass, ErrorCode, ErrorKind, MetaBuf, Qos};
use std::time::Duration;
use tokio::io::DuplexStream;

const SECOND: Duration = Duration::from_secs(1);

async fn one(net: &Net, builder: ClientBuilder) -> (Client, Peer<DuplexStream>, Listener) {
    let mut server = net.listen(1);
    let (client, peer) = tokio::join!(builder.build(), server.accept());
    (client.unwrap(), peer, server)
}

fn spawn(
    request: mcpd_client::RequestBuilder<Client>,
) -> tokio::task::JoinHandle<Result<mcpd_client::Answer, Error>> {
    tokio::spawn(request.send())
}

fn what(error: &Error) -> (ErrorKind, ErrorClass, Option<ErrorCode>, u32) {
    (error.kind(), error.class(), error.code(), error.attempts())
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_for_now_goes_again_after_the_time_asked_for() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    let call = spawn(client.request("t").body("x").header("a", "b").priority(3));
    let first = peer.request().await;
    let mut meta = MetaBuf::new();
    meta.set_retry_after(SECOND);
    let refused = now();
    peer.fail(first.seq, ErrorCode::OVERLOADED, b"", &meta)
        .await;
    let second = peer.request().await;
    let waited = now() - refused;
    assert!((SECOND..=2 * SECOND).contains(&waited), "{waited:?}");
    assert_eq!((&second.topic, &second.body), (&first.topic, &first.body));
    assert_eq!((second.priority, second.dup), (3, false));
    let header = second.meta().headers().next();
    assert_eq!(header, Some(("a", &b"b"[..])));
    // What is left of the time is told anew.
    let left = |ask: &Ask| ask.meta().timeout_ms().unwrap();
    let spent = u128::from(left(&first) - left(&second));
    assert!(spent.abs_diff(waited.as_millis()) <= 2, "{spent}");
    peer.respond(&second, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_or_ran_is_told_at_once() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1]).client_id("c")).await;
    let cases = [
        (
            ErrorCode::NO_ROUTE,
            ErrorKind::Refused,
            ErrorClass::NotExecuted,
        ),
        (
            ErrorCode::new(0x02ff),
            ErrorKind::Refused,
            ErrorClass::NotExecuted,
        ),
        (
            ErrorCode::HANDLER_ERROR,
            ErrorKind::Executed,
            ErrorClass::Executed,
        ),
        (
            ErrorCode::new(0x0401),
            ErrorKind::Executed,
            ErrorClass::Executed,
        ),
        (
            ErrorCode::DEAD_LETTERED,
            ErrorKind::Unknown,
            ErrorClass::Unknown,
        ),
        (
            ErrorCode::OUTCOME_UNKNOWN,
            ErrorKind::Unknown,
            ErrorClass::Unknown,
        ),
        (
            ErrorCode::new(0x03f0),
            ErrorKind::Unknown,
            ErrorClass::Unknown,
        ),
        (
            ErrorCode::new(0x0990),
            ErrorKind::Unknown,
            ErrorClass::Unknown,
        ),
    ];
    for (code, kind, class) in cases {
        for qos in [0, 1, 2] {
            let call = spawn(client.request("t").qos(qos));
            let ask = peer.request().await;
            peer.fail(ask.seq, code, b"", &MetaBuf::new()).await;
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(what(&error), (kind, class, Some(code), 1));
            if class == ErrorClass::Executed && qos == 2 {
                assert!(matches!(peer.next().await, Got::Confirm(_)));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_goes_again_only_with_an_id_that_the_server_knows_it_by() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    let none = MetaBuf::new();
    let call = spawn(client.request("t"));
    let ask = peer.request().await;
    assert_eq!(ask.meta().message_id(), None);
    peer.fail(ask.seq, ErrorCode::UPSTREAM_LOST, b"", &none)
        .await;
    let error = call.await.unwrap().unwrap_err();
    let expected = (
        ErrorKind::Unknown,
        ErrorClass::Unknown,
        Some(ErrorCode::UPSTREAM_LOST),
        1,
    );
    assert_eq!(what(&error), expected);

    let call = spawn(client.request("t").qos(Qos::AtLeastOnce));
    let first = peer.request().await;
    assert_eq!((first.dup, first.meta().age_ms()), (false, None));
    assert_eq!(first.meta().incarnation(), Some([1; 16]));
    tokio::time::sleep(SECOND).await;
    peer.fail(first.seq, ErrorCode::UPSTREAM_LOST, b"", &none)
        .await;
    let second = peer.request().await;
    assert!(second.dup);
    assert_eq!(second.meta().message_id(), first.meta().message_id());
    assert!((1000..1100).contains(&second.meta().age_ms().unwrap()));
    peer.respond(&second, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_leaves_qos_0_unknown_and_carries_qos_2_elsewhere() {
    let net = Net::default();
    let (client, mut peer, server) = one(&net, net.client(&[1, 2]).client_id("c")).await;
    let lost = spawn(client.request("zero"));
    peer.request().await;
    let kept = spawn(client.request("two").qos(2));
    let first = peer.request().await;
    let mut other = net.listen(2);
    drop((peer, server));
    let error = lost.await.unwrap().unwrap_err();
    assert_eq!(
        what(&error),
        (ErrorKind::Closed, ErrorClass::Unknown, None, 1)
    );
    let mut peer = other.accept().await;
    let second = peer.request().await;
    let (first, meta) = (first.meta(), second.meta());
    assert_eq!(meta.message_id(), first.message_id());
    // Where it was first sent, and not where it is now.
    assert_eq!(meta.incarnation(), Some([1; 16]));
    assert!(second.dup);
    peer.respond(&second, b"").await;
    kept.await.unwrap().unwrap();
    let confirmed = first.message_id().unwrap();
    assert_eq!(peer.next().await, Got::Confirm(confirmed));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unknown_fate_is_not_sold_as_not_executed() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    let call = spawn(client.request("t").qos(1));
    let none = MetaBuf::new();
    let ask = peer.request().await;
    peer.fail(ask.seq, ErrorCode::UPSTREAM_LOST, b"", &none)
        .await;
    let ask = peer.request().await;
    peer.fail(ask.seq, ErrorCode::NO_ROUTE, b"", &none).await;
    let error = call.await.unwrap().unwrap_err();
    let expected = (
        ErrorKind::Unknown,
        ErrorClass::Unknown,
        Some(ErrorCode::NO_ROUTE),
        2,
    );
    assert_eq!(what(&error), expected);
    assert!(error.to_string().contains("earlier attempt"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_closing_leaves_goes_elsewhere() {
    let net = Net::default();
    let (client, mut peer, server) = one(&net, net.client(&[1, 2])).await;
    let mut other = net.listen(2);
    let refused = spawn(client.request("t"));
    peer.request().await;
    let acked = spawn(client.request("t").qos(1));
    let ask = peer.request().await;
    peer.ack(&ask, Qos::AtLeastOnce).await;
    peer.end(ErrorCode::CLOSING, "bye").await;
    drop((peer, server));
    let mut peer = other.accept().await;
    for ask in peer.requests(2).await {
        // The one that was accepted may have run, so it goes as a copy.
        assert_eq!(ask.dup, ask.qos == Qos::AtLeastOnce);
        peer.respond(&ask, b"").await;
    }
    refused.await.unwrap().unwrap();
    acked.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_time_is_beyond_the_callers_is_told_at_once() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    for (timeout, asked) in [(Some(SECOND), 2 * SECOND), (None, Duration::MAX)] {
        let request = client.request("t");
        let call = spawn(match timeout {
            Some(timeout) => request.timeout(timeout),
            None => request.no_timeout(),
        });
        let ask = peer.request().await;
        let mut meta = MetaBuf::new();
        meta.set_retry_after(asked);
        let began = now();
        peer.fail(ask.seq, ErrorCode::RATE_LIMITED, b"", &meta)
            .await;
        let error = call.await.unwrap().unwrap_err();
        let code = Some(ErrorCode::RATE_LIMITED);
        assert_eq!(
            what(&error),
            (ErrorKind::Refused, ErrorClass::NotExecuted, code, 1)
        );
        assert!(error.retry_after() > timeout);
        assert!(now() - began < SECOND / 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_everything_gets_a_fifth_more_and_ten_a_second() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    let server = tokio::spawn(async move {
        let (mut asked, none) = (0, MetaBuf::new());
        while let Got::Request(ask) = peer.next().await {
            asked += 1;
            peer.fail(ask.seq, ErrorCode::OVERLOADED, b"", &none).await;
        }
        asked
    });
    let began = now();
    for _ in 0..50 {
        let calls: Vec<_> = (0..100).map(|_| spawn(client.request("t"))).collect();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.class(), ErrorClass::NotExecuted);
        }
    }
    let seconds = (now() - began).as_secs() + 10;
    client.close().await;
    let retries = server.await.unwrap() - 5000;
    let bound = 1000 + 10 * seconds;
    assert!(
        (100..=bound).contains(&retries),
        "{retries} retries, {bound} allowed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_pause_is_counted_and_the_budget_is_exact() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1]).max_connections(1)).await;
    let calls: Vec<_> = (0..500).map(|_| spawn(client.request("t"))).collect();
    let mut meta = MetaBuf::new();
    meta.set_retry_after(5 * SECOND);
    for ask in peer.requests(500).await {
        peer.fail(ask.seq, ErrorCode::OVERLOADED, b"", &meta).await;
    }
    let refused = now();
    tokio::time::sleep(SECOND).await;
    // A fifth of 500 and ten for each of ten seconds wait; the others were told at once.
    let told = calls.iter().filter(|call| call.is_finished()).count();
    assert_eq!(told, 500 - 100 - 100);
    for _ in 0..200 {
        let ask = peer.request().await;
        let waited = now() - refused;
        assert!(
            (5 * SECOND..=10 * SECOND + SECOND / 10).contains(&waited),
            "{waited:?}"
        );
        peer.respond(&ask, b"").await;
    }
    let mut failed = 0;
    for call in calls {
        failed += u32::from(call.await.unwrap().is_err());
    }
    assert_eq!(failed, 300);
}

#[tokio::test(start_paused = true)]
async fn retries_can_be_turned_off() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1]).max_attempts(1)).await;
    let call = spawn(client.request("t"));
    let ask = peer.request().await;
    peer.fail(ask.seq, ErrorCode::OVERLOADED, b"", &MetaBuf::new())
        .await;
    assert_eq!(call.await.unwrap().unwrap_err().attempts(), 1);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn qos_2_needs_a_client_id_and_a_number_that_is_a_qos() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    for qos in [2, 3] {
        let error = client.request("t").qos(qos).send().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Invalid, ErrorClass::NotExecuted)
        );
    }
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_outcomes_is_confirmed_without_a_burst_of_frames() {
    let net = Net::default();
    let builder = net.client(&[1]).client_id("c").max_connections(1);
    let (client, mut peer, _server) = one(&net, builder).await;
    let calls: Vec<_> = (0..200)
        .map(|_| spawn(client.request("t").qos(2)))
        .collect();
    let mut ids: Vec<[u8; 16]> = Vec::new();
    for ask in peer.requests(200).await {
        ids.push(ask.meta().message_id().unwrap());
        peer.respond(&ask, b"").await;
    }
    let began = now();
    let mut confirmed = Vec::new();
    while confirmed.len() < 200 {
        match peer.next().await {
            Got::Confirm(id) => confirmed.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert!(now() - began > SECOND / 4, "{:?}", now() - began);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    ids.sort_unstable();
    ids.dedup();
    confirmed.sort_unstable();
    assert_eq!(ids, confirmed);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_or_ill_formed_is_told_and_not_repeated() {
    let net = Net::default();
    let (client, mut peer, _server) = one(&net, net.client(&[1])).await;
    for request in [
        client.request("t").body(vec![0; 2 << 20]),
        client.request(""),
        client.request("a/#"),
        client.request("t").priority(8),
        client.request("t").header("Bad Key", ""),
    ] {
        let error = request.send().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Invalid, ErrorClass::NotExecuted)
        );
        assert!(error.is_permanent());
    }
    peer.expect_silence().await;
}
