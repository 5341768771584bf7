//! Servers that fall silent, dawdle or do not listen. Time stands still here but for the waiting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use mcpd_client::{
    CloseCause, ConnectOptions, Connection, ErrorClass, ErrorCode, ErrorKind, State,
};
use mcpd_proto::session::ServerSettings;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use support::{Got, now, pair, pair_with};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

async fn end_of(connection: &Connection) -> (CloseCause, Option<ErrorCode>) {
    let mut states = connection.watch();
    let found = states
        .wait_for(|state| matches!(state, State::Closed(_)))
        .await;
    match &*found.unwrap() {
        State::Closed(closed) => (closed.cause, closed.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_an_idle_connection_for_hours() {
    let (connection, mut peer) = pair().await;
    let waited = tokio::time::timeout(Duration::from_secs(2 * 3600), peer.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    assert!(peer.beats > 200, "{} heartbeats", peer.beats);
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn the_servers_heartbeat_is_answered() {
    let (_connection, mut peer) = pair().await;
    peer.beat().await;
    let mut answer = [0; 10];
    tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut answer)
        .await
        .unwrap();
    assert_eq!(answer, *b"\x01\x03\0\x09\0\0\0\0\0\x20");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_silently_is_noticed() {
    let (connection, mut peer) = pair().await;
    let start = now();
    peer.answers_beats = false;
    let call = tokio::spawn(connection.request("a").send());
    peer.request().await;
    let server = tokio::spawn(async move { peer.next().await });
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
    assert_eq!(error.code(), Some(ErrorCode::HEARTBEAT_TIMEOUT));
    assert_eq!(end_of(&connection).await.0, CloseCause::GivenUp);
    assert_eq!(
        (now() - start).as_secs(),
        90,
        "three of the server's intervals"
    );
    assert!(matches!(
        server.await.unwrap(),
        Got::Error(ErrorCode::HEARTBEAT_TIMEOUT, _)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_ping_gives_the_time_there_and_back() {
    let (connection, mut peer) =
        pair_with(4096, ConnectOptions::new(), ServerSettings::default()).await;
    let pings: Vec<_> = (0..3)
        .map(|_| connection.clone())
        .map(|connection| tokio::spawn(async move { connection.ping().await }))
        .collect();
    let server = async {
        let mut beat = [0; 10];
        tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut beat)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
        beat[9] |= 0x20;
        peer.raw(&beat).await;
        peer.expect_silence().await;
    };
    server.await;
    for ping in pings {
        assert_eq!(
            ping.await.unwrap().unwrap().as_millis(),
            40,
            "one heartbeat serves them all"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_into_the_void_ends_with_the_connection() {
    let (connection, _peer) = pair().await;
    let error = connection.ping().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::HEARTBEAT_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_never_complete_ends_the_connection() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    peer.request().await;
    let start = now();
    // Each byte is a sign of life, so it is not silence that ends this.
    let dawdling = tokio::spawn(async move {
        peer.raw(b"\x01\x02\0\x01\0\0\x40\0\0\0").await;
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            peer.raw(b"x").await;
        }
    });
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Protocol, Some(ErrorCode::PROTOCOL_ERROR))
    );
    assert!(
        error.to_string().contains("not complete in time"),
        "{error}"
    );
    assert_eq!((now() - start).as_secs(), 31, "30 s and one for 16 KiB");
    dawdling.abort();
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_come_one_byte_at_a_time() {
    let settings = ServerSettings::default();
    let (connection, mut peer) = pair_with(1, ConnectOptions::new(), settings).await;
    let calls: Vec<_> = (0..3)
        .map(|n| tokio::spawn(connection.request("a").body(vec![n; 5000]).send()))
        .collect();
    let asks = peer.requests(3).await;
    for ask in &asks {
        peer.respond(ask, &ask.body).await;
    }
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap().body(), &vec![n; 5000]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_holds_calls_back_and_is_given_up() {
    let options = ConnectOptions::new().write_buffer(64 * 1024);
    let (connection, peer) = pair_with(4096, options, ServerSettings::default()).await;
    let call = |_| tokio::spawn(connection.request("a").body(vec![0; 16 * 1024]).send());
    let calls: Vec<_> = (0..500).map(call).collect();
    let mut fates = Vec::new();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::SLOW_CONSUMER));
        fates.push(error.class());
    }
    // What was not taken from its caller did not run, and that is nearly all of it.
    let taken = fates
        .iter()
        .filter(|fate| **fate == ErrorClass::Unknown)
        .count();
    assert!((1..=5).contains(&taken), "{taken} requests were taken");
    assert_eq!(
        end_of(&connection).await,
        (CloseCause::GivenUp, Some(ErrorCode::SLOW_CONSUMER))
    );
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_to_read_gets_everything() {
    let options = ConnectOptions::new().write_buffer(1);
    let (connection, mut peer) = pair_with(4096, options, ServerSettings::default()).await;
    let call = |n: usize| {
        connection
            .request("a")
            .body(n.to_string().repeat(3000))
            .send()
    };
    let calls: Vec<_> = (0..300).map(|n| tokio::spawn(call(n))).collect();
    for n in 0..300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ask = peer.request().await;
        assert_eq!(ask.body, n.to_string().repeat(3000).as_bytes());
        peer.respond(&ask, b"").await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_without_listening_is_given_up() {
    let (connection, mut peer) = pair().await;
    let mut states = connection.watch();
    let beats = b"\x01\x03\0\x09\0\0\0\x40\0\0"
        .iter()
        .copied()
        .chain([7; 64]);
    let beats: Vec<u8> = beats.collect::<Vec<_>>().repeat(500);
    let start = now();
    let over = async {
        states
            .wait_for(|state| matches!(state, State::Closed(_)))
            .await
            .is_ok()
    };
    tokio::pin!(over);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut over => break ended,
            () = peer.raw(&beats) => {}
        }
    };
    assert!(ended);
    assert_eq!(
        end_of(&connection).await,
        (CloseCause::GivenUp, Some(ErrorCode::SLOW_CONSUMER))
    );
    assert_eq!(
        now(),
        start,
        "at once, not after a time: the answers would pile up"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_before_it_was_taken_is_never_sent() {
    let options = ConnectOptions::new().write_buffer(1);
    let (connection, mut peer) = pair_with(1024, options, ServerSettings::default()).await;
    let big = tokio::spawn(connection.request("big").body(vec![0; 100_000]).send());
    tokio::task::yield_now().await;
    let dropped = tokio::spawn(connection.request("dropped").send());
    tokio::time::sleep(Duration::from_millis(10)).await;
    dropped.abort();
    let kept = tokio::spawn(connection.request("kept").send());
    for topic in ["big", "kept"] {
        let ask = peer.request().await;
        assert_eq!(ask.topic, topic);
        peer.respond(&ask, b"").await;
    }
    big.await.unwrap().unwrap();
    kept.await.unwrap().unwrap();
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_called_dead_whose_bytes_have_arrived() {
    let (connection, mut peer) = pair().await;
    peer.beat().await;
    // As if this process had been stopped for long: the bytes and the deadline are met at once.
    tokio::time::advance(Duration::from_secs(1000)).await;
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    peer.respond(&ask, b"alive").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "alive");
}

/// A server that never stops sending what is to be ignored, and never reads.
struct Flood;

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(b"\x01\x44\0\x01\0\0\0\0\0\x10");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_flood_there_is_still_room_to_leave() {
    let options = ConnectOptions::new().hello(false);
    let connection = Connection::from_stream(Flood, options).await.unwrap();
    let other = connection.clone();
    let _closing = tokio::spawn(async move { other.close().await });
    assert_eq!(end_of(&connection).await, (CloseCause::Local, None));
}

#[tokio::test(start_paused = true)]
async fn a_flood_does_not_hide_that_nobody_reads() {
    let options = ConnectOptions::new().hello(false);
    let connection = Connection::from_stream(Flood, options).await.unwrap();
    let call = tokio::spawn(connection.request("a").send());
    tokio::task::yield_now().await;
    // Time does not pass by itself while somebody is busy.
    let passing = tokio::spawn(async {
        loop {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    });
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SLOW_CONSUMER));
    passing.abort();
}
