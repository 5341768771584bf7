//! Requests over TLS.

use crate::pki::Ca;
use crate::server::{ONE_THREE, ONE_TWO, Setup};
use crate::support::{Peer, now};
use mcpd_client::{BoxFuture, Client, ConnectOptions, Connection, Connector, Stream, Target, Tls};
use mcpd_proto::Meta;
use mcpd_proto::session::ServerSettings;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ProtocolVersion;

#[tokio::test]
async fn requests_by_tls_of_both_versions_with_the_token_inside() {
    let ca = Ca::new("ca");
    for (versions, version) in [
        (ONE_TWO, ProtocolVersion::TLSv1_2),
        (ONE_THREE, ProtocolVersion::TLSv1_3),
    ] {
        let setup = Setup {
            versions,
            ..Setup::of(ca.issue(&["127.0.0.1"]))
        };
        let listener = setup.listen().await;
        let options = ConnectOptions::new()
            .token("s3cret")
            .tls(Tls::new().ca_pem(ca.pem()));
        let (connection, mut peer) = tokio::join!(
            Connection::connect(listener.address(), options),
            listener.welcome()
        );
        let connection = connection.unwrap();
        let session = peer.stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version));
        assert_eq!(session.alpn_protocol(), Some(&b"mcp/1"[..]));
        let hello = Meta::parse(peer.hello.as_deref().unwrap()).unwrap();
        assert_eq!(hello.auth_token(), Some(&b"s3cret"[..]));
        // More than sockets and rustls hold, both ways.
        let body: Vec<u8> = (0..=255).cycle().take(900_000).collect();
        let call = tokio::spawn(connection.request("a").body(&body).send());
        let ask = peer.request().await;
        assert!(ask.body == body);
        peer.respond(&ask, &body).await;
        assert!(call.await.unwrap().unwrap().body() == &body);
    }
}

#[tokio::test]
async fn a_certificate_is_for_the_name_or_the_one_that_is_expected() {
    let ca = Ca::new("ca");
    let trusting = Tls::new().ca_pem(ca.pem());
    for (names, host, tls) in [
        (&["localhost"][..], "localhost", trusting.clone()),
        (&["127.0.0.1", "::1"], "127.0.0.1", trusting.clone()),
        (
            &["*.mcp.example"],
            "127.0.0.1",
            trusting.clone().server_name("a.mcp.example"),
        ),
        (
            &["10.0.0.7"],
            "127.0.0.1",
            trusting.clone().server_name("10.0.0.7"),
        ),
    ] {
        let listener = Setup::of(ca.issue(names)).listen().await;
        let address = format!("mcps://{host}:{}", listener.port);
        // Both ways to connect.
        let options = ConnectOptions::new().tls(tls.clone());
        let (connection, _peer) =
            tokio::join!(Connection::connect(&address, options), listener.welcome());
        assert!(connection.is_ok(), "{host}: {connection:?}");
        let (client, _peer) = tokio::join!(
            Client::builder(&address).tls(tls).build(),
            listener.welcome()
        );
        assert!(client.is_ok(), "{host}: {client:?}");
    }
}

/// A pipe that holds few bytes: what was encrypted has to wait in the middle of a record.
struct Narrow(Mutex<Option<DuplexStream>>);

impl Connector for Narrow {
    fn connect<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, io::Result<Stream>> {
        let stream = self.0.lock().unwrap().take();
        Box::pin(async {
            stream
                .map(Stream::new)
                .ok_or(io::ErrorKind::ConnectionRefused.into())
        })
    }
}

#[tokio::test]
async fn what_waits_for_room_goes_out_though_nothing_follows_and_other_connectors_will_do() {
    let ca = Ca::new("ca");
    let (near, far) = tokio::io::duplex(64);
    let acceptor = TlsAcceptor::from(Arc::new(Setup::of(ca.issue(&["10.0.0.1"])).config()));
    let client = Client::builder("mcps://10.0.0.1")
        .connector(Narrow(Mutex::new(Some(near))))
        .tls(Tls::new().ca_pem(ca.pem()))
        .build_lazy()
        .unwrap();
    let call = tokio::spawn(
        client
            .request("a")
            .body(vec![7; 20_000])
            .no_timeout()
            .send(),
    );
    let stream = acceptor.accept(far).await.unwrap();
    let mut peer = Peer::new(stream, ServerSettings::default());
    let began = now();
    let ask = peer.request().await;
    // No heartbeat had to push it.
    assert!(now() - began < Duration::from_secs(20));
    assert_eq!(ask.body.len(), 20_000);
    peer.respond(&ask, &ask.body).await;
    assert_eq!(call.await.unwrap().unwrap().body().len(), 20_000);
}
