//! A network that delays, drips, cuts in the middle of frames, resets, swallows in one direction or both,
//! and opens connections in another order than they were asked for: calls end in time, with their own
//! answer or an error that is true.

use crate::support::net::Net;
use crate::support::{Got, Peer, now};
use mcpd_client::{
    BoxFuture, Client, ConnectLimit, Connector, ErrorClass, ErrorKind, Stream, Target,
};
use mcpd_proto::session::HeartbeatSettings;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
};

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It ends in the middle of what was sent…
    Cut,
    /// …or with an error.
    Reset,
    /// It carries a few bytes at a time before it is cut.
    Drip,
    /// It opens, and nothing ever comes through.
    Mute,
    /// After a while nothing comes through, and nobody is told: both ways, or one.
    Swallow,
    DeafServer,
    DeafClient,
}

const FAULTS: [Fault; 7] = [
    Fault::Cut,
    Fault::Reset,
    Fault::Drip,
    Fault::Mute,
    Fault::Swallow,
    Fault::DeafServer,
    Fault::DeafClient,
];

/// Random enough; counts what it did to lines.
#[derive(Clone, Default)]
struct Dice {
    seed: Arc<AtomicU64>,
    faults: Arc<Mutex<BTreeMap<Fault, u32>>>,
    /// Connections by the order in which they were asked for, and how many overtook an earlier one.
    asked: Arc<AtomicU64>,
    latest: Arc<AtomicU64>,
    overtaken: Arc<AtomicU64>,
}

impl Dice {
    fn below(&self, n: u64) -> u64 {
        let seed = self
            .seed
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33) % n
    }

    fn fault(&self) -> Fault {
        let fault = FAULTS[self.below(FAULTS.len() as u64) as usize];
        *self.faults.lock().unwrap().entry(fault).or_default() += 1;
        fault
    }

    /// Some connections take so long that later ones are there first.
    async fn open(&self) {
        let place = self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(self.below(400))).await;
        if self.latest.fetch_max(place, Ordering::Relaxed) > place {
            self.overtaken.fetch_add(1, Ordering::Relaxed);
        }
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
            self.dice.open().await;
            let far = self
                .net
                .pipe(target.addr)
                .ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, line) = tokio::io::duplex(16 * 1024);
            let (line_read, line_write) = tokio::io::split(line);
            let (far_read, far_write) = tokio::io::split(far);
            let (fault, dice) = (self.dice.fault(), &self.dice);
            let way = |deaf| Way {
                dice: dice.clone(),
                fault,
                ends: now() + Duration::from_millis(dice.below(4000)),
                deaf: deaf || fault == Fault::Swallow,
            };
            let (to_server, to_client) = (
                way(fault == Fault::DeafServer),
                way(fault == Fault::DeafClient),
            );
            tokio::spawn(async move {
                tokio::select! {
                    () = to_server.carry(line_read, far_write) => {}
                    () = to_client.carry(far_read, line_write) => {}
                }
            });
            let resets = fault == Fault::Reset;
            Ok(Stream::new(Near { line: near, resets }))
        })
    }
}

/// The client's end: where a line is reset, its end is an error.
struct Near {
    line: DuplexStream,
    resets: bool,
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.line).poll_read(cx, into);
        let ended = read.is_ready() && into.filled().len() == before;
        match ended && self.resets {
            true => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            false => read,
        }
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(cx)
    }
}

/// One direction of a line.
struct Way {
    dice: Dice,
    fault: Fault,
    /// Until then it is only late.
    ends: Instant,
    deaf: bool,
}

impl Way {
    /// Carries bytes in pieces, late, until an end hangs up or the line is cut.
    async fn carry<S: AsyncRead + AsyncWrite>(self, mut from: ReadHalf<S>, mut to: WriteHalf<S>) {
        let mut buffer = vec![0; 2048];
        let largest = if self.fault == Fault::Drip { 7 } else { 2048 };
        loop {
            let most = 1 + self.dice.below(largest) as usize;
            let count = from.read(&mut buffer[..most]).await.unwrap_or(0);
            let late = self
                .dice
                .below(if self.fault == Fault::Drip { 3 } else { 20 });
            tokio::time::sleep(Duration::from_millis(late)).await;
            let ending = now() >= self.ends;
            let cuts = [Fault::Cut, Fault::Reset, Fault::Drip].contains(&self.fault);
            let cut = ending && cuts;
            let gone = self.fault == Fault::Mute || (ending && self.deaf);
            let count = if cut { count / 2 } else { count };
            if gone && count > 0 {
                continue;
            }
            if to.write_all(&buffer[..count]).await.is_err() || count == 0 || cut {
                return;
            }
        }
    }
}

const CALLERS: u64 = 48;
const CALLS: u64 = 200;

type Ledger = Arc<Mutex<HashMap<Vec<u8>, u32>>>;

async fn serve(mut peer: Peer<DuplexStream>, ledger: Ledger) {
    if !peer.try_welcome().await {
        return;
    }
    while let Got::Request(ask) = skip_cancels(&mut peer).await {
        *ledger.lock().unwrap().entry(ask.body.clone()).or_default() += 1;
        peer.respond(&ask, &ask.body).await;
    }
}

async fn skip_cancels(peer: &mut Peer<DuplexStream>) -> Got {
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
        // So that a line that swallows is given up in seconds.
        let beat = Duration::from_secs(1);
        listener.settings.heartbeat = HeartbeatSettings {
            interval: beat,
            max_interval: beat,
        };
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
    let client = builder
        .client_id("c")
        .min_connections(8)
        .build()
        .await
        .unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (client, ledger, dice) = (client.clone(), ledger.clone(), dice.clone());
        callers.spawn(async move {
            let (mut done, mut failed) = (0, 0);
            for n in 0_u64..CALLS {
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
    // Lines were bad enough to matter, in every way, and most calls got through.
    assert_eq!(done + failed, CALLERS * CALLS);
    let faults = dice.faults.lock().unwrap();
    assert!(
        FAULTS.iter().all(|fault| faults.contains_key(fault)),
        "{faults:?}"
    );
    assert!(dice.overtaken.load(Ordering::Relaxed) > 5, "{faults:?}");
    assert!(
        2 * done > CALLERS * CALLS && failed > 10,
        "{failed} failed; {faults:?}"
    );
}
