//! A thousand clients lose their server at once: accepts at the listener, over time.

use mcpd_client::{Client, ConnectLimit};
use mcpd_proto::session::{Server, ServerEvent, ServerSettings, Welcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CLIENTS: usize = 1000;
/// The process-wide default.
const BOUND: usize = 100;
/// How much of it may come at once.
const BURST: usize = BOUND / 10;
/// How long the server hangs up on everyone who comes.
const OUTAGE: Duration = Duration::from_secs(10);

pub(crate) fn run() {
    println!(
        "storm: {CLIENTS} clients of one process lose their server; it is away for {OUTAGE:?}"
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let accepts = runtime.block_on(storm());
    report(&accepts);
}

/// Gives when, after the loss, an attempt was accepted.
async fn storm() -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    // They come quickly at first, which is not what is looked at.
    ConnectLimit::process().set(1000);
    let mut served = JoinSet::new();
    let accepting = async {
        while served.len() < CLIENTS {
            served.spawn(serve(listener.accept().await.unwrap().0));
        }
    };
    let dialling = async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let builder = Client::builder(addr.to_string());
            clients.push(
                builder
                    .connect_timeout(Duration::from_secs(60))
                    .build()
                    .await
                    .unwrap(),
            );
        }
        clients
    };
    let ((), clients) = tokio::join!(accepting, dialling);
    ConnectLimit::process().set(BOUND as u32);
    served.shutdown().await;
    let (began, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let calls = answered_again(&clients, over.clone());
    let accepts = async {
        let mut accepts = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let accept = tokio::time::timeout(Duration::from_millis(50), listener.accept());
            let Ok(accepted) = accept.await else { continue };
            accepts.push(began.elapsed());
            if began.elapsed() >= OUTAGE {
                served.spawn(serve(accepted.unwrap().0));
            }
        }
        accepts
    };
    let ((), accepts) = tokio::join!(calls, accepts);
    accepts
}

/// Every client has a request answered, as soon as it can.
async fn answered_again(clients: &[Client], over: Arc<AtomicBool>) {
    tokio::time::sleep(OUTAGE).await;
    let mut calls = JoinSet::new();
    for client in clients {
        let request = client.request("t").timeout(Duration::from_secs(120));
        calls.spawn(request.send());
    }
    while let Some(call) = calls.join_next().await {
        // A connection that was accepted in the outage may still have been taken for one.
        if let Err(error) = call.unwrap() {
            assert_eq!(error.class(), mcpd_client::ErrorClass::Unknown, "{error:?}");
        }
    }
    over.store(true, Ordering::Relaxed);
}

fn report(accepts: &[Duration]) {
    let count = |from: Duration, width: Duration| {
        let from_there = accepts.partition_point(|at| *at < from);
        accepts.partition_point(|at| *at < from + width) - from_there
    };
    let second = Duration::from_secs(1);
    let worst = accepts
        .iter()
        .map(|at| count(*at, second))
        .max()
        .unwrap_or(0);
    let seconds = accepts.last().map_or(0, Duration::as_secs);
    let each: Vec<usize> = (0..=seconds)
        .map(|s| count(second * s as u32, second))
        .collect();
    let tenths = (0..OUTAGE.as_millis() / 100).map(|t| count(second / 10 * t as u32, second / 10));
    let (least, most) = tenths
        .skip(1)
        .fold((usize::MAX, 0), |(l, m), n| (l.min(n), m.max(n)));
    println!("  accepts in each second: {each:?}");
    println!(
        "  most in any second: {worst} (bound {BOUND} + {BURST}); in a tenth of the outage: {least} to {most}"
    );
    assert!(worst <= BOUND + BURST + BURST, "more than the bound");
    println!("  all {CLIENTS} are served again");
}

async fn serve(mut stream: TcpStream) {
    let mut session = Server::new(ServerSettings::default().into(), Instant::now());
    let (mut deframer, mut buffer) = (mcpd_proto::Deframer::new(), vec![0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let (mut input, mut out, now) = (&buffer[..count], Vec::new(), Instant::now());
        while let Ok(Some(raw)) = deframer.next(&mut input, &session.rules(), now) {
            match session.receive(&raw, now, &mut out).unwrap() {
                ServerEvent::Hello(_) => session.welcome(Welcome::default(), &mut out),
                ServerEvent::Request(admitted) => mcpd_proto::Response {
                    seq: admitted.request.seq,
                    priority: admitted.request.priority,
                    ..Default::default()
                }
                .encode(&mut out),
                _ => {}
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}
