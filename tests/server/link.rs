//! A network of two machines that can be taken apart: the server in one network namespace, its peer in
//! another, a cable between them.
//!
//! A namespace belongs to a thread, and a socket keeps the one it was made in. So the test's own
//! thread moves: what it starts or opens is on the server's machine, and what it opens within
//! [`Link::on_peers_side`] on the peer's. Nothing of it touches the network of the host.

use crate::support::{Server, Start};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

// They exist in namespaces of this test alone.
const SERVER: &str = "10.77.0.1";
const PEER: &str = "10.77.0.2";
/// Of nobody.
const NO_MACHINE: &str = "02:00:00:00:00:99";

/// Where a server and its peer are, and what is between them.
pub(crate) struct Link {
    /// Without them both are on this host, and nothing can be taken apart.
    machines: Option<Machines>,
}

impl Link {
    /// Two machines, if the system lets us make them.
    pub(crate) fn new() -> Link {
        match Machines::new() {
            Ok(machines) => Link {
                machines: Some(machines),
            },
            Err(why) => {
                eprintln!("NOT RUN: no network namespaces here, so no peer can vanish: {why}");
                eprintln!("Instead: a peer of this host, under the same limits, falls silent.");
                Link { machines: None }
            }
        }
    }

    /// Whether a peer can vanish; else it can only fall silent.
    pub(crate) fn can_break(&self) -> bool {
        self.machines.is_some()
    }

    /// Has the server listen where the peer can reach it.
    pub(crate) fn listen(&self, start: Start) -> Start {
        match &self.machines {
            Some(_) => start.listen(format!("{SERVER}:0")),
            None => start,
        }
    }

    /// Runs this on the machine of the peer.
    pub(crate) fn on_peers_side<T>(&self, run: impl FnOnce() -> T) -> T {
        let Some(machines) = &self.machines else {
            return run();
        };
        machines.peer.enter().unwrap();
        let result = run();
        machines.server.enter().unwrap();
        result
    }

    /// Pulls the cable.
    pub(crate) fn cut(&self, server: &Server) {
        if let Some(machines) = &self.machines {
            machines.peer.ip("link set cable down").unwrap();
            let refused = self.on_peers_side(|| std::net::TcpStream::connect(server.data));
            assert!(refused.is_err(), "there is no way to the server any more");
        }
    }

    /// Plugs it in again.
    pub(crate) fn mend(&self) {
        if let Some(machines) = &self.machines {
            machines.peer.ip("link set cable up").unwrap();
        }
    }

    /// The network looks well to the server, but what it sends arrives nowhere.
    pub(crate) fn lose_machine(&self) {
        if let Some(machines) = &self.machines {
            let into_the_void =
                format!("neigh replace {PEER} lladdr {NO_MACHINE} dev cable nud permanent");
            machines.server.ip(&into_the_void).unwrap();
        }
    }
}

struct Machines {
    home: File,
    server: Namespace,
    peer: Namespace,
}

impl Machines {
    fn new() -> io::Result<Machines> {
        let machines = Machines {
            home: File::open("/proc/thread-self/ns/net")?,
            server: Namespace::new("server")?,
            peer: Namespace::new("peer")?,
        };
        let (server, peer) = (&machines.server, &machines.peer);
        let ends = format!(
            "link add cable type veth peer name cable netns {}",
            peer.name
        );
        server.ip(&ends)?;
        for (machine, address) in [(server, SERVER), (peer, PEER)] {
            machine.ip("link set lo up")?;
            machine.ip(&format!("addr add {address}/24 dev cable"))?;
            machine.ip("link set cable up")?;
            // Who is not there is called unreachable after 300 ms, not 3 s.
            machine.ip("ntable change name arp_cache dev cable retrans 100")?;
        }
        server.enter()?;
        Ok(machines)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        // The thread may have other tests to run.
        if let Err(error) = enter(&self.home) {
            eprintln!("this thread cannot go home: {error}");
        }
    }
}

/// A network namespace of this test's own; removed when dropped.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(side: &str) -> io::Result<Namespace> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("mcpd-test-{pid}-{n}-{side}");
        ip(&["netns", "add", &name])?;
        Ok(Namespace { name })
    }

    fn enter(&self) -> io::Result<()> {
        enter(&File::open(format!("/run/netns/{}", self.name))?)
    }

    /// `ip` on this machine.
    fn ip(&self, command: &str) -> io::Result<()> {
        let words = command.split(' ');
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(words).collect();
        ip(&words)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("{} stays behind: {error}", self.name);
        }
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

fn ip(words: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "ip {}: {said}",
        words.join(" ").trim_end()
    )))
}
