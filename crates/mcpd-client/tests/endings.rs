//! How a connection ends, and what becomes of what was under way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use mcpd_client::{
    CloseCause, Closed, ConnectOptions, Connection, ErrorClass, ErrorCode, ErrorKind, GoAwayReason,
    Qos, State,
};
use mcpd_proto::session::ServerSettings;
use mcpd_proto::{Hello, Meta};
use std::time::Duration;
use support::{Got, now, pair, pair_with};

async fn closed(connection: &Connection) -> Closed {
    let mut states = connection.watch();
    let found = states
        .wait_for(|state| matches!(state, State::Closed(_)))
        .await;
    match &*found.unwrap() {
        State::Closed(closed) => closed.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn going_away_is_told_and_old_requests_are_answered() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    assert!(connection.is_open());
    let mut states = connection.watch();
    let mut out = Vec::new();
    let (wait, until) = (Duration::from_millis(250), now() + Duration::from_secs(60));
    peer.session.go_away(
        GoAwayReason::Rebalance,
        "too full",
        Some(wait),
        until,
        &mut out,
    );
    peer.raw(&out).await;
    states.changed().await.unwrap();
    match connection.state() {
        State::GoingAway(why) => {
            assert_eq!(
                (why.reason, &why.text[..]),
                (GoAwayReason::Rebalance, "too full")
            );
            assert_eq!(why.retry_after, Some(wait));
        }
        other => panic!("{other:?}"),
    }
    assert!(!connection.is_open());
    peer.respond(&ask, b"still here").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "still here");
    // Until its deadline the server takes requests, so they may be sent.
    let call = tokio::spawn(connection.request("b").send());
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_closing_only_what_was_accepted_may_have_run() {
    let (connection, mut peer) = pair().await;
    let accepted = tokio::spawn(connection.request("a").qos(Qos::AtLeastOnce).send());
    let ask = peer.request().await;
    peer.ack(&ask, Qos::AtLeastOnce).await;
    let refused = tokio::spawn(connection.request("b").send());
    peer.request().await;
    peer.end(ErrorCode::CLOSING, "see you").await;
    let error = accepted.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
    let error = refused.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::NotExecuted)
    );
    assert_eq!(error.code(), Some(ErrorCode::CLOSING));
    let closed = closed(&connection).await;
    assert_eq!(
        (closed.cause, &closed.text[..]),
        (CloseCause::Server, "see you")
    );
    assert!(closed.is_orderly());
    assert_eq!(
        peer.next().await,
        Got::Eof,
        "the client closes and says nothing more"
    );
    let error = connection.request("c").send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::NotExecuted)
    );
    assert_eq!(
        connection.ping().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn an_end_without_a_word_leaves_requests_unknown() {
    // Once between two frames, once in the middle of an answer.
    for last in [&b""[..], b"\x01\x02\0\x01\0\0\0\x09\0\0half"] {
        let (connection, mut peer) = pair().await;
        let call = tokio::spawn(connection.request("a").send());
        peer.request().await;
        peer.raw(last).await;
        drop(peer);
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Closed, ErrorClass::Unknown)
        );
        assert_eq!(error.code(), None);
        let closed = closed(&connection).await;
        assert_eq!(
            (closed.cause, closed.is_orderly()),
            (CloseCause::Lost, false)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_for_the_connection_is_passed_on() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    peer.request().await;
    peer.end(ErrorCode::CALM_DOWN, "too much").await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
    assert_eq!(error.code(), Some(ErrorCode::CALM_DOWN));
    assert!(!closed(&connection).await.is_orderly());
}

#[tokio::test]
async fn close_waits_for_answers_and_takes_nothing_new() {
    let (connection, mut peer) = pair_with(
        4096,
        ConnectOptions::new(),
        ServerSettings {
            max_in_flight: 1,
            ..ServerSettings::default()
        },
    )
    .await;
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    let waiting = tokio::spawn(connection.request("b").send());
    tokio::task::yield_now().await;
    let other = connection.clone();
    let closing = tokio::spawn(async move { other.close().await });
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::NotExecuted)
    );
    assert!(!connection.is_open());
    let error = connection.request("c").send().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotExecuted);
    assert!(!closing.is_finished());
    peer.respond(&ask, b"last").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "last");
    assert_eq!(peer.next().await, Got::Eof);
    drop(peer);
    closing.await.unwrap();
    assert_eq!(closed(&connection).await.cause, CloseCause::Local);
    connection.close().await;
}

#[tokio::test]
async fn the_last_handle_takes_the_connection_along() {
    let (connection, mut peer) = pair().await;
    let mut states = connection.watch();
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    drop(connection);
    // The call still holds a handle, so it gets its answer.
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    assert_eq!(peer.next().await, Got::Eof);
    drop(peer);
    states
        .wait_for(|state| matches!(state, State::Closed(_)))
        .await
        .unwrap();
    // The channel ends with the task.
    assert!(states.changed().await.is_err());
}

#[tokio::test]
async fn handles_dropped_with_their_calls_cancel_them() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    drop(connection);
    call.abort();
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    assert_eq!(peer.next().await, Got::Eof);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_part_is_left() {
    let (connection, _peer) = pair().await;
    connection.close().await;
    assert_eq!(closed(&connection).await.cause, CloseCause::Local);
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_and_left() {
    use ErrorCode as Code;
    let mut second_hello = Vec::new();
    Hello {
        seq: 1,
        reply: true,
        meta: Meta::EMPTY,
    }
    .encode(&mut second_hello);
    for (bytes, code) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], Code::UNSUPPORTED_VERSION),
        (b"\x01\x02\0\x07\0\0\0\0\0\0", Code::PROTOCOL_ERROR), // an answer to nothing
        (
            b"\x01\x05\0\x07\0\0\0\x02\0\0\x02\x01",
            Code::PROTOCOL_ERROR,
        ), // a refusal of nothing
        (b"\x01\x01\0\x01\0\0\0\0\0\0", Code::PROTOCOL_ERROR), // a request
        (b"\x01\x02\0\x01\x7f\xff\xff\xff\0\0", Code::FRAME_TOO_LARGE),
        (b"\x01\x02\0\x01\0\x11\0\x01\0\0", Code::FRAME_TOO_LARGE), // a byte over 1 MiB + 64 KiB
        (b"\x01\x02\0\x01\0\0\0\0\x08\0", Code::PROTOCOL_ERROR),    // priority 8
        (b"\x01\x44\0\x01\0\0\0\0\0\0", Code::PROTOCOL_ERROR),      // an unknown type
        (
            b"\x01\x02\0\x01\0\0\0\x02\0\x08\x00\x05",
            Code::PROTOCOL_ERROR,
        ), // metadata cut off
        (&second_hello, Code::PROTOCOL_ERROR),
    ] {
        let (connection, mut peer) = pair().await;
        let call = tokio::spawn(connection.request("a").send());
        peer.request().await;
        peer.raw(bytes).await;
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Protocol, Some(code)),
            "{bytes:?}"
        );
        assert_eq!(error.class(), ErrorClass::Unknown);
        assert_eq!(closed(&connection).await.cause, CloseCause::GivenUp);
        assert!(
            matches!(peer.next().await, Got::Error(told, _) if told == code),
            "{bytes:?}"
        );
        assert_eq!(peer.next().await, Got::Eof);
    }
}

#[tokio::test]
async fn what_may_be_ignored_is() {
    let (connection, mut peer) = pair().await;
    // An unknown type that says so, an ACK for nothing, an unasked heartbeat answer.
    peer.raw(b"\x01\x44\0\x01\0\0\0\x03\0\x10abc").await;
    peer.raw(b"\x01\x04\0\x07\0\0\0\0\0\x10").await;
    peer.raw(b"\x01\x03\x77\x77\0\0\0\0\0\x20").await;
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    peer.respond(&ask, b"fine").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "fine");
}

#[tokio::test]
async fn callers_hear_of_a_runtime_that_went_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let options = ConnectOptions::new().hello(false);
    let connecting = async move { Connection::connect(&address, options).await };
    let connection = other.spawn(connecting).await.unwrap().unwrap();
    let call = tokio::spawn(connection.request("a").send());
    let (stream, _) = listener.accept().await.unwrap();
    let mut peer = support::Peer::new(stream, ServerSettings::default());
    peer.request().await;
    other.shutdown_background();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
    let error = connection.request("b").send().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotExecuted);
    connection.close().await;
}
