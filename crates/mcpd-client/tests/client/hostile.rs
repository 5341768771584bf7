//! Servers that mean harm: a call ends within its time, and nothing heaps up or runs hot.

use crate::support::net::{Listener, Net};
use crate::support::{Got, Peer, now};
use mcpd_client::{Client, Error, ErrorClass, ErrorCode, ErrorKind, GoAwayReason, MetaBuf, Qos};
use mcpd_proto::{ErrorFrame, GoAway, Heartbeat, Hello, Meta, Response};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const SECOND: Duration = Duration::from_secs(1);
/// More than the time of a call, by the quarter second in which the server's own word may come.
const CALL: Duration = Duration::from_secs(4);

fn ages() -> MetaBuf {
    let mut meta = MetaBuf::new();
    meta.set_retry_after(Duration::MAX);
    meta
}

fn response(seq: u16) -> Vec<u8> {
    let mut out = Vec::new();
    Response {
        seq,
        ..Response::default()
    }
    .encode(&mut out);
    out
}

/// Calls once with each QoS against a server that does `evil` to every connection. Gives the errors
/// and the attempts to connect.
async fn suffer<F, E>(evil: E) -> (Vec<Error>, usize)
where
    E: Fn(Listener) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let net = Net::default();
    let listener = net.listen(1);
    let server = tokio::spawn(evil(listener));
    let client = net.client(&[1]).client_id("c").build_lazy().unwrap();
    let mut errors = Vec::new();
    for qos in [0, 1, 2] {
        let began = now();
        let result = client
            .request("t")
            .qos(qos)
            .timeout(3 * SECOND)
            .send()
            .await;
        assert!(
            now() - began <= CALL,
            "{result:?} after {:?}",
            now() - began
        );
        errors.extend(result.err());
    }
    server.abort();
    let dials = net.dials().len();
    assert!(dials <= 40, "{dials} attempts in ten seconds");
    (errors, dials)
}

fn spawn_each<F>(
    mut listener: Listener,
    each: impl Fn(Peer<DuplexStream>) -> F,
) -> impl Future<Output = ()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut peers = tokio::task::JoinSet::new();
    async move {
        loop {
            let peer = listener.accept_silent().await;
            peers.spawn(each(peer));
        }
    }
}

async fn idle(mut peer: Peer<DuplexStream>) {
    let mut buffer = [0; 4096];
    while peer.stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

/// Says `bytes` after HELLO, and again after each request.
fn says(bytes: Vec<u8>) -> impl Fn(Listener) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    move |listener| {
        let bytes = bytes.clone();
        Box::pin(spawn_each(listener, move |mut peer| {
            let bytes = bytes.clone();
            async move {
                peer.welcome().await;
                peer.raw(&bytes).await;
                while let Got::Request(_) = peer.next().await {
                    peer.raw(&bytes).await;
                }
                idle(peer).await;
            }
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_never_says_hello_or_never_takes_the_connection() {
    let (errors, _) = suffer(|listener| spawn_each(listener, idle)).await;
    for error in errors {
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Connect, ErrorClass::NotExecuted)
        );
    }
    let net = Net::default();
    net.black_hole(1);
    let error = net.client(&[1]).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_up_before_or_after_hello() {
    let (errors, _) = suffer(|listener| spawn_each(listener, |_| async {})).await;
    assert!(
        errors
            .iter()
            .all(|error| error.class() == ErrorClass::NotExecuted)
    );
    let after = |mut peer: Peer<DuplexStream>| async move { peer.welcome().await };
    let (errors, _) = suffer(|listener| spawn_each(listener, after)).await;
    assert_eq!(errors.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_requests_and_hangs_up() {
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.welcome().await;
        peer.request().await;
    };
    let (errors, _) = suffer(|listener| spawn_each(listener, each)).await;
    assert_eq!(errors.len(), 3);
    for error in &errors {
        // A call may find no connection at all within its time.
        let sent = error.attempts() > 0;
        assert_eq!(error.class() == ErrorClass::Unknown, sent, "{error:?}");
    }
    let attempts = errors[0].attempts();
    assert_eq!(attempts, 1, "what may have run is not run again");
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers() {
    let (errors, dials) = suffer(says(Vec::new())).await;
    for error in errors {
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Timeout, ErrorClass::Unknown)
        );
    }
    assert_eq!(dials, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_talks_nonsense() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        b"\x01\x02\0\x01\xff\xff\xff\xff\0\0",
        b"\x01\x02\0\x01\0\0\0\x02\0\x08\xff\xff",
        b"\x01\x7f\0\x01\0\0\0\0\0\0",
        b"\x01\x01\0\x01\0\0\0\0\0\0",
        b"\x01\x05\0\0\0\0\0\0\0\0",
    ] {
        let (errors, _) = suffer(says(bytes.to_vec())).await;
        assert_eq!(errors.len(), 3);
        let first = &errors[0];
        assert_ne!(first.kind(), ErrorKind::Executed, "{bytes:?}: {first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_what_nobody_asked() {
    let (errors, _) = suffer(says(response(999))).await;
    assert_eq!(errors.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_twice() {
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.welcome().await;
        let ask = peer.request().await;
        peer.raw(&[response(ask.seq), response(ask.seq)].concat())
            .await;
        idle(peer).await;
    };
    // The first answer is one; the second costs the connection, not the next call.
    let (errors, dials) = suffer(|listener| spawn_each(listener, each)).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(dials, 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_says_hello_twice_or_in_the_wrong_order() {
    let mut hello = Vec::new();
    Hello {
        seq: 1,
        reply: true,
        meta: Meta::EMPTY,
    }
    .encode(&mut hello);
    suffer(says(hello.clone())).await;
    let each = move |mut peer: Peer<DuplexStream>| async move {
        peer.raw(&response(1)).await;
        idle(peer).await;
    };
    suffer(move |listener| spawn_each(listener, each)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_allows_nothing_in_flight() {
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.session = mcpd_proto::session::Server::new(
            mcpd_proto::session::ServerSettings {
                max_in_flight: 0,
                ..Default::default()
            }
            .into(),
            now(),
        );
        peer.welcome().await;
        idle(peer).await;
    };
    suffer(|listener| spawn_each(listener, each)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_sends_everyone_away_at_once_and_for_ever() {
    let mut goaway = Vec::new();
    for reason in [1, 2, 3, 4, 0xffff].repeat(100) {
        GoAway {
            reason,
            text: "go",
            meta: ages().view(),
        }
        .encode(&mut goaway);
    }
    let (errors, _) = suffer(says(goaway)).await;
    assert_eq!(errors.len(), 3);
    // It serves all the same: so it is used.
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.welcome().await;
        peer.go_away(GoAwayReason::Draining, None).await;
        while let Got::Request(ask) = peer.next().await {
            peer.respond(&ask, b"").await;
        }
    };
    let (errors, _) = suffer(|listener| spawn_each(listener, each)).await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_for_49_days_at_every_turn() {
    for code in [
        ErrorCode::OVERLOADED,
        ErrorCode::DRAINING,
        ErrorCode::INTERNAL,
    ] {
        let each = move |mut peer: Peer<DuplexStream>| async move {
            peer.welcome().await;
            while let Got::Request(ask) = peer.next().await {
                peer.fail(ask.seq, code, b"", &ages()).await;
            }
        };
        let net = Net::default();
        let server = tokio::spawn(spawn_each(net.listen(1), each));
        let client = net.client(&[1]).build().await.unwrap();
        let began = now();
        let error = client.request("t").qos(1).send().await.unwrap_err();
        assert_eq!(error.code(), Some(code));
        assert!(error.retry_after() > Some(SECOND));
        assert!(now() - began < SECOND);
        server.abort();
    }
    for code in [ErrorCode::TOO_MANY_CONNECTIONS, ErrorCode::CLOSING] {
        let each = move |mut peer: Peer<DuplexStream>| async move {
            peer.fail(0, code, b"", &ages()).await;
            idle(peer).await;
        };
        let (errors, dials) = suffer(|listener| spawn_each(listener, each)).await;
        assert!(
            errors
                .iter()
                .all(|error| error.class() == ErrorClass::NotExecuted)
        );
        assert_eq!(dials, 1, "half a minute at least is waited");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_closes_every_connection_in_order() {
    let mut closing = Vec::new();
    ErrorFrame {
        seq: 0,
        priority: 0,
        code: ErrorCode::CLOSING,
        detail: b"",
        meta: Meta::EMPTY,
    }
    .encode(&mut closing);
    let (errors, _) = suffer(says(closing)).await;
    assert!(
        errors
            .iter()
            .all(|error| error.class() == ErrorClass::NotExecuted),
        "{errors:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_accepts_and_forgets() {
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.welcome().await;
        while let Got::Request(ask) = peer.next().await {
            for _ in 0..100 {
                peer.ack(&ask, Qos::EffectivelyOnce).await;
            }
        }
        idle(peer).await;
    };
    let (errors, _) = suffer(|listener| spawn_each(listener, each)).await;
    assert!(
        errors
            .iter()
            .all(|error| error.class() == ErrorClass::Unknown)
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_for_signs_of_life_and_does_not_listen() {
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.welcome().await;
        let mut beats = Vec::new();
        for seq in 1..=5000 {
            Heartbeat {
                seq,
                ..Heartbeat::default()
            }
            .encode(&mut beats);
        }
        loop {
            if peer.stream.write_all(&beats).await.is_err() {
                return;
            }
        }
    };
    suffer(|listener| spawn_each(listener, each)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_a_byte_at_a_time() {
    let each = |mut peer: Peer<DuplexStream>| async move {
        peer.welcome().await;
        while let Got::Request(ask) = peer.next().await {
            for byte in response(ask.seq) {
                peer.raw(&[byte]).await;
                tokio::time::sleep(SECOND / 10).await;
            }
        }
    };
    let (errors, _) = suffer(|listener| spawn_each(listener, each)).await;
    assert!(errors.is_empty(), "{errors:?}");
    // The head of an answer of 1 MiB.
    let stuck = b"\x01\x02\0\x01\0\x10\0\0\0\0";
    let (errors, _) = suffer(says(stuck.to_vec())).await;
    assert_eq!(errors.len(), 3);
}

/// Cancelled requests that the server never answers hold their places; others must go on.
#[tokio::test(start_paused = true)]
async fn one_that_never_lets_go_of_cancelled_requests() {
    let net = Net::default();
    let mut server = net.listen(1);
    server.settings.max_in_flight = 4;
    let builder = net.client(&[1]).max_connections(2).max_pending(4);
    let (client, mut peer) = tokio::join!(builder.build(), server.accept());
    let client: Client = client.unwrap();
    let stuck: Vec<_> = (0..4)
        .map(|_| tokio::spawn(client.request("t").send()))
        .collect();
    peer.requests(4).await;
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
    let call = tokio::spawn(client.request("t").send());
    // The pool sees that the connection is full, whatever the callers think of it.
    let mut other = server.accept().await;
    let ask = other.request().await;
    other.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
    let error = client.request("t").timeout(SECOND).send();
    let (error, _) = tokio::join!(error, other.request());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn one_good_server_among_bad_ones_is_found() {
    let net = Net::default();
    net.black_hole(1);
    let hostile = tokio::spawn(spawn_each(net.listen(2), |mut peer| async move {
        peer.raw(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    }));
    let rude = tokio::spawn(spawn_each(net.listen(3), |_| async {}));
    let good = tokio::spawn(spawn_each(net.listen(4), |mut peer| async move {
        peer.welcome().await;
        while let Got::Request(ask) = peer.next().await {
            peer.respond(&ask, b"").await;
        }
    }));
    for _ in 0..10 {
        let client = net.client(&[1, 2, 3, 4, 5]).build_lazy().unwrap();
        client.request("t").send().await.unwrap();
    }
    for task in [hostile, rude, good] {
        task.abort();
    }
}
