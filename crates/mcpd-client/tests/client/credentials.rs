//! Tokens that change, and servers that want none of them.

use crate::support::net::{Listener, Net};
use crate::support::{Peer, now};
use mcpd_client::{Client, ErrorClass, ErrorCode, ErrorKind, GoAwayReason};
use mcpd_proto::Meta;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::DuplexStream;

const SECOND: Duration = Duration::from_secs(1);

/// What somebody else puts the token into.
#[derive(Clone)]
struct Vault {
    token: Arc<Mutex<io::Result<&'static str>>>,
    asked: Arc<AtomicUsize>,
}

impl Vault {
    fn of(token: &'static str) -> Vault {
        Vault {
            token: Arc::new(Mutex::new(Ok(token))),
            asked: Arc::default(),
        }
    }

    fn put(&self, token: io::Result<&'static str>) {
        *self.token.lock().unwrap() = token;
    }

    /// A client that asks it for each connection.
    fn client(&self, net: &Net) -> mcpd_client::ClientBuilder {
        let vault = self.clone();
        net.client(&[1]).credentials(move || {
            vault.asked.fetch_add(1, Ordering::Relaxed);
            let token = match &*vault.token.lock().unwrap() {
                Ok(token) => Ok(token.as_bytes().to_vec()),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            async { token }
        })
    }
}

fn token(peer: &Peer<DuplexStream>) -> String {
    let hello = Meta::parse(peer.hello.as_deref().unwrap()).unwrap();
    String::from_utf8(hello.auth_token().unwrap().to_vec()).unwrap()
}

/// Lets in whoever has this token, until one has.
async fn guard(listener: &mut Listener, good: &str) -> (Peer<DuplexStream>, usize) {
    let mut turned_away = 0;
    loop {
        let mut peer = listener.accept_silent().await;
        peer.demands = Some(good.as_bytes().to_vec());
        if peer.try_welcome().await {
            return (peer, turned_away);
        }
        turned_away += 1;
    }
}

async fn answer(client: &Client, peer: &mut Peer<DuplexStream>) {
    let call = tokio::spawn(client.request("t").send());
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_reauthenticate_comes_with_a_new_token_before_it_leaves() {
    let (net, vault) = (Net::default(), Vault::of("first"));
    let mut server = net.listen(1);
    let (client, mut old) = tokio::join!(vault.client(&net).build(), server.accept());
    let client = client.unwrap();
    assert_eq!(token(&old), "first");
    vault.put(Ok("second"));
    old.go_away(GoAwayReason::Reauthenticate, None).await;
    let mut new = server.accept().await;
    assert_eq!(token(&new), "second");
    tokio::time::sleep(SECOND / 100).await;
    answer(&client, &mut new).await;
    assert_eq!(vault.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_rotated_late_heals_without_a_storm_and_calls_are_told_meanwhile() {
    let (net, vault) = (Net::default(), Vault::of("old"));
    let mut server = net.listen(1);
    let (client, mut peer) = tokio::join!(vault.client(&net).build(), server.accept());
    let client = client.unwrap();
    peer.go_away(GoAwayReason::Reauthenticate, None).await;
    let guarding = tokio::spawn(async move { guard(&mut server, "new").await });
    // As long as the old connection is there, it serves.
    tokio::time::sleep(20 * SECOND).await;
    answer(&client, &mut peer).await;
    peer.end(ErrorCode::CLOSING, "").await;
    drop(peer);
    tokio::time::sleep(40 * SECOND).await;
    let began = now();
    let error = client.request("t").send().await.unwrap_err();
    assert_eq!(now(), began);
    assert_eq!(
        (error.kind(), error.class(), error.code()),
        (
            ErrorKind::Connect,
            ErrorClass::NotExecuted,
            Some(ErrorCode::UNAUTHENTICATED)
        )
    );
    assert!(!format!("{error:?} {error}").contains("old"), "{error:?}");
    vault.put(Ok("new"));
    let (mut peer, turned_away) = guarding.await.unwrap();
    assert!(now() - began <= 6 * SECOND, "{:?}", now() - began);
    // A minute, with pauses anywhere below 5 s.
    assert!((10..60).contains(&turned_away), "{turned_away}");
    tokio::time::sleep(SECOND / 100).await;
    answer(&client, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn without_connections_to_keep_it_goes_on_trying_for_the_calls_it_turned_down() {
    let (net, vault) = (Net::default(), Vault::of("old"));
    let mut server = net.listen(1);
    let client = vault
        .client(&net)
        .min_connections(0)
        .idle_timeout(SECOND)
        .build_lazy()
        .unwrap();
    let guarding = tokio::spawn(async move { guard(&mut server, "new").await });
    let error = client.request("t").send().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNAUTHENTICATED), "{error}");
    tokio::time::sleep(60 * SECOND).await;
    vault.put(Ok("new"));
    guarding.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_wait_while_no_token_is_to_be_had() {
    let (net, vault) = (Net::default(), Vault::of(""));
    let mut server = net.listen(1);
    vault.put(Err(io::Error::other("the vault is sealed")));
    let error = vault.client(&net).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(error.to_string().contains("the vault is sealed"), "{error}");
    let client = vault.client(&net).build_lazy().unwrap();
    let call = tokio::spawn(client.request("t").send());
    tokio::time::sleep(5 * SECOND).await;
    vault.put(Ok("there"));
    let mut peer = server.accept().await;
    assert_eq!(token(&peer), "there");
    let ask = peer.request().await;
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    // One that no frame can carry is told by what is wrong with it.
    vault.put(Ok(Box::leak("x".repeat(20_000).into_boxed_str())));
    let error = vault.client(&net).build().await.unwrap_err();
    assert!(!format!("{error:?}").contains("xxx"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fast_tells_of_the_first_round_of_failures_and_recovers() {
    let net = Net::default();
    let client = net.client(&[1, 2]).fail_fast(true).build_lazy().unwrap();
    let error = client.request("t").send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Connect, ErrorClass::NotExecuted)
    );
    assert!(
        error.to_string().starts_with("cannot connect to"),
        "{error}"
    );
    // Pauses are drawn at random, so the first address may have had its second try meanwhile.
    let dials = net.dials();
    let (other, _) = dials.iter().find(|dial| dial.1 != dials[0].1).unwrap();
    assert!(now() - *other <= SECOND / 100, "told late: {dials:?}");
    let mut server = net.listen(2);
    let mut peer = server.accept().await;
    tokio::time::sleep(SECOND / 100).await;
    answer(&client, &mut peer).await;
    let connection = client.connection().await.unwrap();
    assert_eq!(connection.server().server_id.as_deref(), Some("s2"));
    drop((peer, server));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(
        client.request("t").send().await.unwrap_err().kind(),
        ErrorKind::Connect
    );
    assert!(!connection.is_open());
    let unknown = net
        .client_of("nowhere")
        .fail_fast(true)
        .build_lazy()
        .unwrap();
    let error = unknown.request("t").send().await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}
