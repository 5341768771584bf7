//! What integration tests share: a real `mcpd serve` process, and a peer that speaks raw frames.
#![allow(dead_code, reason = "each test binary uses its part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a module of tests is nobody's interface"
)]

pub mod tls;

use mcpd_proto::{ErrorCode, Frame, Request, Side};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub data: SocketAddr,
    pub sidecar: SocketAddr,
    logs: mpsc::Receiver<String>,
    seen: Vec<String>,
}

/// How to start a server.
pub struct Start {
    command: Command,
    listen: String,
    sidecar: String,
}

impl Start {
    /// `mcpd serve` on free ports, with the shortest drain.
    pub fn new() -> Start {
        Start::of(Command::new(env!("CARGO_BIN_EXE_mcpd")))
    }

    /// The same with at most so many file descriptors.
    pub fn with_descriptors(limit: u32) -> Start {
        let mut command = Command::new("sh");
        let script = "ulimit -n \"$0\" && exec \"$@\"";
        command.args(["-c", script, &limit.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_mcpd"));
        Start::of(command)
    }

    /// The same behind a command that runs what follows it.
    pub fn wrapped(wrapper: &[&str]) -> Start {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_mcpd"));
        Start::of(command)
    }

    /// A test of this very binary in a process of its own, as a server that `mcpd serve` is not.
    pub fn test(name: &str) -> Start {
        let mut command = Command::new(std::env::current_exe().expect("a test has a file"));
        // What comes behind the dashes is for the server: names of tests that there are not.
        command.args(["--exact", name, "--nocapture", "--quiet", "--"]);
        Start::of(command)
    }

    fn of(mut command: Command) -> Start {
        command.arg("serve");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = Start {
            command,
            listen: "127.0.0.1:0".to_owned(),
            sidecar: "127.0.0.1:0".to_owned(),
        };
        let start = start.set("LOG__FORMAT", "json").set("DATA__THREADS", "2");
        start.set("DRAIN__DELAY", "0s").set("DRAIN__SPREAD", "0s")
    }

    /// Sets a configuration key through the environment: `LIMITS__MAX_AGE`.
    pub fn set(mut self, key: &str, value: &str) -> Start {
        self.command.env(format!("MCPD__{key}"), value);
        self
    }

    /// Adds an argument to `mcpd serve`.
    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Start {
        self.command.arg(arg);
        self
    }

    /// A route table in a file of its own, with further handlers from the environment.
    pub fn routes(self, file: &std::path::Path) -> Start {
        self.arg("--routes").arg(file)
    }

    /// Changes the command in ways there is no method for.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Start {
        change(&mut self.command);
        self
    }

    /// The data port, where a free one will not do.
    pub fn listen(mut self, addr: impl ToString) -> Start {
        self.listen = addr.to_string();
        self
    }

    /// The sidecar port, where a free one will not do.
    pub fn sidecar(mut self, addr: impl ToString) -> Start {
        self.sidecar = addr.to_string();
        self
    }

    /// Runs it to its end: exit code, standard output and error.
    pub fn run(mut self) -> (Option<i32>, String, String) {
        let output = self.finish().output().expect("mcpd starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn finish(&mut self) -> &mut Command {
        let ports = [
            ("--listen", &self.listen),
            ("--sidecar-listen", &self.sidecar),
        ];
        for (flag, addr) in ports {
            self.command.arg(flag).arg(addr);
        }
        &mut self.command
    }

    /// Starts it and waits until both ports are bound.
    pub fn spawn(self) -> Server {
        let mut server = self.spawn_unready();
        server.await_data();
        server
    }

    /// Starts it and waits for the sidecar port only.
    pub fn spawn_unready(self) -> Server {
        let mut server = self.spawn_unbound();
        server.await_sidecar();
        server
    }

    /// Starts it and waits for nothing.
    pub fn spawn_unbound(mut self) -> Server {
        let mut child = self.finish().spawn().expect("mcpd starts");
        let (sender, logs) = mpsc::channel();
        let forward = |from: Box<dyn Read + Send>, sender: mpsc::Sender<String>| {
            std::thread::spawn(move || {
                for line in BufReader::new(from).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        };
        if let Some(stdout) = child.stdout.take() {
            forward(Box::new(stdout), sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(Box::new(stderr), sender);
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Server {
            child,
            data: nowhere,
            sidecar: nowhere,
            logs,
            seen: Vec::new(),
        }
    }
}

impl Server {
    /// A server with the embedded defaults.
    pub fn start() -> Server {
        Start::new().spawn()
    }

    /// Waits until the data port is bound.
    pub fn await_data(&mut self) {
        self.data = self.await_port("data listening on ");
    }

    /// Waits until the sidecar port is bound.
    pub fn await_sidecar(&mut self) {
        self.sidecar = self.await_port("sidecar listening on ");
    }

    /// Every line of output that came so far and was not awaited.
    pub fn output(&mut self) -> &[String] {
        self.seen.extend(self.logs.try_iter());
        &self.seen
    }

    /// Every line until the process has closed its outputs, that is, to its end.
    pub fn output_to_end(&mut self) -> &[String] {
        while let Ok(line) = self.logs.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        &self.seen
    }

    /// The port of the admin API, where it has one of its own.
    pub fn await_admin(&mut self) -> SocketAddr {
        self.await_port("admin listening on ")
    }

    fn await_port(&mut self, prefix: &str) -> SocketAddr {
        let line = self.await_log(prefix);
        line[prefix.len()..].trim().parse().expect("an address")
    }

    /// Waits for a line of output (logs and standard output) that contains `text`.
    pub fn await_log(&mut self, text: &str) -> String {
        if let Some(at) = self.seen.iter().position(|line| line.contains(text)) {
            return self.seen.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.logs.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line with {text:?} among:\n{}", self.seen.join("\n")),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `INT`, `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
        if name == "STOP" {
            await_stopped(self.pid());
        }
    }

    /// Waits for the end of the process; gives its exit code.
    pub fn await_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("still running; output:\n{}", self.seen.join("\n"));
    }

    /// GET on the sidecar port: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = http(self.sidecar, "GET", path);
        (status, body)
    }

    /// Waits until GET gives what `wanted` accepts.
    pub fn await_get(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get(path);
            if wanted(status, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} stays {status}: {body}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The value of a series, named as in the metrics page: `mcpd_connections` or with labels.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").1;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {series} in\n{page}"))
            .parse()
            .unwrap()
    }

    /// Waits until a series has a value that `wanted` accepts.
    pub fn await_metric(&self, series: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(series);
            if wanted(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{series} stays at {value}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A peer on the data port.
    pub fn peer(&self) -> Peer {
        Peer::new(TcpStream::connect(self.data).expect("the data port accepts"))
    }
}

/// Waits until no thread of a process runs any more: one has to see the signal before the others stop.
pub fn await_stopped(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        // The name in parentheses may hold anything.
        stat.rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('T')
    };
    let tasks = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    while !tasks().all(is_stopped) {
        assert!(Instant::now() < deadline, "{pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One HTTP request: status, head and body of the answer.
pub fn http(addr: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).expect("the sidecar answers");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text[9..12].parse().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    assert!(!chunked, "a body of known length");
    (status, head, body.to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One end of a connection that sends and reads raw frames.
pub struct Peer<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
}

/// A frame that owns its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Got(Vec<u8>);

impl Got {
    pub fn frame(&self) -> Frame<'_> {
        Frame::decode_one(&self.0, Side::Client, u32::MAX)
            .expect("the server speaks MCP")
            .0
    }

    pub fn is_response(&self) -> bool {
        matches!(self.frame(), Frame::Response(_))
    }

    /// `seq_id` and body of a RESPONSE.
    pub fn response(&self) -> (u16, Vec<u8>) {
        match self.frame() {
            Frame::Response(response) => (response.seq, response.body.to_vec()),
            other => panic!("a RESPONSE, not {other:?}"),
        }
    }

    /// `seq_id` and code of an ERROR.
    pub fn error(&self) -> (u16, ErrorCode) {
        match self.frame() {
            Frame::Error(error) => (error.seq, error.code),
            other => panic!("an ERROR, not {other:?}"),
        }
    }
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.frame().fmt(f)
    }
}

impl Peer {
    pub fn new(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer {
            stream,
            read: Vec::new(),
        }
    }

    /// "No more requests."
    pub fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Peer<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
        self.stream.flush().expect("the server reads");
    }

    pub fn frame(&mut self, frame: Frame<'_>) {
        let mut wire = Vec::new();
        frame.encode(&mut wire);
        self.send(&wire);
    }

    pub fn request(&mut self, seq: u16, topic: &str, body: &[u8]) {
        let topic = topic.as_bytes();
        self.frame(Frame::Request(Request {
            seq,
            topic,
            body,
            ..Request::default()
        }));
    }

    /// The next frame; `None` at an orderly end of the stream. Heartbeats are answered and skipped.
    pub fn next(&mut self) -> Option<Got> {
        loop {
            if let Some(head) = self.read.first_chunk::<10>() {
                let len = 10 + u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
                if self.read.len() >= len {
                    return Some(Got(self.read.drain(..len).collect()));
                }
            }
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer).expect("an answer in time") {
                0 => {
                    assert!(self.read.is_empty(), "the stream ends inside a frame");
                    return None;
                }
                n => self.read.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// The next frame.
    pub fn expect(&mut self) -> Got {
        self.next().expect("a frame, not the end")
    }

    /// Expects one ERROR with `seq_id` 0 and this code, then the end of the stream.
    pub fn expect_end(&mut self, code: ErrorCode) {
        assert_eq!(self.expect().error(), (0, code));
        assert_eq!(self.next(), None);
    }

    /// Expects GOAWAY, CLOSING and the end, in this order and with nothing in between.
    pub fn expect_draining_and_end(&mut self) {
        let got = self.expect();
        assert!(matches!(got.frame(), Frame::GoAway(_)), "{got:?}");
        self.expect_end(ErrorCode::CLOSING);
    }

    /// Expects an echo to work: the connection lives.
    pub fn expect_alive(&mut self, seq: u16) {
        self.request(seq, "echo", b"alive?");
        assert_eq!(self.expect().response(), (seq, b"alive?".to_vec()));
    }
}

impl<S: Read + Write> Peer<S> {
    /// Expects an echo on this topic.
    pub fn expect_alive_on(&mut self, topic: &str) {
        self.request(1, topic, b"alive?");
        assert_eq!(self.expect().response(), (1, b"alive?".to_vec()));
    }
}

/// A directory that is removed with everything in it.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Writes a routes file.
pub fn write_routes(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("routes.yaml");
    std::fs::write(&path, text).unwrap();
    path
}
