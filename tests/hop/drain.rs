//! Servers behind a server are drained and started again under load, and nobody notices.

use crate::front::Front;
use crate::support::{Server, Start};
use mcpd_client::{Connection, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Asks one after the other, from several places at a time, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<Vec<Error>>>,
}

impl Load {
    fn start(front: &Front, callers: usize) -> Load {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let callers = (0..callers).map(|_| {
            let (client, stop, done) = (front.client.clone(), stop.clone(), done.clone());
            front.server.runtime.spawn(call(client, stop, done))
        });
        let callers = callers.collect();
        Load {
            stop,
            done,
            callers,
        }
    }

    /// Waits until so many more requests were answered.
    fn go_on(&self, more: u64) {
        let goal = self.done.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + crate::PATIENCE;
        while self.done.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "the load stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self, front: &Front) -> Vec<Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for caller in self.callers {
            errors.extend(front.run(caller).unwrap());
        }
        errors
    }
}

async fn call(client: Connection, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<Error> {
    let mut errors = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match client
            .request("echo")
            .body("x")
            .timeout(crate::PATIENCE)
            .send()
            .await
        {
            Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
            Err(error) => errors.push(error),
        }
    }
    errors
}

fn start() -> Start {
    Start::new()
        .set("DRAIN__DELAY", "100ms")
        .set("DRAIN__SPREAD", "50ms")
}

#[test]
fn servers_that_are_replaced_one_by_one_under_load_lose_nothing() {
    let mut servers: Vec<Server> = (0..2).map(|_| start().spawn()).collect();
    let addrs: Vec<_> = servers.iter().map(|server| server.data).collect();
    let front = Front::new(&addrs, |settings| settings);
    let load = Load::start(&front, 16);
    load.go_on(500);
    for round in 0..4 {
        let server = &mut servers[round % 2];
        server.signal("TERM");
        assert_eq!(server.await_exit(), Some(0));
        let (data, sidecar) = (server.data, server.sidecar);
        load.go_on(200);
        *server = start().listen(data).sidecar(sidecar).spawn();
        // Found again, it takes its part; then the other one may go.
        server.await_metric("mcpd_connections", |n| n > 0.0);
        load.go_on(200);
    }
    let errors = load.end(&front);
    assert!(
        errors.is_empty(),
        "{} errors, such as {}",
        errors.len(),
        errors[0]
    );
}
