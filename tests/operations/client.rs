//! The client crate against real servers that come and go: what its callers see of it.

use crate::embedded::{Embedded, document};
use crate::support::{PATIENCE, Server, Start};
use mcpd::conn::Order;
use mcpd::handler::Handler;
use mcpd::message::{Answer, Call, Outcome};
use mcpd_client::{Client, Error, ErrorClass, ErrorKind};
use mcpd_proto::GoAwayReason;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Calls one after the other, from several places at a time, until it is told to stop.
struct Load {
    runtime: Runtime,
    client: Client,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<Vec<Error>>>,
}

impl Load {
    fn start(addrs: &[SocketAddr], callers: u64, topic: &'static str) -> Load {
        let runtime = Runtime::new().unwrap();
        let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        let client = runtime.block_on(Client::builder(addrs.join(",")).build());
        let client = client.unwrap();
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let callers = (0..callers).map(|caller| {
            let (client, stop, done) = (client.clone(), stop.clone(), done.clone());
            runtime.spawn(async move {
                let (mut errors, mut n) = (Vec::new(), 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    let body = [caller.to_be_bytes(), n.to_be_bytes()].concat();
                    match client.request(topic).body(&body).send().await {
                        Ok(answer) => {
                            assert_eq!(answer.body()[..], body);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => errors.push(error),
                    }
                    n += 1;
                }
                errors
            })
        });
        Load {
            callers: callers.collect(),
            runtime,
            client,
            stop,
            done,
        }
    }

    /// Waits until so many more calls were answered.
    fn await_more(&self, calls: u64) {
        let until = self.done.load(Ordering::Relaxed) + calls;
        let deadline = Instant::now() + PATIENCE;
        while self.done.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline, "calls are not answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Every error that a caller saw, and the number of calls that were answered.
    fn finish(self) -> (Vec<Error>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let callers = self.callers;
        let errors = self.runtime.block_on(async {
            let mut errors = Vec::new();
            for caller in callers {
                errors.extend(caller.await.unwrap());
            }
            self.client.close().await;
            errors
        });
        (errors, self.done.load(Ordering::Relaxed))
    }
}

fn start(id: &str, addr: Option<SocketAddr>, spread: &str) -> Server {
    let server = Start::new()
        .set("SERVER_ID", id)
        .set("DRAIN__SPREAD", spread);
    match addr {
        Some(addr) => server.listen(addr).spawn(),
        None => server.spawn(),
    }
}

/// Stops each of two servers in turn, and starts it again at its address.
fn roll(rounds: usize, spread: &str) {
    let ids = ["a", "b"];
    let mut servers = ids.map(|id| start(id, None, spread));
    let addrs = [servers[0].data, servers[1].data];
    let load = Load::start(&addrs, 16, "echo");
    for round in 0..rounds {
        let n = round % 2;
        load.await_more(200);
        servers[n].signal("TERM");
        assert_eq!(servers[n].await_exit(), Some(0));
        load.await_more(200);
        servers[n] = start(ids[n], Some(addrs[n]), spread);
    }
    load.await_more(200);
    let (errors, done) = load.finish();
    assert!(
        errors.is_empty(),
        "{} of {done}: {:?}",
        errors.len(),
        errors[0]
    );
}

#[test]
fn a_rolling_restart_is_seen_by_no_caller() {
    roll(6, "300ms");
}

#[test]
fn a_rolling_restart_that_leaves_no_time_is_seen_by_no_caller() {
    roll(20, "0s");
}

#[test]
fn a_killed_server_costs_what_it_had_and_nothing_else() {
    let ids = ["a", "b"];
    let mut servers = ids.map(|id| start(id, None, "0s"));
    let addrs = [servers[0].data, servers[1].data];
    let load = Load::start(&addrs, 16, "echo");
    for round in 0..10 {
        let n = round % 2;
        load.await_more(200);
        servers[n].signal("KILL");
        servers[n].await_exit();
        load.await_more(200);
        servers[n] = start(ids[n], Some(addrs[n]), "0s");
    }
    let (errors, _) = load.finish();
    // Each caller had at most one request under way at each of the ten.
    assert!(errors.len() <= 16 * 10, "{}", errors.len());
    for error in errors {
        let what = (error.kind(), error.class());
        assert_eq!(what, (ErrorKind::Closed, ErrorClass::Unknown), "{error:?}");
    }
}

#[test]
fn connections_that_get_old_are_exchanged_unseen() {
    let server = Start::new()
        .set("LIMITS__MAX_AGE", "1s")
        .set("GOAWAY__GRACE", "1s")
        .spawn();
    let load = Load::start(&[server.data], 16, "echo");
    server.await_metric("mcpd_goaways_total{reason=\"max_age\"}", |n| n >= 3.0);
    load.await_more(200);
    let (errors, _) = load.finish();
    assert!(errors.is_empty(), "{errors:?}");
}

/// Counts how often each body was seen.
#[derive(Default)]
struct Ledger(Mutex<HashMap<Vec<u8>, u32>>);

impl Handler for Ledger {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        *self
            .0
            .lock()
            .unwrap()
            .entry(call.body.to_vec())
            .or_default() += 1;
        Outcome::Now(Answer::bytes(call.body))
    }
}

#[test]
fn however_servers_drain_every_request_runs_once() {
    let ledger = Arc::<Ledger>::default();
    let serve = || {
        let handlers: Vec<(&str, Arc<dyn Handler>)> = vec![("ledger", ledger.clone())];
        Embedded::start(handlers, &document(&[("t", "ledger")]))
    };
    let servers = [serve(), serve()];
    // Each drain refuses up to 16 calls, and 200 calls between two pay for 40 retries.
    let load = Load::start(&[servers[0].addr, servers[1].addr], 16, "t");
    for round in 0..40 {
        load.await_more(200);
        let registry = &servers[round % 2].registry;
        if round % 4 < 2 {
            registry.order_all(&Order::GoAway {
                reason: GoAwayReason::Draining,
                retry_after: Duration::from_millis(3),
                refuse_at: Instant::now(),
            });
        }
        registry.order_all(&Order::Finish);
    }
    let (errors, done) = load.finish();
    assert!(
        errors.is_empty(),
        "{} of {done}: {:?}",
        errors.len(),
        errors[0]
    );
    let ledger = ledger.0.lock().unwrap();
    assert_eq!(ledger.len() as u64, done);
    assert!(ledger.values().all(|runs| *runs == 1));
}
