//! How connections by TLS end.

use crate::pki::Ca;
use crate::server::{Setup, TlsPeer};
use crate::support::Got;
use mcpd_client::{
    CloseCause, Closed, ConnectOptions, Connection, ErrorClass, ErrorCode, ErrorKind, MetaBuf,
    State, Tls,
};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn pair() -> (Connection, TlsPeer) {
    let ca = Ca::new("ca");
    let listener = Setup::of(ca.issue(&["127.0.0.1"])).listen().await;
    let options = ConnectOptions::new().tls(Tls::new().ca_pem(ca.pem()));
    let (connection, peer) = tokio::join!(
        Connection::connect(listener.address(), options),
        listener.welcome()
    );
    (connection.unwrap(), peer)
}

async fn closed(connection: &Connection) -> Closed {
    let mut states = connection.watch();
    let state = states.wait_for(|state| matches!(state, State::Closed(_)));
    match &*state.await.unwrap() {
        State::Closed(closed) => closed.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn leaving_says_so_before_the_stream_ends() {
    let (connection, mut peer) = pair().await;
    let (reading, ()) = tokio::join!(
        async {
            let mut buffer = [0; 64];
            // With rustls, the end without close_notify is an error.
            let read = peer.stream.read(&mut buffer).await;
            peer.stream.shutdown().await.unwrap();
            read
        },
        connection.close()
    );
    assert_eq!(reading.unwrap(), 0);
    drop(peer);

    // The same when the last handle is dropped.
    let (connection, mut peer) = pair().await;
    drop(connection);
    assert_eq!(peer.stream.read(&mut [0; 64]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_a_loss() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    peer.request().await;
    // The socket ends, TLS does not: whoever sits between can do that.
    peer.stream.get_mut().0.shutdown().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Closed, ErrorClass::Unknown)
    );
    let closed = closed(&connection).await;
    assert_eq!(closed.cause, CloseCause::Lost);
    assert!(!closed.is_orderly());
    let kind = closed.io_error().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn after_closing_nobody_minds_how_it_ends() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    peer.request().await;
    peer.fail(0, ErrorCode::CLOSING, b"", &MetaBuf::new()).await;
    peer.stream.get_mut().0.shutdown().await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotExecuted, "{error}");
    assert!(closed(&connection).await.is_orderly());
    // The server is taken leave of by the rules all the same.
    assert_eq!(peer.next().await, Got::Eof);
}
