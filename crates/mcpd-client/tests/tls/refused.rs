//! What must not work, and the words for it.

use crate::pki::{Ca, Good, Identity};
use crate::server::{ONE_THREE, ONE_TWO, Setup};
use crate::support::Peer;
use mcpd_client::{Client, ConnectOptions, Connection, Error, ErrorClass, ErrorKind, Tls};
use mcpd_proto::session::ServerSettings;
use std::error::Error as _;
use std::time::Duration;
use tokio::net::TcpListener;

/// Fails to connect by both ways, which say the same.
async fn refused(address: &str, tls: Option<Tls>) -> Error {
    let mut options = ConnectOptions::new();
    let mut builder = Client::builder(address).fail_fast(true);
    if let Some(tls) = tls {
        options = options.tls(tls.clone());
        builder = builder.tls(tls);
    }
    let error = Connection::connect(address, options).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Connect, ErrorClass::NotExecuted),
        "{error}"
    );
    assert!(
        error.source().is_some() || error.code().is_some(),
        "{error:?}"
    );
    let by_client = builder.build().await.unwrap_err();
    assert_eq!(timeless(&by_client), timeless(&error));
    error
}

/// Its words without the time at which a certificate was looked at, which is not the same for two attempts.
fn timeless(error: &impl ToString) -> String {
    let words = error.to_string();
    let numberless = |word: &&str| !word.trim_start_matches('(').starts_with(char::is_numeric);
    words.split(' ').filter(numberless).collect()
}

async fn expect(setup: Setup<'_>, tls: Tls, words: &str) {
    let listener = setup.listen().await;
    let address = listener.address();
    let server = tokio::spawn(listener.turn_away());
    let error = refused(&address, Some(tls)).await;
    assert!(error.to_string().contains(words), "{words}: {error}");
    server.abort();
}

#[tokio::test]
async fn servers_that_are_not_who_they_should_be() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let tls = || Tls::new().ca_pem(ca.pem());
    let ours = |names: &[&str], good| Setup::of(ca.issue_for(names, good));
    let here = &["127.0.0.1"][..];
    let stranger = Setup::of(other.issue(here));
    expect(stranger, tls(), "no authority that is trusted here").await;
    let named = ours(&["elsewhere.example", "localhost"], Good::Now);
    expect(named, tls(), "elsewhere.example").await;
    let named = ours(here, Good::Now);
    expect(
        named,
        tls().server_name("a.example"),
        "say which one is expected",
    )
    .await;
    expect(ours(here, Good::Before), tls(), "expired").await;
    expect(ours(here, Good::Later), tls(), "a clock is wrong").await;
    let foreign = Setup {
        alpn: b"h2",
        ..ours(here, Good::Now)
    };
    expect(foreign, tls(), "does not speak mcp/1").await;
}

#[tokio::test]
async fn clients_that_do_not_show_who_they_are() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let tls = || Tls::new().ca_pem(ca.pem());
    let show = |Identity { cert, key }| tls().client_cert_pem(cert, key);
    for versions in [ONE_TWO, ONE_THREE] {
        let strict = || Setup {
            versions,
            clients: Some(&ca),
            ..Setup::of(ca.issue(&["127.0.0.1"]))
        };
        expect(strict(), tls(), "wants a client certificate").await;
        let stranger = other.issue(&["till-7"]);
        expect(strict(), show(stranger), "does not trust this client").await;
        let late = ca.issue_for(&["till-7"], Good::Before);
        expect(strict(), show(late), "has expired").await;
        let listener = strict().listen().await;
        let options = ConnectOptions::new().tls(show(ca.issue(&["till-7"])));
        let (connection, peer) = tokio::join!(
            Connection::connect(listener.address(), options),
            listener.welcome()
        );
        assert!(connection.is_ok(), "{connection:?}");
        assert!(peer.stream.get_ref().1.peer_certificates().is_some());
    }
}

#[tokio::test]
async fn one_side_speaks_tls_and_the_other_does_not() {
    let ca = Ca::new("ca");
    let listener = Setup::of(ca.issue(&["127.0.0.1"])).listen().await;
    let plain = format!("mcp://127.0.0.1:{}", listener.port);
    let server = tokio::spawn(listener.turn_away());
    let error = refused(&plain, None).await;
    assert!(error.to_string().contains("this is TLS"), "{error}");
    server.abort();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("mcps://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut peer = Peer::new(stream, ServerSettings::default());
            // What a server of MCP says to a first byte that is no version.
            let (code, meta) = (
                mcpd_client::ErrorCode::UNSUPPORTED_VERSION,
                Default::default(),
            );
            peer.fail(0, code, b"version 22", &meta).await;
        }
    });
    let error = refused(&address, Some(Tls::new().ca_pem(ca.pem()))).await;
    assert!(
        error.to_string().contains("is not TLS: use mcp://"),
        "{error}"
    );
    server.abort();
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("mcps://{}", listener.local_addr().unwrap());
    let options = ConnectOptions::new()
        .tls(Tls::new().ca_pem(Ca::new("ca").pem()))
        .connect_timeout(Duration::from_millis(100));
    let connecting = tokio::spawn(Connection::connect(address, options));
    let mut stream = listener.accept().await.unwrap().0;
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("100ms"), "{error}");
    // And its socket is closed.
    let mut said = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said).await;
    assert_eq!(said.first(), Some(&0x16));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_sent() {
    let ca = Ca::new("ca");
    let (one, two) = (ca.issue(&["a"]), ca.issue(&["b"]));
    let tls = || Tls::new().ca_pem(ca.pem());
    for (address, tls, words) in [
        ("mcp://127.0.0.1:1", tls(), "write mcps://"),
        ("127.0.0.1:1", tls(), "write mcps://"),
        ("mcps://a:1,mcp://b:1", tls(), "one scheme"),
        (
            "mcps://127.0.0.1:1",
            Tls::new().ca_file("/no/such/ca.crt"),
            "/no/such/ca.crt",
        ),
        (
            "mcps://127.0.0.1:1",
            Tls::new().ca_pem("none"),
            "no certificates in PEM",
        ),
        (
            "mcps://127.0.0.1:1",
            tls().server_name("no spaces"),
            "no spaces",
        ),
        (
            "mcps://127.0.0.1:1",
            tls().client_cert_pem(&one.cert, &two.key),
            "is not that of",
        ),
        (
            "mcps://127.0.0.1:1",
            tls().client_cert_pem(&one.cert, &one.cert),
            "no private key",
        ),
    ] {
        let error = Client::builder(address)
            .tls(tls.clone())
            .build()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        if !address.contains(',') {
            let options = ConnectOptions::new().tls(tls);
            let error = Connection::connect(address, options).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
    }
    let (near, _far) = tokio::io::duplex(64);
    let options = ConnectOptions::new().tls(tls());
    let error = Connection::from_stream(near, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
