//! Runs `mcpd` and keeps what it says.

use crate::support::{PATIENCE, Server, Start};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A finished command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// The one JSON object that standard output is.
    pub(crate) fn json(&self) -> serde_json::Value {
        let objects = self.json_lines();
        assert_eq!(objects.len(), 1, "{self:?}");
        objects[0].clone()
    }

    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        self.text().lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// `mcpd` with an environment that says nothing.
pub(crate) fn mcpd<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MCPD")) {
        command.env_remove(name);
    }
    command
        .env("HOSTNAME", "")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `mcpd` to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    finish(mcpd(args).spawn().expect("mcpd starts"))
}

/// Runs `mcpd` with something on standard input.
pub(crate) fn run_with(input: &[u8], args: &[&str]) -> Ran {
    let mut child = mcpd(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // From its own thread: the answer may fill its pipe before all of this is read.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let ran = finish(child);
    writer.join().unwrap().unwrap();
    ran
}

/// A command against a server.
pub(crate) fn at(server: &Server, args: &[&str]) -> Vec<String> {
    let to = ["--to".to_owned(), server.data.to_string()];
    args.iter().map(|arg| (*arg).to_owned()).chain(to).collect()
}

pub(crate) fn finish(mut child: Child) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    let mut err = child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || err.read_to_string(&mut stderr).map(|_| stderr));
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut stdout).unwrap();
    }
    let stderr = reader.join().unwrap().unwrap();
    Ran {
        code: child.wait().unwrap().code(),
        stdout,
        stderr,
    }
}

/// Sends a signal to a command that runs.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status();
    assert!(status.expect("kill runs").success());
}

/// A pipe's end that nobody reads.
pub(crate) fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A server with a route to itself for each topic: `slow` never answers, `brief` not in
/// its time, `failing` says no, `limited`
/// takes one request a minute or so, `json` and `bytes` answer with a body of that kind.
pub(crate) fn server_of_all_kinds(dir: &tempfile::TempDir) -> Server {
    let bytes = dir.path().join("bytes");
    std::fs::write(&bytes, b"\x00\xff\n").unwrap();
    let routes = crate::support::write_routes(
        dir,
        "apiVersion: mcpd/v1
kind: RouteTable
routes:
  - {topic: echo, handler: echo}
  - {topic: monitor, handler: monitor}
  - {topic: slow, handler: slow, timeout: 1h}
  - {topic: brief, handler: slow, timeout: 10ms}
  - {topic: failing, handler: failing}
  - {topic: limited, handler: echo, rate_limit: {per_second: 1, burst: 1}}
  - {topic: json, handler: json}
  - {topic: bytes, handler: bytes}
",
    );
    Start::new()
        .routes(&routes)
        .set("SERVER_ID", "test-server")
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "1h")
        .set("HANDLERS__FAILING__TYPE", "delay")
        .set("HANDLERS__FAILING__LATENCY", "0s")
        .set("HANDLERS__FAILING__FAILURE_PERCENT", "100")
        .set("HANDLERS__JSON__TYPE", "static")
        .set("HANDLERS__JSON__BODY", r#"{"b":1,"a":[]}"#)
        .set("HANDLERS__JSON__CONTENT_TYPE", "application/json")
        .set("HANDLERS__BYTES__TYPE", "static")
        .set("HANDLERS__BYTES__BODY_FILE", bytes.to_str().unwrap())
        .set("HANDLERS__BYTES__CONTENT_TYPE", "application/octet-stream")
        .spawn()
}

/// Waits for a command's end without reading it: that it does end is the point.
pub(crate) fn await_end(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("still running");
}
