//! Whatever servers do: every call ends, once and in time, and what it says of its request's fate is
//! what the server's ledger says.

use crate::support::net::Net;
use crate::support::{Ask, Got, Peer, now};
use mcpd_client::{Answer, Error, ErrorClass, ErrorCode, GoAwayReason, MetaBuf, Qos};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::DuplexStream;

/// What a server does with a request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answer,
    AnswerLate(u16),
    Ack,
    /// Runs it and says that it may have run, or that it did.
    RunAndFail(u16),
    Refuse(u16, Option<u32>),
    Forget,
    GoAway(u16, Option<u32>),
    /// Ends the connection: in order, with a code, without a word; having run the request or not.
    Close {
        orderly: bool,
        code: Option<u16>,
        ran: bool,
    },
    Nonsense(u8),
    Twice,
    Sleep(u16),
}

fn deed() -> impl Strategy<Value = Deed> {
    let wait =
        prop_oneof![3 => Just(None), 2 => (0_u32..500).prop_map(Some), 1 => Just(Some(u32::MAX))];
    let refusal = prop_oneof![
        4 => 0x0201_u16..=0x0208,
        1 => 0x0281_u16..=0x0288,
        1 => 0x0200_u16..=0x02ff
    ];
    let ran = prop_oneof![
        0x0301_u16..=0x0306,
        0x0481_u16..=0x0483,
        0x0300_u16..=0x04ff
    ];
    let code = prop_oneof![2 => Just(None), 1 => (0x0101_u16..=0x0184).prop_map(Some)];
    prop_oneof![
        10 => Just(Deed::Answer),
        2 => (0_u16..3000).prop_map(Deed::AnswerLate),
        1 => Just(Deed::Ack),
        3 => ran.prop_map(Deed::RunAndFail),
        5 => (refusal, wait.clone()).prop_map(|(code, wait)| Deed::Refuse(code, wait)),
        1 => Just(Deed::Forget),
        2 => (0_u16..6, wait).prop_map(|(reason, wait)| Deed::GoAway(reason, wait)),
        2 => (any::<bool>(), code, any::<bool>())
            .prop_map(|(orderly, code, ran)| Deed::Close { orderly, code, ran }),
        1 => any::<u8>().prop_map(Deed::Nonsense),
        1 => Just(Deed::Twice),
        1 => (0_u16..5000).prop_map(Deed::Sleep),
    ]
}

/// How often each request, named by its body, ran.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<HashMap<Vec<u8>, u32>>>);

impl Ledger {
    fn run(&self, ask: &Ask) {
        *self.0.lock().unwrap().entry(ask.body.clone()).or_insert(0) += 1;
    }

    fn runs(&self, body: &[u8]) -> u32 {
        self.0.lock().unwrap().get(body).copied().unwrap_or(0)
    }
}

async fn serve(
    mut peer: Peer<DuplexStream>,
    script: Arc<Vec<Deed>>,
    next: Arc<Mutex<usize>>,
    ledger: Ledger,
) {
    let (mut refuses, none) = (false, MetaBuf::new());
    loop {
        let ask = match peer.next().await {
            Got::Request(ask) => ask,
            Got::Eof => return,
            _ => continue,
        };
        let at = {
            let mut next = next.lock().unwrap();
            *next += 1;
            *next % script.len()
        };
        let wait = |ms: Option<u32>| {
            let mut meta = MetaBuf::new();
            if let Some(ms) = ms {
                meta.set_retry_after(Duration::from_millis(ms.into()));
            }
            meta
        };
        if refuses {
            peer.fail(ask.seq, ErrorCode::DRAINING, b"", &none).await;
            continue;
        }
        match script[at] {
            Deed::Answer => {
                ledger.run(&ask);
                peer.respond(&ask, &ask.body).await;
            }
            Deed::AnswerLate(ms) => {
                ledger.run(&ask);
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
                peer.respond(&ask, &ask.body).await;
            }
            Deed::Ack => {
                ledger.run(&ask);
                peer.ack(&ask, Qos::AtLeastOnce).await;
                peer.respond(&ask, &ask.body).await;
            }
            Deed::RunAndFail(code) => {
                ledger.run(&ask);
                peer.fail(ask.seq, ErrorCode::new(code), b"", &none).await;
            }
            Deed::Refuse(code, ms) => {
                peer.fail(ask.seq, ErrorCode::new(code), b"no", &wait(ms))
                    .await;
            }
            Deed::Forget => ledger.run(&ask),
            Deed::GoAway(reason, ms) => {
                ledger.run(&ask);
                peer.respond(&ask, &ask.body).await;
                let reason = GoAwayReason::ALL[usize::from(reason) % 4];
                let ms = ms.map(|ms| Duration::from_millis(ms.into()));
                peer.go_away(reason, ms).await;
                refuses = reason == GoAwayReason::Rebalance;
            }
            Deed::Close { orderly, code, ran } => {
                if ran && !orderly {
                    ledger.run(&ask);
                }
                // CLOSING says of all that is unanswered that it did not run; so Forget must not
                // come before it on the same connection.
                if orderly && peer.session.in_flight() <= 1 {
                    peer.end(ErrorCode::CLOSING, "").await;
                } else if let Some(code) = code.filter(|code| *code != ErrorCode::CLOSING.get()) {
                    peer.end(ErrorCode::new(code), "").await;
                }
                return;
            }
            Deed::Nonsense(byte) => {
                ledger.run(&ask);
                peer.raw(&[byte; 32]).await;
                return;
            }
            Deed::Twice => {
                ledger.run(&ask);
                peer.respond(&ask, &ask.body).await;
                peer.respond(&ask, &ask.body).await;
            }
            Deed::Sleep(ms) => {
                tokio::time::sleep(Duration::from_millis(ms.into())).await;
                ledger.run(&ask);
                peer.respond(&ask, &ask.body).await;
            }
        }
    }
}

/// What is said of a request agrees with what became of it.
fn check(qos: u8, body: &[u8], result: &Result<Answer, Error>, ledger: &Ledger) {
    let runs = ledger.runs(body);
    if qos == 0 {
        assert!(runs <= 1, "QoS 0 ran {runs} times: {result:?}");
    }
    match result {
        Ok(answer) => {
            assert!(runs >= 1);
            assert_eq!(answer.body(), body, "somebody else's answer");
        }
        Err(error) => match error.class() {
            ErrorClass::NotExecuted => assert_eq!(runs, 0, "{error:?}"),
            ErrorClass::Executed => assert!(runs >= 1, "{error:?}"),
            ErrorClass::Unknown => {}
        },
    }
}

async fn scenario(scripts: Vec<Vec<Deed>>, calls: Vec<(u8, u16, u16)>) {
    let (net, ledger) = (Net::default(), Ledger::default());
    let mut servers = tokio::task::JoinSet::new();
    for (n, script) in scripts.iter().enumerate() {
        let mut listener = net.listen(n as u8 + 1);
        let (script, ledger) = (Arc::new(script.clone()), ledger.clone());
        let next = Arc::new(Mutex::new(0));
        servers.spawn(async move {
            let mut peers = tokio::task::JoinSet::new();
            loop {
                let peer = listener.accept_silent().await;
                let (script, ledger, next) = (script.clone(), ledger.clone(), next.clone());
                peers.spawn(async move {
                    let mut peer = peer;
                    // A client that gave up in the middle is no bug of the test's.
                    if peer.try_welcome().await {
                        serve(peer, script, next, ledger).await;
                    }
                });
            }
        });
    }
    let numbers: Vec<u8> = (1..=scripts.len() as u8).collect();
    let builder = net.client(&numbers).client_id("c").max_pending(4);
    let client = builder.build_lazy().unwrap();
    let mut running = tokio::task::JoinSet::new();
    for (n, (qos, start, timeout)) in calls.into_iter().enumerate() {
        let (client, ledger) = (client.clone(), ledger.clone());
        running.spawn(async move {
            tokio::time::sleep(Duration::from_millis(start.into())).await;
            let body = n.to_be_bytes();
            let timeout = Duration::from_millis(timeout.into());
            let began = now();
            let request = client.request("t").body(&body).qos(qos).timeout(timeout);
            let result = request.send().await;
            let took = now() - began;
            assert!(
                took <= timeout + Duration::from_millis(252),
                "{took:?}: {result:?}"
            );
            check(qos, &body, &result, &ledger);
        });
    }
    while let Some(call) = running.join_next().await {
        call.unwrap();
    }
    assert!(net.dials().len() < 1000, "{} attempts", net.dials().len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_in_time_and_tells_the_truth(
        scripts in prop::collection::vec(prop::collection::vec(deed(), 1..12), 1..4),
        calls in prop::collection::vec((0_u8..3, 0_u16..2000, 1_u16..5000), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(scenario(scripts, calls));
    }
}
