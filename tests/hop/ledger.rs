//! What ran and what did not, over connections that break again and again: the far end keeps a ledger,
//! and what its client was told must agree with it.

use crate::front::{Does, Front, far, says};
use mcpd::message::{Call, Outcome};
use mcpd_client::{ErrorClass, ErrorCode};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CALLERS: usize = 8;
const REQUESTS: usize = 500;

/// Carries bytes between its clients and a server, until it is told to cut all connections.
struct Proxy {
    addr: SocketAddr,
    /// Connections of an earlier age are reset.
    age: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            addr: listener.local_addr().unwrap(),
            age: Arc::default(),
            stop: Arc::default(),
        };
        let (age, stop) = (Arc::clone(&proxy.age), Arc::clone(&proxy.stop));
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let far = TcpStream::connect(server).unwrap();
                let born = age.load(Ordering::Relaxed);
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let age = Arc::clone(&age);
                    std::thread::spawn(move || carry(from, to, &age, born));
                }
            }
        });
        proxy
    }

    fn cut(&self) {
        self.age.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
    }
}

/// Carries one direction. The last of both to end resets the connection.
fn carry(mut from: TcpStream, mut to: TcpStream, age: &AtomicU64, born: u64) {
    for stream in [&from, &to] {
        socket2::SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    from.set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let mut buffer = [0; 16 * 1024];
    while age.load(Ordering::Relaxed) == born {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if to.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Bodies by what their callers were told.
#[derive(Default)]
struct Told {
    done: HashSet<String>,
    not_executed: HashSet<String>,
    unknown: HashSet<String>,
}

#[test]
fn what_is_told_of_a_request_agrees_with_the_far_ends_ledger() {
    let ledger = Arc::<Mutex<HashSet<String>>>::default();
    let notes = Arc::clone(&ledger);
    let far = far(Arc::new(Does(move |call: &Call<'_>| {
        let body = String::from_utf8(call.body.to_vec()).unwrap();
        let first = notes.lock().unwrap().insert(body.clone());
        assert!(first, "{body} runs twice");
        let answer = says(body);
        Outcome::Later(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            answer
        }))
    })));
    let proxy = Proxy::start(far.addr);
    let front = Front::new(&[proxy.addr], |mut settings| {
        // What is tested is what is said of an attempt, not when no more are made.
        settings.care().breaker.consecutive = 0;
        settings.care().breaker.percent = 0;
        settings
    });
    let told = Arc::<Mutex<Told>>::default();
    let callers = (0..CALLERS).map(|caller| {
        let (client, told) = (front.client.clone(), Arc::clone(&told));
        front.server.runtime.spawn(async move {
            for n in 0..REQUESTS {
                let body = format!("{caller}/{n}");
                let request = client
                    .request("a")
                    .body(body.as_str())
                    .timeout(crate::PATIENCE);
                let answer = request.send().await;
                let mut told = told.lock().unwrap();
                match answer {
                    Ok(answer) => {
                        assert_eq!(answer.body(), &body);
                        told.done.insert(body);
                    }
                    Err(error) if error.class() == ErrorClass::NotExecuted => {
                        told.not_executed.insert(body);
                    }
                    Err(error) => {
                        assert_eq!(error.code(), Some(ErrorCode::UPSTREAM_LOST));
                        told.unknown.insert(body);
                    }
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    while callers.iter().any(|caller| !caller.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
        proxy.cut();
    }
    for caller in callers {
        front.run(caller).unwrap();
    }
    let (told, ran) = (told.lock().unwrap(), ledger.lock().unwrap());
    assert_eq!(
        told.done.len() + told.not_executed.len() + told.unknown.len(),
        CALLERS * REQUESTS
    );
    assert!(told.done.is_subset(&ran), "what is answered has run");
    assert!(
        told.not_executed.is_disjoint(&ran),
        "what was not executed has not run"
    );
    assert!(!told.unknown.is_empty(), "the connections broke");
}
