//! The client and its blocking face over TLS.

use crate::pki::Ca;
use crate::server::{Listener, Setup};
use mcpd_client::{Client, Tls};

/// Answers one request of one client with its body.
async fn echo(listener: &Listener) {
    let mut peer = listener.welcome().await;
    let ask = peer.request().await;
    peer.respond(&ask, &ask.body).await;
}

#[tokio::test]
async fn a_client_of_several_servers_moves_on_when_one_is_lost() {
    let ca = Ca::new("ca");
    let setup = Setup::of(ca.issue(&["127.0.0.1", "localhost"]));
    let (one, two) = (setup.listen().await, setup.listen().await);
    let list = format!("mcps://127.0.0.1:{},localhost:{}", one.port, two.port);
    let client = Client::builder(list)
        .tls(Tls::new().ca_pem(ca.pem()))
        .max_connections(1)
        .build_lazy()
        .unwrap();
    // Whichever is met first answers once and is gone; then the client looks for another.
    for round in 0..3 {
        let body = format!("round {round}");
        let calling = client
            .request("a")
            .body(body.as_bytes())
            .qos(1)
            .no_timeout()
            .send();
        tokio::pin!(calling);
        let serving = async {
            tokio::select! {
                () = echo(&one) => {}
                () = echo(&two) => {}
            }
            std::future::pending().await
        };
        let answer = tokio::select! {
            answer = &mut calling => answer.unwrap(),
            () = serving => unreachable!(),
        };
        assert_eq!(answer.body(), &body);
    }
}

#[test]
fn the_blocking_face_speaks_tls() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ca = Ca::new("ca");
    let listener = runtime.block_on(Setup::of(ca.issue(&["127.0.0.1"])).listen());
    let address = listener.address();
    runtime.spawn(async move { echo(&listener).await });
    let client = Client::builder(address)
        .tls(Tls::new().ca_pem(ca.pem()))
        .build_blocking()
        .unwrap();
    assert_eq!(
        client.request("a").body("ada").send().unwrap().body(),
        "ada"
    );
}
