//! How a connection comes about, or does not.

mod support;

use mcpd_client::{
    ConnectOptions, Connection, ErrorClass, ErrorCode, ErrorKind, HeartbeatSettings, MetaBuf,
};
use mcpd_proto::Meta;
use mcpd_proto::session::ServerSettings;
use std::time::Duration;
use support::{Got, Peer, pair_with};
use tokio::net::TcpListener;

#[tokio::test]
async fn both_sides_learn_of_each_other() {
    let settings = ServerSettings {
        server_id: "mcpd-3".to_owned(),
        incarnation: [5; 16],
        max_payload: 2 << 20,
        max_in_flight: 777,
        heartbeat: HeartbeatSettings {
            interval: Duration::from_secs(12),
            max_interval: Duration::from_secs(12),
        },
        ..ServerSettings::default()
    };
    let options = ConnectOptions::new()
        .client_id("till-7")
        .token(b"s3cret")
        .max_payload(3 << 20)
        .heartbeat(HeartbeatSettings {
            interval: Duration::from_secs(20),
            max_interval: Duration::from_secs(20),
        });
    let (connection, peer) = pair_with(4096, options, settings).await;
    let server = connection.server();
    assert_eq!(server.server_id.as_deref(), Some("mcpd-3"));
    assert_eq!((server.max_payload, server.max_in_flight), (2 << 20, 777));
    assert_eq!(server.heartbeat, Duration::from_secs(12));
    assert_eq!(server.incarnation, Some([5; 16]));
    assert_eq!((server.dedup_window, connection.in_flight()), (None, 0));
    let hello = Meta::parse(peer.hello.as_deref().unwrap()).unwrap();
    assert_eq!(hello.client_id(), Some("till-7"));
    assert_eq!(hello.auth_token(), Some(&b"s3cret"[..]));
    assert!(hello.agent().unwrap().starts_with("mcpd-client/"));
    assert_eq!(
        (hello.max_payload(), hello.heartbeat()),
        (Some(3 << 20), Some(Duration::from_secs(20)))
    );
}

#[tokio::test]
async fn the_minimal_client_says_no_hello_and_counts_on_the_defaults() {
    let (client, server) = tokio::io::duplex(4096);
    let mut peer = Peer::new(server, ServerSettings::default());
    let options = ConnectOptions::new().hello(false);
    let connection = Connection::from_stream(client, options).await.unwrap();
    assert_eq!(connection.server().max_in_flight, 256);
    assert_eq!(
        (
            connection.server().max_payload,
            &connection.server().server_id
        ),
        (1 << 20, &None)
    );
    let call = tokio::spawn(connection.request("a").body("b").send());
    let ask = peer.request().await;
    assert_eq!(peer.hello, None);
    peer.respond(&ask, b"c").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "c");
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Connection::connect(&address, ConnectOptions::new())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Connect, ErrorClass::NotExecuted)
    );
    assert!(std::error::Error::source(&error).is_some());
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_before_anything_is_sent() {
    let options = ConnectOptions::new;
    let beat = |interval, max_interval| HeartbeatSettings {
        interval: Duration::from_secs(interval),
        max_interval: Duration::from_secs(max_interval),
    };
    for (address, options) in [
        ("http://localhost:80", options()),
        ("127.0.0.1:1", options().client_id("no spaces")),
        ("127.0.0.1:1", options().agent("x".repeat(200))),
        ("127.0.0.1:1", options().token(vec![1; 20_000])),
        ("127.0.0.1:1", options().token("t").hello(false)),
        ("127.0.0.1:1", options().max_payload(100)),
        ("127.0.0.1:1", options().heartbeat(beat(0, 30))),
        ("127.0.0.1:1", options().heartbeat(beat(30, 10))),
        ("127.0.0.1:1", options().heartbeat(beat(30, 601))),
    ] {
        let error = Connection::connect(address, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_hello_is_left_in_time() {
    let (client, mut server) = tokio::io::duplex(4096);
    let error = Connection::from_stream(client, ConnectOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("5s"), "{error}");
    // The task ends with the attempt: the server sees the end of the stream.
    let mut hello = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut server, &mut hello)
        .await
        .unwrap();
    assert_eq!(hello[1], 0x06);
}

#[tokio::test]
async fn the_servers_refusal_comes_with_its_code() {
    for code in [ErrorCode::UNAUTHENTICATED, ErrorCode::TOO_MANY_CONNECTIONS] {
        let (client, server) = tokio::io::duplex(4096);
        let mut peer = Peer::new(server, ServerSettings::default());
        let mut meta = MetaBuf::new();
        meta.set_retry_after(Duration::from_secs(3));
        peer.fail(0, code, b"no", &meta).await;
        let error = Connection::from_stream(client, ConnectOptions::new())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Connect, Some(code))
        );
        assert_eq!(error.class(), ErrorClass::NotExecuted);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
}

#[tokio::test]
async fn another_protocol_behind_the_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer::new(stream, ServerSettings::default());
        peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        loop {
            match peer.next().await {
                Got::Error(code, _) => return code,
                other => assert_ne!(other, Got::Eof),
            }
        }
    });
    let error = Connection::connect(&address, ConnectOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_VERSION));
    assert_eq!(server.await.unwrap(), ErrorCode::UNSUPPORTED_VERSION);
}
