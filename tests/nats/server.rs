//! A real `nats-server`, and a peer on it.

use crate::PATIENCE;
use async_nats::{Client, ConnectOptions, Message, Subscriber};
use futures_core::Stream;
use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A running `nats-server`; killed when dropped.
pub(crate) struct NatsServer {
    child: Child,
    args: Vec<String>,
    pub(crate) port: u16,
    _store: tempfile::TempDir,
}

impl NatsServer {
    /// One on a free port, with JetStream, and further arguments.
    pub(crate) fn start(args: &[&str]) -> NatsServer {
        let store = tempfile::tempdir().unwrap();
        let mut all = vec!["-a".to_owned(), "127.0.0.1".to_owned(), "-js".to_owned()];
        all.extend(["-sd".to_owned(), store.path().display().to_string()]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let (child, port) = spawn(&all, "-1");
        NatsServer {
            child,
            args: all,
            port,
            _store: store,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        (self.child, _) = spawn(&self.args, &self.port.to_string());
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.unwrap().success());
        if name == "STOP" {
            crate::support::await_stopped(self.child.id());
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian has it where not everybody looks.
fn program() -> &'static str {
    let usual = "/usr/sbin/nats-server";
    match std::path::Path::new(usual).exists() {
        true => usual,
        false => "nats-server",
    }
}

#[allow(clippy::zombie_processes, reason = "what does not start ends the test")]
fn spawn(args: &[String], port: &str) -> (Child, u16) {
    let mut command = Command::new(program());
    command.args(args).args(["-p", port]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let spawned = command.spawn();
    let mut child =
        spawned.expect("nats-server starts; install the package nats-server, as .ci/run does");
    let (sender, lines) = mpsc::channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        // Read to the end, so that it never writes in vain.
        for line in stderr.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let (mut port, mut seen) = (0, Vec::new());
    loop {
        let line = lines.recv_timeout(PATIENCE);
        let line =
            line.unwrap_or_else(|_| panic!("nats-server is not ready:\n{}", seen.join("\n")));
        if let Some((_, address)) = line.split_once("Listening for client connections on ") {
            port = address.rsplit(':').next().unwrap().trim().parse().unwrap();
        }
        if line.contains("Server is ready") {
            return (child, port);
        }
        seen.push(line);
    }
}

/// A client of its own on a server.
pub(crate) async fn client(server: &NatsServer) -> Client {
    let options = ConnectOptions::new().request_timeout(Some(PATIENCE));
    options.connect(server.url()).await.unwrap()
}

/// A subscription that the server knows of already.
pub(crate) async fn subscribe(client: &Client, subject: &str) -> Subscriber {
    let subscriber = client.subscribe(subject.to_owned()).await.unwrap();
    // Its answer comes after the subscription was taken.
    round_trip(client).await;
    subscriber
}

/// Waits until the server has read all that was said.
async fn round_trip(client: &Client) {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    next(&mut echo).await;
}

/// The next message.
pub(crate) async fn next(subscriber: &mut Subscriber) -> Message {
    let next = std::future::poll_fn(|cx| Pin::new(&mut *subscriber).poll_next(cx));
    tokio::time::timeout(PATIENCE, next)
        .await
        .expect("a message in time")
        .expect("a message")
}

/// A message that is there already, if there is one.
pub(crate) async fn heard(subscriber: &mut Subscriber) -> Option<Message> {
    let next = std::future::poll_fn(|cx| Pin::new(&mut *subscriber).poll_next(cx));
    tokio::time::timeout(Duration::from_millis(1), next)
        .await
        .ok()
        .flatten()
}
