//! Requests that were made before, sent without waiting, and connections that live on another runtime.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use mcpd_client::{ConnectOptions, Connection, ErrorCode, ErrorKind, MetaBuf, Request, Sending};
use mcpd_proto::session::ServerSettings;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use support::{Got, now, pair, pair_with};
use tokio::net::TcpListener;

const LONG: Duration = Duration::from_secs(60);

async fn try_send(connection: &Connection, request: &Request) -> Option<Sending> {
    let now = now();
    let sending =
        poll_fn(|cx| Poll::Ready(connection.clone().try_send(request, now, now + LONG, cx)));
    sending.await.map(Result::unwrap)
}

#[tokio::test]
async fn a_request_that_was_made_before_is_sent_as_often_as_is_wanted() {
    let (connection, mut peer) = pair().await;
    let request = Request::new("a/b").body("x").priority(3);
    for _ in 0..2 {
        let (connection, request) = (connection.clone(), request.clone());
        let call = tokio::spawn(async move { connection.send(&request, now() + LONG).await });
        let ask = peer.request().await;
        assert_eq!(
            (&ask.topic[..], &ask.body[..], ask.priority),
            ("a/b", &b"x"[..], 3)
        );
        assert!(ask.meta().timeout_ms().is_some_and(|ms| ms <= 60_000));
        peer.respond(&ask, b"done").await;
        assert_eq!(call.await.unwrap().unwrap().body(), "done");
    }
    let sending = try_send(&connection, &request).await.unwrap();
    let ask = peer.request().await;
    peer.respond(&ask, b"done").await;
    assert_eq!(sending.await.unwrap().body(), "done");
}

/// What would have to wait is not sent, and is told why by `send`.
#[tokio::test]
async fn without_a_place_nothing_is_sent_at_once() {
    let settings = ServerSettings {
        max_in_flight: 1,
        ..ServerSettings::default()
    };
    let (connection, mut peer) = pair_with(64 * 1024, ConnectOptions::new(), settings).await;
    let request = Request::new("a");
    let first = try_send(&connection, &request).await.unwrap();
    assert!(try_send(&connection, &request).await.is_none());
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    first.await.unwrap();
    let second = try_send(&connection, &request).await.unwrap();
    drop(second);
    let ask = peer.request().await;
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    peer.end(ErrorCode::CLOSING, "").await;
    while connection.is_open() {
        tokio::task::yield_now().await;
    }
    assert!(try_send(&connection, &request).await.is_none());
    let error = connection.send(&request, now() + LONG).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_cancelled_request_is_cancelled_once_and_still_waits_for_its_answer() {
    let (connection, mut peer) = pair().await;
    let mut sending = try_send(&connection, &Request::new("a")).await.unwrap();
    let ask = peer.request().await;
    sending.cancel();
    sending.cancel();
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    peer.expect_silence().await;
    assert_eq!(connection.in_flight(), 1);
    peer.fail(ask.seq, ErrorCode::CANCELLED, b"", &MetaBuf::new())
        .await;
    let error = sending.await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::CANCELLED));
}

/// On a runtime that waits for sockets only: its timers are those of the runtime it was opened on.
#[tokio::test]
async fn a_connection_lives_on_another_runtime_without_timers() {
    let (handles, handle) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().build().unwrap();
        handles.send(runtime.handle().clone()).unwrap();
        let _ = runtime.block_on(stopped);
        runtime.metrics().num_alive_tasks()
    });
    let home = handle.recv().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let options = ConnectOptions::new()
        .home(home.clone())
        .grace(Duration::ZERO);
    let (connection, peer) = tokio::join!(Connection::connect(addr, options), async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = support::Peer::new(stream, ServerSettings::default());
        peer.welcome().await;
        peer
    });
    let (connection, mut peer) = (connection.unwrap(), peer);
    assert_eq!(home.metrics().num_alive_tasks(), 1);
    let short = Duration::from_millis(20);
    let late = tokio::spawn(connection.request("a").timeout(short).send());
    let ask = peer.request().await;
    assert_eq!(late.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    peer.respond(&ask, b"too late").await;
    let call = tokio::spawn(connection.request("b").send());
    let ask = peer.request().await;
    peer.respond(&ask, b"in time").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "in time");
    drop(peer);
    connection.close().await;
    stop.send(()).unwrap();
    assert_eq!(thread.join().unwrap(), 0);
}
