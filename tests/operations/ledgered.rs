//! Servers in processes of their own whose handlers keep a ledger, which outlives whatever is done to
//! them: each line of it was written by the handler itself, with one call of the system, before it did
//! anything else.

use crate::embedded::document;
use crate::support::{PATIENCE, Server, Start};
use mcpd::app::{Embedding, Observed, serve_with};
use mcpd::config::{Flag, LoadOptions, load};
use mcpd::handler::{Handler, Handlers};
use mcpd::message::{Answer, Body, Call, Outcome};
use mcpd_proto::ErrorCode;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names the file, for a process that is to be a server.
const LEDGER: &str = "LEDGER_OF_A_TEST";
/// Bytes of a line: which server, and the number in the request.
const LINE: usize = 9;

/// What a handler does after it has noted a request.
#[derive(Clone, Copy)]
enum Deed {
    /// Answers, some at once, most a little later, a few later than a drain may take.
    Answer,
    /// Says that it ran and failed.
    Reject,
    /// Never answers.
    Hold,
}

struct Noting {
    ledger: Arc<File>,
    server: u8,
    deed: Deed,
}

impl Handler for Noting {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let number = *call.body.first_chunk().expect("a number");
        let line = [&[self.server][..], &number].concat();
        (&*self.ledger).write_all(&line).expect("a ledger");
        let later = match (self.deed, u64::from_be_bytes(number) % 64) {
            (Deed::Answer, 0..16) => return Outcome::Now(Answer::bytes(call.body)),
            (Deed::Answer, 63) => Duration::from_millis(300),
            (Deed::Answer, n) => Duration::from_millis(n % 4),
            (Deed::Reject, _) => {
                return Outcome::Now(Answer::Error {
                    code: ErrorCode::HANDLER_ERROR,
                    detail: "rejected".into(),
                    retry_after: None,
                });
            }
            (Deed::Hold, _) => Duration::from_secs(3600),
        };
        Outcome::Later(Box::pin(async move {
            tokio::time::sleep(later).await;
            Answer::Response {
                body: Body::Shared(number.to_vec().into()),
                content_type: None,
            }
        }))
    }
}

/// What [`Fleet`] starts. In a run of the tests it has nothing to do.
#[test]
fn server() {
    let Some(path) = std::env::var_os(LEDGER) else {
        return;
    };
    let load = || {
        let flags: Vec<String> = std::env::args().collect();
        let flag = |key: &str, name: &str| {
            let at = flags
                .iter()
                .position(|arg| arg == name)
                .expect("an address");
            Flag::new(key, &flags[at + 1], name)
        };
        let flags = [
            flag("data.listen", "--listen"),
            flag("sidecar.listen", "--sidecar-listen"),
        ];
        load(LoadOptions::from_process(None, flags.into())).map_err(|problems| problems.to_string())
    };
    let config = load().unwrap();
    let ledger = Arc::new(File::options().append(true).open(path).unwrap());
    let mut handlers = Handlers::new();
    for (name, deed) in [
        ("note", Deed::Answer),
        ("reject", Deed::Reject),
        ("hold", Deed::Hold),
    ] {
        let (ledger, server) = (ledger.clone(), config.server_id.as_bytes()[0]);
        handlers.insert(
            name,
            Arc::new(Noting {
                ledger,
                server,
                deed,
            }),
        );
    }
    let topics = ["note", "reject", "hold"].map(|name| (name, name));
    let embedding = Embedding {
        handlers,
        document: Some(document(&topics)),
        host: None,
    };
    serve_with(config, Observed::default(), Box::new(load), embedding).unwrap();
}

/// Servers `a`, `b`, … with one ledger.
pub(crate) struct Fleet {
    servers: Vec<Server>,
    addrs: Vec<SocketAddr>,
    ledger: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn start(count: usize, spread: &str) -> Fleet {
        let scratch = crate::support::scratch();
        let ledger = scratch.path().join("ledger");
        File::create(&ledger).unwrap();
        let mut fleet = Fleet {
            servers: Vec::new(),
            addrs: Vec::new(),
            ledger,
            _scratch: scratch,
        };
        for n in 0..count {
            let server = fleet.spawn(n, "127.0.0.1:0".parse().unwrap(), spread);
            fleet.addrs.push(server.data);
            fleet.servers.push(server);
        }
        fleet
    }

    fn spawn(&self, n: usize, addr: SocketAddr, spread: &str) -> Server {
        let start = Start::test("ledgered::server").listen(addr);
        let start = start.set("SERVER_ID", &Fleet::name(n).to_string());
        let start = start.set("DRAIN__SPREAD", spread);
        start
            .with(|command| {
                command.env(LEDGER, &self.ledger);
            })
            .spawn()
    }

    pub(crate) fn name(n: usize) -> char {
        char::from(b'a' + n as u8)
    }

    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Ends a server by a signal; gives its exit code.
    pub(crate) fn stop(&mut self, n: usize, signal: &str) -> Option<i32> {
        self.servers[n].signal(signal);
        self.servers[n].await_exit()
    }

    /// Starts a server again that has ended, at its old address.
    pub(crate) fn restart(&mut self, n: usize, spread: &str) {
        self.servers[n] = self.spawn(n, self.addrs[n], spread);
    }

    /// Which servers ran which numbers, in the order in which they began.
    pub(crate) fn ledger(&self) -> BTreeMap<u64, String> {
        let bytes = std::fs::read(&self.ledger).unwrap();
        let mut ledger: BTreeMap<u64, String> = BTreeMap::new();
        for line in bytes.chunks(LINE) {
            let number = u64::from_be_bytes(*line.last_chunk().expect("a whole line"));
            ledger.entry(number).or_default().push(char::from(line[0]));
        }
        ledger
    }

    /// Waits until a number is in the ledger.
    pub(crate) fn await_noted(&self, number: u64) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(servers) = self.ledger().remove(&number) {
                return servers;
            }
            assert!(Instant::now() < deadline, "{number} does not run");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
