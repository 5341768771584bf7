//! The servers that are measured: how each is started, when it is ready, and that it ends with us.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::load::{Protocol, echo_once, prepare};
use crate::machine::Cores;

/// A server that has not become ready after this long never will.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Every process started here and not yet ended. Only these handles are ever used to end one, so
/// that no process of somebody else's can be hit.
static CHILDREN: Mutex<Vec<Process>> = Mutex::new(Vec::new());

/// Dropping it ends the process, then removes its directory.
struct Process {
    child: Child,
    _directory: TempDir,
}

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Floor,
    Mcpd {
        program: PathBuf,
        ready_addr: Option<SocketAddr>,
        /// Variables that configure it.
        env: Vec<(&'static str, String)>,
    },
    Redis {
        program: String,
    },
}

/// A target's name in tables and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    Floor,
    Mcpd,
    Redis,
}

impl Name {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Floor => "floor",
            Name::Mcpd => "mcpd",
            Name::Redis => "redis",
        }
    }
}

/// A started server; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    /// Port 0 until it is known.
    pub(crate) addr: SocketAddr,
    pub(crate) protocol: Protocol,
    errors: PathBuf,
}

impl Target {
    pub(crate) fn name(&self) -> Name {
        match self {
            Target::Floor => Name::Floor,
            Target::Mcpd { .. } => Name::Mcpd,
            Target::Redis { .. } => Name::Redis,
        }
    }

    /// Starts the server on its core, ready to answer; with its own limit of connections, or
    /// with room for `clients`.
    pub(crate) fn start(&self, cores: Cores, clients: Option<u32>) -> Result<Server> {
        let name = self.name().text();
        self.launch(cores, clients)
            .and_then(|server| server.await_echo().map(|()| server))
            .with_context(|| format!("cannot start {name}"))
    }

    /// The same without waiting for an answer, for a server that gives none in plaintext.
    pub(crate) fn launch(&self, cores: Cores, clients: Option<u32>) -> Result<Server> {
        Ok(match self {
            Target::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["floor", "--port", "0"]);
                let (mut server, stdout) = spawn(command, cores)?;
                server.addr = server.announced(stdout, "floor")?;
                server
            }
            Target::Mcpd {
                program,
                ready_addr,
                env,
            } => {
                let listen = ready_addr.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
                let mut command = mcpd(program, listen, (Ipv4Addr::LOCALHOST, 0).into());
                command.envs(env.iter().map(|(key, value)| (key, value)));
                if let Some(clients) = clients {
                    command
                        .env("MCPD__DATA__MAX_CONNECTIONS", clients.to_string())
                        .env("MCPD__DATA__ACCEPTS_PER_SECOND", "0");
                }
                let (mut server, stdout) = spawn(command, cores)?;
                server.addr = match ready_addr {
                    Some(addr) => {
                        drain(BufReader::new(stdout));
                        *addr
                    }
                    None => server.announced(stdout, "data")?,
                };
                server
            }
            Target::Redis { program } => {
                let port = free_port()?;
                let mut command = Command::new(program);
                command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
                // It listens on the loopback only, but takes other sources than 127.0.0.1 for strangers.
                command.args(["--protected-mode", "no"]);
                command.args(["--save", "", "--appendonly", "no", "--io-threads", "1"]);
                if let Some(clients) = clients {
                    command.args(["--maxclients", &clients.to_string()]);
                }
                let (mut server, stdout) = spawn(command, cores)?;
                drain(BufReader::new(stdout));
                server.addr.set_port(port);
                server.protocol = Protocol::Redis;
                server
            }
        })
    }
}

/// The command that serves with mcpd's own defaults, whatever the environment of the bench says.
pub(crate) fn mcpd(program: &PathBuf, listen: SocketAddr, sidecar: SocketAddr) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        let ours = |key: &str| key.starts_with("MCPD__") || key.starts_with("OTEL_");
        if key.to_str().is_some_and(ours) {
            command.env_remove(key);
        }
    }
    command
        .args(["serve", "--listen", &listen.to_string()])
        .args(["--sidecar-listen", &sidecar.to_string()])
        .env("MCPD__DATA__THREADS", "1");
    command
}

/// Starts a process that speaks MCP on the server's core, inside a directory of its own. Its
/// address, and whether it is ready, is for the caller to find out.
pub(crate) fn spawn(mut command: Command, cores: Cores) -> Result<(Server, ChildStdout)> {
    let directory = tempfile::tempdir()?;
    let errors = directory.path().join("stderr");
    command
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors)?);
    // Held over the start, so that an interruption in between cannot miss the process.
    let mut children = children();
    let child = cores.on_server(|| command.spawn())?.with_context(|| {
        let program = command.get_program().to_string_lossy();
        format!("cannot execute {program}")
    })?;
    let mut process = Process {
        child,
        _directory: directory,
    };
    let stdout = process.child.stdout.take();
    let server = Server {
        pid: process.child.id(),
        addr: (Ipv4Addr::LOCALHOST, 0).into(),
        protocol: Protocol::Mcp,
        errors,
    };
    children.push(process);
    drop(children);
    Ok((server, stdout.context("a process without stdout")?))
}

impl Server {
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.addr, START_LIMIT)?;
        prepare(&stream)?;
        Ok(stream)
    }

    /// The address on the first line of output that has `keyword` and one in it.
    fn announced(&self, stdout: ChildStdout, keyword: &'static str) -> Result<SocketAddr> {
        let (found, address) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            while matches!(lines.read_line(&mut line), Ok(1..)) {
                if let Some(addr) = address_in(&line, keyword) {
                    // Nobody listens any more when the start has been given up.
                    let _ = found.send(addr);
                    break;
                }
                line.clear();
            }
            drop(found);
            discard(lines);
        });
        match address.recv_timeout(START_LIMIT) {
            Ok(addr) => Ok(addr),
            Err(_) => bail!(
                "its output ended, or had no line with `{keyword}` and an address for {START_LIMIT:?}{}",
                self.complaint()
            ),
        }
    }

    pub(crate) fn await_echo(&self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answered = self
                .connect()
                .and_then(|stream| echo_once(self.protocol, &stream));
            let Err(error) = answered else {
                return Ok(());
            };
            self.ensure_alive()?;
            if Instant::now() >= deadline {
                return Err(error.context(format!("no echo{}", self.complaint())));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn ensure_alive(&self) -> Result<()> {
        let mut children = children();
        let process = children.iter_mut().find(|process| process.is(self.pid));
        let status = process.context("the process is gone")?.child.try_wait()?;
        drop(children);
        ensure!(
            status.is_none(),
            "the process has ended{}",
            self.complaint()
        );
        Ok(())
    }

    fn complaint(&self) -> String {
        let text = std::fs::read_to_string(&self.errors);
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        let last = lines.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        if last.is_empty() {
            String::new()
        } else {
            format!("; its last words:\n  {last}")
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        children().retain(|process| !process.is(self.pid));
    }
}

impl Process {
    fn is(&self, pid: u32) -> bool {
        self.child.id() == pid
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for: what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn children() -> MutexGuard<'static, Vec<Process>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has Ctrl-C and SIGTERM end the servers before this process ends, as a return or a panic does.
pub(crate) fn end_with_us() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        let code = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        });
        // Kept locked to the end, so that no further process is started.
        let mut children = children();
        children.clear();
        std::process::exit(code);
    });
    Ok(())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// The body of a page on a sidecar port.
pub(crate) fn get(sidecar: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&sidecar, START_LIMIT)?;
    prepare(&stream)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    Ok(body.to_owned())
}

/// Reads on elsewhere, so that a server never waits for somebody to take its output.
pub(crate) fn drain(output: impl BufRead + Send + 'static) {
    thread::spawn(move || discard(output));
}

fn discard(mut output: impl BufRead) {
    // An error here means that the process has ended.
    let _ = std::io::copy(&mut output, &mut std::io::sink());
}

fn address_in(line: &str, keyword: &str) -> Option<SocketAddr> {
    if !line.contains(keyword) {
        return None;
    }
    let rest = &line[line.find("127.0.0.1:")?..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_plain_and_json_lines() {
        let expected = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4321)));
        for line in [
            "data listening on 127.0.0.1:4321\n",
            "{\"msg\":\"data listening\",\"addr\":\"127.0.0.1:4321\"}",
        ] {
            assert_eq!(address_in(line, "data"), expected, "{line}");
        }
        assert_eq!(address_in("sidecar listening on 127.0.0.1:1", "data"), None);
        assert_eq!(address_in("data listening on [::1]:1", "data"), None);
    }

    #[test]
    fn a_dropped_server_has_ended() {
        let core = rustix::thread::sched_getcpu();
        let cores = Cores {
            server: core,
            load: core,
        };
        let mut command = Command::new("sleep");
        command.arg("600");
        let (server, _stdout) = spawn(command, cores).unwrap();
        let pid = server.pid;
        server.ensure_alive().unwrap();
        drop(server);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
