//! A network that delays, cuts in the middle of frames, and swallows: calls end in time, with their
//! own answer or an error that is true.

use crate::support::net::Net;
use crate::support::{Got, Peer, now};
use mcpd_client::{
    BoxFuture, Client, ConnectLimit, Connector, ErrorClass, ErrorKind, Stream, Target,
};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// Random enough; counts what it did to lines.
#[derive(Clone, Default)]
struct Dice {
    seed: Arc<AtomicU64>,
    faults: Arc<AtomicU64>,
}

impl Dice {
    fn below(&self, n: u64) -> u64 {
        let seed = self
            .seed
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33) % n
    }
}

/// Puts a bad line between client and server.
struct BadLine {
    net: Net,
    dice: Dice,
}

impl Connector for BadLine {
    fn connect<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let far = self
                .net
                .pipe(target.addr)
                .ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, line) = tokio::io::duplex(16 * 1024);
            let (line_read, line_write) = tokio::io::split(line);
            let (far_read, far_write) = tokio::io::split(far);
            let cut = Arc::new(tokio::sync::Notify::new());
            tokio::spawn(carry(line_read, far_write, self.dice.clone(), cut.clone()));
            tokio::spawn(carry(far_read, line_write, self.dice.clone(), cut));
            Ok(Stream::new(near))
        })
    }
}

/// Carries bytes one way, in pieces, late; at some time it cuts the line or swallows what comes.
async fn carry<S: tokio::io::AsyncRead + tokio::io::AsyncWrite>(
    mut from: ReadHalf<S>,
    mut to: WriteHalf<S>,
    dice: Dice,
    cut: Arc<tokio::sync::Notify>,
) {
    let mut buffer = vec![0; 2048];
    loop {
        let most = 1 + dice.below(2048) as usize;
        let count = tokio::select! {
            count = from.read(&mut buffer[..most]) => count.unwrap_or(0),
            () = cut.notified() => return,
        };
        tokio::time::sleep(Duration::from_millis(dice.below(40))).await;
        match dice.below(1000) {
            0..8 => {
                dice.faults.fetch_add(1, Ordering::Relaxed);
                let half = count / 2;
                let _ = to.write_all(&buffer[..half]).await;
                cut.notify_one();
                return;
            }
            8..10 => {
                dice.faults.fetch_add(1, Ordering::Relaxed);
                // Half open: the line is there and nothing comes through.
                cut.notified().await;
                return;
            }
            _ if count == 0 || to.write_all(&buffer[..count]).await.is_err() => {
                cut.notify_one();
                return;
            }
            _ => {}
        }
    }
}

type Ledger = Arc<Mutex<HashMap<Vec<u8>, u32>>>;

async fn serve(mut peer: Peer<tokio::io::DuplexStream>, ledger: Ledger) {
    if !peer.try_welcome().await {
        return;
    }
    while let Got::Request(ask) = skip_cancels(&mut peer).await {
        *ledger.lock().unwrap().entry(ask.body.clone()).or_default() += 1;
        peer.respond(&ask, &ask.body).await;
    }
}

async fn skip_cancels(peer: &mut Peer<tokio::io::DuplexStream>) -> Got {
    loop {
        match peer.next().await {
            Got::Cancel(_) | Got::Confirm(_) | Got::Error(..) => {}
            other => return other,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_over_bad_lines_end_in_time_and_tell_the_truth() {
    let (net, ledger) = (Net::default(), Ledger::default());
    for n in 1..=3 {
        let (mut listener, ledger) = (net.listen(n), ledger.clone());
        tokio::spawn(async move {
            loop {
                tokio::spawn(serve(listener.accept_silent().await, ledger.clone()));
            }
        });
    }
    let dice = Dice::default();
    let line = BadLine {
        net: net.clone(),
        dice: dice.clone(),
    };
    let builder = Client::builder("10.0.0.1,10.0.0.2,10.0.0.3").connector(line);
    let builder = builder.connect_limit(ConnectLimit::per_second(1000));
    let client = builder.client_id("c").build().await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0_u64..48 {
        let (client, ledger, dice) = (client.clone(), ledger.clone(), dice.clone());
        callers.spawn(async move {
            let (mut done, mut failed) = (0, 0);
            for n in 0_u64..100 {
                let body = [caller.to_be_bytes(), n.to_be_bytes()].concat();
                let qos = (caller % 3) as u8;
                let timeout = Duration::from_millis(200 + dice.below(5000));
                let began = now();
                let request = client.request("t").body(&body).qos(qos).timeout(timeout);
                let result = request.send().await;
                let took = now() - began;
                assert!(took <= timeout + Duration::from_millis(252), "{took:?}");
                let runs = ledger.lock().unwrap().get(&body).copied().unwrap_or(0);
                assert!(qos > 0 || runs <= 1);
                match result {
                    Ok(answer) => {
                        assert_eq!(answer.body()[..], body, "somebody else's answer");
                        done += 1;
                    }
                    Err(error) => {
                        assert_ne!(error.kind(), ErrorKind::Protocol, "{error:?}");
                        let untrue = error.class() == ErrorClass::NotExecuted && runs > 0;
                        assert!(!untrue, "{error:?}");
                        failed += 1;
                    }
                }
            }
            (done, failed)
        });
    }
    let (mut done, mut failed) = (0, 0);
    while let Some(caller) = callers.join_next().await {
        let (d, f) = caller.unwrap();
        (done, failed) = (done + d, failed + f);
    }
    // Lines were bad enough to matter, and most calls got through.
    assert_eq!(done + failed, 4800);
    let faults = dice.faults.load(Ordering::Relaxed);
    assert!(
        faults > 10 && done > 4000,
        "{faults} faults, {failed} failed"
    );
}
