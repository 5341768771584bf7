//! Numbered requests over one connection, so many that `seq_id`s go round and round, while some are
//! never answered. A server that mixes up the order of its answers says in each whose it is.

#![allow(dead_code, reason = "each program uses its part")]

use mcpd_client::Client;
use mcpd_proto::session::{Server, ServerEvent, ServerSettings, Welcome};
use mcpd_proto::{Deframer, Response};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Callers that share the connection.
const CALLERS: u64 = 256;
/// Answers that the server keeps back, to give them in any order, long after later ones.
const LATE: usize = 64;
/// A caller gives up on one request in so many; its answer still comes.
const GIVEN_UP: u64 = 997;
/// From here on, numbers are of requests that are stuck until [`RELEASE`] is seen.
const STUCK: u64 = 1 << 63;
const RELEASE: u64 = u64::MAX;
/// Requests that stay unanswered, one at the start and the others on the way.
const STUCK_REQUESTS: u64 = 4;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Laps {
    /// Requests whose caller got their answer.
    pub(crate) answered: u64,
    /// Requests whose caller did not wait.
    pub(crate) given_up: u64,
    /// How often the server saw the numbers begin anew.
    pub(crate) laps: u64,
    /// Numbers that were passed over in each lap because a stuck request has them.
    pub(crate) stuck: HashSet<u16>,
    /// Answers that overtook one that was asked for earlier.
    pub(crate) overtaken: u64,
}

/// Sends `requests` and checks every answer. `progress` is told now and then how many are done.
pub(crate) fn run(requests: u64, progress: impl Fn(u64) + Send + Sync + 'static) -> Laps {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || runtime().block_on(serve(listener)));
    let (answered, given_up) = runtime().block_on(call_all(addr, requests, Arc::new(progress)));
    Laps {
        answered,
        given_up,
        ..server.join().unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn ask(client: &Client, number: u64) {
    let request = client.request("t").body(number.to_be_bytes().to_vec());
    let answer = request.no_timeout().send().await.unwrap();
    let whose = u64::from_be_bytes(*answer.body().first_chunk().unwrap());
    assert_eq!(whose, number, "somebody else's answer");
}

async fn call_all(
    addr: SocketAddr,
    requests: u64,
    progress: Arc<impl Fn(u64) + Send + Sync + 'static>,
) -> (u64, u64) {
    let builder = Client::builder(addr.to_string()).max_connections(1);
    let client = builder.max_pending(usize::MAX >> 1).build().await.unwrap();
    let (next, given_up) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut stuck = tokio::task::JoinSet::new();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (own, own_next) = (client.clone(), next.clone());
        let (given_up, progress) = (given_up.clone(), progress.clone());
        callers.spawn(async move {
            let (client, next, mut answered) = (own, own_next, 0_u64);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return answered;
                }
                if number.is_multiple_of(100_000) && number > 0 {
                    progress(number);
                }
                if number % GIVEN_UP == 1 {
                    // Long enough to be on its way, mostly; too short for its answer.
                    tokio::select! {
                        biased;
                        () = ask(&client, number) => {}
                        () = tokio::task::yield_now() => {}
                    }
                    given_up.fetch_add(1, Ordering::Relaxed);
                } else {
                    ask(&client, number).await;
                    answered += 1;
                }
            }
        });
        if caller < STUCK_REQUESTS {
            // Each a while after the other, so that their numbers are not neighbours.
            let (client, next, after) = (client.clone(), next.clone(), caller * requests / 64);
            stuck.spawn(async move {
                while next.load(Ordering::Relaxed) < after {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                ask(&client, STUCK + caller).await;
            });
        }
    }
    let mut answered = 0;
    while let Some(caller) = callers.join_next().await {
        answered += caller.unwrap();
    }
    assert!(stuck.try_join_next().is_none(), "a stuck one was answered");
    ask(&client, RELEASE).await;
    while let Some(one) = stuck.join_next().await {
        one.unwrap();
    }
    client.close().await;
    (answered, given_up.load(Ordering::Relaxed))
}

/// A request that waits for its answer at the server.
struct Asked {
    at: u64,
    seq: u16,
    priority: u8,
    number: [u8; 8],
}

#[derive(Default)]
struct Desk {
    seen: Laps,
    late: Vec<Asked>,
    stuck: Vec<Asked>,
    last_seq: u16,
    taken: u64,
    latest: u64,
    seed: u64,
}

impl Desk {
    fn take(&mut self, asked: Asked, session: &mut Server, out: &mut Vec<u8>) {
        let number = u64::from_be_bytes(asked.number);
        self.seen.laps += u64::from(asked.seq < self.last_seq);
        self.last_seq = asked.seq;
        if number == RELEASE {
            for one in std::mem::take(&mut self.stuck) {
                self.answer(&one, session, out);
            }
            self.answer(&asked, session, out);
        } else if number >= STUCK {
            self.seen.stuck.insert(asked.seq);
            self.stuck.push(asked);
        } else {
            self.late.push(asked);
            if self.late.len() > LATE {
                self.seed = self
                    .seed
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(1);
                let which = (self.seed >> 33) as usize % self.late.len();
                let one = self.late.swap_remove(which);
                self.answer(&one, session, out);
            }
        }
    }

    fn answer(&mut self, asked: &Asked, session: &mut Server, out: &mut Vec<u8>) {
        self.seen.overtaken += u64::from(asked.at < self.latest);
        self.latest = self.latest.max(asked.at);
        session.finish(asked.seq);
        Response {
            seq: asked.seq,
            priority: asked.priority,
            body: &asked.number,
            ..Response::default()
        }
        .encode(out);
    }

    fn flush(&mut self, session: &mut Server, out: &mut Vec<u8>) {
        for one in std::mem::take(&mut self.late) {
            self.answer(&one, session, out);
        }
    }
}

/// Serves one connection to its end. Its session ends a client that uses a number twice.
async fn serve(listener: std::net::TcpListener) -> Laps {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut session = Server::new(ServerSettings::default().into(), Instant::now());
    let (mut deframer, mut buffer, mut desk) =
        (Deframer::new(), vec![0; 64 * 1024], Desk::default());
    loop {
        // When nothing comes, all who are left wait for what is kept back.
        let idle = Duration::from_millis(2);
        let read = tokio::time::timeout(idle, stream.read(&mut buffer)).await;
        let (mut out, now) = (Vec::new(), Instant::now());
        match read {
            Err(_) => desk.flush(&mut session, &mut out),
            Ok(count) => {
                let count = count.unwrap();
                if count == 0 {
                    return desk.seen;
                }
                session.bytes_received(now);
                let mut input = &buffer[..count];
                while let Some(raw) = deframer.next(&mut input, &session.rules(), now).unwrap() {
                    match session.receive(&raw, now, &mut out).unwrap() {
                        ServerEvent::Hello(_) => session.welcome(Welcome::default(), &mut out),
                        ServerEvent::Request(admitted) => {
                            let request = admitted.request;
                            desk.taken += 1;
                            let asked = Asked {
                                at: desk.taken,
                                seq: request.seq,
                                priority: request.priority,
                                number: *request.body.first_chunk().unwrap(),
                            };
                            session.begin(asked.seq);
                            desk.take(asked, &mut session, &mut out);
                        }
                        _ => {}
                    }
                }
            }
        }
        stream.write_all(&out).await.unwrap();
    }
}
