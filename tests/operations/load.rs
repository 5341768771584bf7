//! Constant load by one client, and what became of each request.

use crate::support::PATIENCE;
use mcpd_client::{Client, Error};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Callers that share the client, each with one request at a time.
pub(crate) const CALLERS: u64 = 16;

/// Numbered requests at QoS 0, until it is told to stop.
pub(crate) struct Load {
    runtime: Runtime,
    client: Client,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Fates>>,
}

/// What the callers were told, by the number that is the request's body.
#[derive(Default)]
pub(crate) struct Fates(pub(crate) BTreeMap<u64, Result<(), Error>>);

impl Fates {
    /// How many requests there were, each of which was answered.
    pub(crate) fn answered(&self) -> u64 {
        let mut errors = self
            .0
            .iter()
            .filter_map(|(n, fate)| Some((n, fate.as_ref().err()?)));
        if let Some((n, error)) = errors.next() {
            let more = errors.count();
            panic!(
                "request {n} of {} failed: {error:?}; so did {more} more",
                self.0.len()
            );
        }
        self.0.len() as u64
    }
}

impl Load {
    /// Begins to send; each caller goes through `topics` in turn.
    pub(crate) fn start(addrs: &[SocketAddr], topics: &'static [&'static str]) -> Load {
        let runtime = Runtime::new().unwrap();
        let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        let client = runtime.block_on(Client::builder(addrs.join(",")).build());
        let client = client.unwrap();
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let callers = (0..CALLERS).map(|caller| {
            let (client, stop, answered) = (client.clone(), stop.clone(), answered.clone());
            runtime.spawn(async move {
                let (mut fates, mut numbers) =
                    (Fates::default(), (caller..).step_by(CALLERS as usize));
                while !stop.load(Ordering::Relaxed) {
                    let n = numbers.next().unwrap();
                    let topic = topics[fates.0.len() % topics.len()];
                    let fate = call(&client, topic, n).await;
                    answered.fetch_add(fate.is_ok().into(), Ordering::Relaxed);
                    fates.0.insert(n, fate);
                }
                fates
            })
        });
        Load {
            callers: callers.collect(),
            runtime,
            client,
            stop,
            answered,
        }
    }

    /// Waits until so many more requests were answered.
    pub(crate) fn await_more(&self, calls: u64) {
        let until = self.answered.load(Ordering::Relaxed) + calls;
        let deadline = Instant::now() + PATIENCE;
        while self.answered.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline, "calls are not answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it, and gives every request and its fate.
    pub(crate) fn finish(self) -> Fates {
        self.stop.store(true, Ordering::Relaxed);
        let callers = self.callers;
        self.runtime.block_on(async {
            let mut fates = Fates::default();
            for caller in callers {
                fates.0.append(&mut caller.await.unwrap().0);
            }
            self.client.close().await;
            fates
        })
    }
}

/// One request, whose answer must be its own.
pub(crate) async fn call(client: &Client, topic: &str, n: u64) -> Result<(), Error> {
    let body = n.to_be_bytes();
    let answer = client.request(topic).body(&body).send().await?;
    assert_eq!(answer.body()[..], body, "somebody else's answer");
    Ok(())
}
