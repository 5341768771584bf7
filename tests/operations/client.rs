//! The client crate against real servers that have their connections move: what its callers see of it.
//! Servers that are restarted and killed are in `restarts`.

use crate::embedded::{Embedded, document};
use crate::load::Load;
use crate::support::Start;
use mcpd::conn::Order;
use mcpd::handler::Handler;
use mcpd::message::{Answer, Call, Outcome};
use mcpd_proto::GoAwayReason;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn connections_that_get_old_are_exchanged_unseen() {
    let server = Start::new()
        .set("LIMITS__MAX_AGE", "1s")
        .set("GOAWAY__GRACE", "1s")
        .spawn();
    let load = Load::start(&[server.data], &["echo"]);
    server.await_metric("mcpd_goaways_total{reason=\"max_age\"}", |n| n >= 3.0);
    load.await_more(200);
    assert!(load.finish().answered() > 0);
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
    let load = Load::start(&[servers[0].addr, servers[1].addr], &["t"]);
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
    let done = load.finish().answered();
    let ledger = ledger.0.lock().unwrap();
    assert_eq!(ledger.len() as u64, done);
    assert!(ledger.values().all(|runs| *runs == 1));
}
