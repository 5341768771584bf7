//! What ran and what did not, while the NATS server is killed again and again: the service keeps a
//! ledger, and what its clients were told must agree with it.

use crate::front::Front;
use crate::server::{self, NatsServer};
use mcpd_client::{Answer, Error, ErrorClass, ErrorCode};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CALLERS: usize = 8;
const KILLS: usize = 4;

/// Bodies by what their callers were told.
#[derive(Default)]
struct Told {
    done: HashSet<String>,
    not_executed: HashSet<String>,
    unknown: HashSet<String>,
}

impl Told {
    /// Gives whether it was done.
    fn note(&mut self, body: String, answer: Result<Answer, Error>) -> bool {
        match answer {
            Ok(answer) => {
                assert_eq!(answer.body(), &body);
                self.done.insert(body)
            }
            Err(error) if error.class() == ErrorClass::NotExecuted => {
                !self.not_executed.insert(body)
            }
            Err(error) => {
                let lost = [ErrorCode::UPSTREAM_LOST, ErrorCode::DEADLINE_EXCEEDED];
                assert!(lost.contains(&error.code().unwrap()), "{error}");
                !self.unknown.insert(body)
            }
        }
    }
}

#[test]
fn what_is_told_of_a_request_agrees_with_the_services_ledger() {
    let mut nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    let ledger = Arc::<Mutex<HashSet<String>>>::default();
    let service = front.run(server::client(&nats));
    let mut asked = front.run(server::subscribe(&service, "x.>"));
    let notes = Arc::clone(&ledger);
    front.server.runtime.spawn(async move {
        loop {
            let message = server::next(&mut asked).await;
            let body = String::from_utf8(message.payload.to_vec()).unwrap();
            let first = notes.lock().unwrap().insert(body.clone());
            assert!(first, "{body} runs twice");
            // It may have nowhere to go by now.
            let _ = service
                .publish(message.reply.unwrap(), message.payload)
                .await;
        }
    });
    let (stop, told) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Told>>::default());
    let done = Arc::<AtomicUsize>::default();
    let callers = (0..CALLERS).map(|caller| {
        let (client, stop) = (front.client.clone(), Arc::clone(&stop));
        let (told, done) = (Arc::clone(&told), Arc::clone(&done));
        front.server.runtime.spawn(async move {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = format!("{caller}/{n}");
                let request = client.request("a").body(body.as_str());
                let answer = request.timeout(Duration::from_secs(5)).send().await;
                if told.lock().unwrap().note(body, answer) {
                    done.fetch_add(1, Ordering::Relaxed);
                } else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for _ in 0..KILLS {
        let goal = done.load(Ordering::Relaxed) + 100;
        let deadline = Instant::now() + crate::PATIENCE;
        while done.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "it never works again");
            std::thread::sleep(Duration::from_millis(1));
        }
        nats.kill();
        nats.restart();
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        front.run(caller).unwrap();
    }
    let (told, ran) = (told.lock().unwrap(), ledger.lock().unwrap());
    assert!(told.done.is_subset(&ran), "what is answered has run");
    assert!(
        told.not_executed.is_disjoint(&ran),
        "what was not executed has not run"
    );
    assert!(
        !told.not_executed.is_empty() && !told.unknown.is_empty(),
        "it was killed"
    );
}
