//! What clients are told against what reached the service: 0x02 never did, 0x04 and a RESPONSE always.

use crate::front::{Front, code};
use crate::support::PATIENCE;
use mcpd_client::ErrorCode;
use mcpd_proto::Class;
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bodies of which at least the first byte reached the service.
type Reached = Arc<Mutex<HashSet<String>>>;

/// What clients were told, by body.
#[derive(Default)]
struct Told {
    done: HashSet<String>,
    not_executed: HashSet<String>,
    unknown: usize,
}

impl Told {
    fn against(&self, reached: &HashSet<String>) {
        let liars: Vec<_> = self.not_executed.intersection(reached).collect();
        assert!(
            liars.is_empty(),
            "told not executed, and they reached it: {liars:?}"
        );
        let missing: Vec<_> = self.done.difference(reached).collect();
        assert!(
            missing.is_empty(),
            "told executed, and they never came: {missing:?}"
        );
    }
}

/// So many requests, 16 at a time, each with a body of its own.
async fn load(front: &Front, requests: usize) -> Told {
    load_until(front, requests, &Arc::default()).await
}

/// The same, or fewer if they are to stop.
async fn load_until(front: &Front, requests: usize, stop: &Arc<AtomicBool>) -> Told {
    let told = Arc::new(Mutex::new(Told::default()));
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (client, told, next) = (front.client.clone(), Arc::clone(&told), Arc::clone(&next));
        let stop = Arc::clone(stop);
        senders.spawn(async move {
            loop {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if n >= requests || stop.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let body = format!("n{n:06}");
                let request = client.request("a").body(body.clone()).timeout(PATIENCE);
                let answer = request.send().await;
                let mut told = told.lock().unwrap();
                match answer.map_err(|error| code(&error).class()) {
                    Ok(_) | Err(Class::Executed) => drop(told.done.insert(body)),
                    Err(Class::NotExecuted) => drop(told.not_executed.insert(body)),
                    Err(_) => told.unknown += 1,
                }
            }
        });
    }
    senders.join_all().await;
    Arc::try_unwrap(told).ok().unwrap().into_inner().unwrap()
}

/// How a moody service treats its n-th turn.
#[derive(Clone, Copy)]
enum Mood {
    Answer,
    Fail,
    /// Answers, and closes right behind it without having said so.
    AnswerAndClose,
    /// Reads it and resets.
    ReadAndReset,
    /// Reads it, and ends its own half.
    ReadAndHalfClose,
    /// Reads half of it and resets.
    HalfReadAndReset,
    /// Never reads it.
    ResetAtOnce,
    /// Answers half.
    AnswerHalf,
}

const MOODS: [Mood; 16] = [
    Mood::Answer,
    Mood::AnswerAndClose,
    Mood::Answer,
    Mood::Fail,
    Mood::ReadAndReset,
    Mood::Answer,
    Mood::AnswerAndClose,
    Mood::ResetAtOnce,
    Mood::Answer,
    Mood::HalfReadAndReset,
    Mood::AnswerAndClose,
    Mood::ReadAndHalfClose,
    Mood::Answer,
    Mood::AnswerHalf,
    Mood::Answer,
    Mood::ResetAtOnce,
];

async fn moody(reached: Reached) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&reached), Arc::clone(&turn)));
        }
    });
    addr
}

async fn serve(mut stream: TcpStream, reached: Reached, turn: Arc<std::sync::atomic::AtomicUsize>) {
    loop {
        let at = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mood = MOODS[at % MOODS.len()];
        if matches!(mood, Mood::ResetAtOnce) {
            return reset(stream);
        }
        let Some(body) = read(&mut stream, matches!(mood, Mood::HalfReadAndReset)).await else {
            return;
        };
        reached.lock().unwrap().insert(body);
        let answer: &[u8] = match mood {
            Mood::ReadAndReset | Mood::HalfReadAndReset => return reset(stream),
            Mood::ReadAndHalfClose => {
                let _ = stream.shutdown().await;
                // Whatever comes on this half counts as having reached it.
                while let Some(body) = read(&mut stream, false).await {
                    reached.lock().unwrap().insert(body);
                }
                return;
            }
            Mood::AnswerHalf => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            Mood::Fail => b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        if matches!(mood, Mood::AnswerAndClose | Mood::AnswerHalf) {
            return;
        }
    }
}

fn reset(stream: TcpStream) {
    let stream = socket2::Socket::from(stream.into_std().unwrap());
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

/// The number in the body of the next request; it is at its end. Half of one has it in the head, too.
async fn read(stream: &mut TcpStream, half: bool) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        if half && head.len() > 40 {
            return Some("half of one".to_owned());
        }
    }
    let mut body = vec![0; 7];
    stream.read_exact(&mut body).await.ok()?;
    String::from_utf8(body).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_reached_a_moody_service_is_said_not_to_be_executed() {
    for retries in [1, 3] {
        let reached = Reached::default();
        let addr = moody(Arc::clone(&reached)).await;
        let never = "breaker: {consecutive: 0, percent: 0}, ejection: {consecutive: 0, percent: 0}";
        let retry = format!("retry: {{attempts: {retries}, first_pause: 1ms}}");
        let front = Front::new(&format!("url: \"http://{addr}/\", {never}, {retry}")).await;
        let told = load(&front, 2000).await;
        told.against(&reached.lock().unwrap());
        assert!(
            told.done.len() > 500 && told.unknown > 50,
            "{}",
            told.unknown
        );
    }
}

/// A service that is a process of its own, so that it can be stopped and killed. It says what it reads
/// before it answers.
struct Separate {
    child: Child,
    addr: SocketAddr,
    reached: Reached,
}

const SERVICE: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        sys.stdout.write(body + "\n"); sys.stdout.flush()
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

impl Separate {
    fn start(port: u16, reached: &Reached) -> Separate {
        let mut child = Command::new("python3")
            .args(["-c", SERVICE, &port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
        let noted = Arc::clone(reached);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                noted.lock().unwrap().insert(line);
            }
        });
        Separate {
            child,
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            reached: Arc::clone(reached),
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Separate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_and_started_again_under_load_takes_no_truth_with_it() {
    let reached = Reached::default();
    let mut service = Separate::start(0, &reached);
    let addr = service.addr;
    let never = "breaker: {consecutive: 0, percent: 0}";
    let front = Front::new(&format!(
        "url: \"http://{addr}/\", {never}, retry: {{attempts: 1}}"
    ))
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let loading = load_until(&front, 900_000, &stop);
    let killing = async {
        for _ in 0..3 {
            let before = service.reached.lock().unwrap().len();
            let deadline = Instant::now() + PATIENCE;
            while service.reached.lock().unwrap().len() < before + 150 {
                assert!(Instant::now() < deadline, "nothing comes through");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            drop(std::mem::replace(
                &mut service,
                // The port is free only when the old one is gone.
                Separate {
                    child: Command::new("true").spawn().unwrap(),
                    addr,
                    reached: Arc::clone(&reached),
                },
            ));
            service = Separate::start(addr.port(), &reached);
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        service
    };
    let (told, service) = tokio::join!(loading, killing);
    front.ask_until("a", Result::is_ok).await;
    drop(service);
    told.against(&reached.lock().unwrap());
    assert!(!told.not_executed.is_empty(), "some came while it was gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stalls_is_unknown_until_it_goes_on() {
    let reached = Reached::default();
    let service = Separate::start(0, &reached);
    let care = "timeouts: {try: 300ms}, breaker: {consecutive: 0, percent: 0}";
    let front = Front::new(&format!("url: \"http://{}/\", {care}", service.addr)).await;
    front.ask("a", "n000000").await;
    service.signal("STOP");
    let told = load(&front, 20).await;
    assert_eq!(told.unknown, 20, "all were sent");
    let error = front.refused("a").await;
    assert_eq!(code(&error), ErrorCode::DEADLINE_EXCEEDED);
    service.signal("CONT");
    front.ask_until("a", Result::is_ok).await;
}
