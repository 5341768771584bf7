//! Whether all servers have what was written by way of this one.
//!
//! One task at most asks around, for what was written last: the others wait for what it finds. So neither many
//! writes nor many who wait for them have peers asked more often.

use super::{Asked, Peers};
use crate::telemetry::PeerMetrics;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How long it is asked around for a write.
const FOLLOWED_FOR: Duration = Duration::from_secs(60);
/// Bounds of the pause between two rounds, which doubles: most have it within a few milliseconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// A server that does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Straggler {
    /// Its pod, else what it calls itself, else its address.
    pub(crate) server: String,
    /// Its sidecar port.
    pub(crate) address: String,
    /// The node that it is on, as far as that is known.
    pub(crate) node: Option<String>,
    /// What it has instead.
    pub(crate) revision: Option<u64>,
    /// Why that is not known.
    pub(crate) problem: Option<String>,
}

/// How far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Converged {
    /// All that serve have it.
    All,
    /// These have not, or it is not known who they are.
    Not {
        stragglers: Vec<Straggler>,
        problem: Option<String>,
    },
}

#[derive(Debug, Clone)]
struct Progress {
    hash: Arc<str>,
    /// Whether it is still asked around.
    running: bool,
    /// `None` before the first round.
    found: Option<Converged>,
}

/// Finds out whether all servers have what was written.
pub(crate) struct Convergence {
    peers: Arc<Peers>,
    metrics: Arc<PeerMetrics>,
    runtime: Handle,
    progress: Arc<watch::Sender<Progress>>,
    /// Who asks around.
    following: Mutex<Option<AbortHandle>>,
}

impl Convergence {
    /// Must be called on the runtime that is to ask around.
    pub(crate) fn new(peers: Arc<Peers>, metrics: Arc<PeerMetrics>) -> Convergence {
        let nothing = Progress {
            hash: Arc::from(""),
            running: false,
            found: None,
        };
        Convergence {
            peers,
            metrics,
            runtime: Handle::current(),
            progress: Arc::new(watch::Sender::new(nothing)),
            following: Mutex::default(),
        }
    }

    /// This was written, `since` then, and is live here: from now on it is asked around for it, and for nothing else.
    pub(crate) fn wrote(&self, hash: &str, since: Instant) {
        if self.peers.is_alone() {
            self.metrics.converged(since.elapsed());
            return;
        }
        self.follow(hash, Some(since));
    }

    /// Waits until all servers have it, but not for longer than `patience`, nor when something else was written
    /// meanwhile.
    pub(crate) async fn wait(&self, hash: &str, patience: Duration) -> Converged {
        if self.peers.is_alone() {
            return Converged::All;
        }
        let mut progress = self.follow(hash, None);
        let over = |progress: &Progress| !progress.running || &*progress.hash != hash;
        // The sender is ours; what counts is how far it is when the time is over.
        let _ = tokio::time::timeout(patience, progress.wait_for(over)).await;
        let progress = progress.borrow();
        let unknown = |problem: &str| Converged::Not {
            stragglers: Vec::new(),
            problem: Some(problem.to_owned()),
        };
        match &progress.found {
            _ if &*progress.hash != hash => unknown("something else was written meanwhile"),
            Some(found) => found.clone(),
            None => unknown("not all servers have answered yet"),
        }
    }

    fn follow(&self, hash: &str, since: Option<Instant>) -> watch::Receiver<Progress> {
        let mut following = self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let receiver = self.progress.subscribe();
        // Whoever only waits joins what is asked, or finds that something newer is.
        if since.is_none() && receiver.borrow().running {
            return receiver;
        }
        if let Some(before) = following.take() {
            before.abort();
        }
        let hash: Arc<str> = Arc::from(hash);
        self.progress.send_replace(Progress {
            hash: Arc::clone(&hash),
            running: true,
            found: None,
        });
        let task = Following {
            peers: Arc::clone(&self.peers),
            metrics: Arc::clone(&self.metrics),
            progress: Arc::clone(&self.progress),
            hash,
            since,
        };
        *following = Some(self.runtime.spawn(task.run()).abort_handle());
        receiver
    }
}

/// Asks around for one write.
struct Following {
    peers: Arc<Peers>,
    metrics: Arc<PeerMetrics>,
    progress: Arc<watch::Sender<Progress>>,
    hash: Arc<str>,
    /// When it was written, if it was just now.
    since: Option<Instant>,
}

impl Following {
    async fn run(self) {
        let end = Instant::now() + FOLLOWED_FOR;
        let (mut pause, longest) = PAUSES;
        loop {
            let found = judge(self.peers.ask().await, &self.hash);
            let (done, late) = (found == Converged::All, Instant::now() >= end);
            match self.since {
                Some(since) if done => self.metrics.converged(since.elapsed()),
                Some(_) if late => self.metrics.unconverged(),
                _ => {}
            }
            self.progress.send_if_modified(|progress| {
                // Somebody else's turn may have come while this one was not aborted yet.
                let mine = Arc::ptr_eq(&progress.hash, &self.hash);
                if mine {
                    progress.running = !(done || late);
                    progress.found = Some(found);
                }
                mine
            });
            if done || late {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

fn judge(asked: Result<Vec<Asked>, String>, hash: &str) -> Converged {
    let (asked, problem) = match asked {
        Ok(asked) => (asked, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let stragglers: Vec<Straggler> = asked
        .into_iter()
        .filter(|one| !one.status.as_ref().is_ok_and(|status| status.hash == hash))
        .map(Straggler::of)
        .collect();
    match stragglers.is_empty() && problem.is_none() {
        true => Converged::All,
        false => Converged::Not {
            stragglers,
            problem,
        },
    }
}

impl Straggler {
    fn of(asked: Asked) -> Straggler {
        let Asked { peer, status } = asked;
        let address = peer.addr.to_string();
        let itself = status.as_ref().ok().map(|status| status.server_id.clone());
        let server = peer.name.as_deref().map(str::to_owned).or(itself);
        Straggler {
            server: server.unwrap_or_else(|| address.clone()),
            address,
            node: peer.node.as_deref().map(str::to_owned),
            revision: status.as_ref().ok().map(|status| status.revision),
            problem: status.err(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Asker, Peer, Source};
    use super::*;
    use crate::upstream::BoxFuture;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server and the hash of its routes.
    type Member = (SocketAddr, Arc<str>);

    /// Servers with routes that the test gives them.
    #[derive(Clone, Default)]
    struct Fleet(Arc<Mutex<Vec<Member>>>);

    impl Fleet {
        async fn add(&self, hash: &str) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            self.0.lock().unwrap().push((addr, Arc::from(hash)));
            let fleet = self.clone();
            tokio::spawn(async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    let _ = socket.read(&mut [0; 1024]).await;
                    let body = fleet.status(addr);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
                }
            });
        }

        fn status(&self, addr: SocketAddr) -> String {
            let all = self.0.lock().unwrap();
            let (_, hash) = all.iter().find(|(known, _)| *known == addr).unwrap();
            format!(
                "{{\"server_id\":\"s\",\"revision\":1,\"hash\":\"{hash}\",\"lifecycle\":\"running\",\"connections\":0}}"
            )
        }

        fn set(&self, at: usize, hash: &str) {
            self.0.lock().unwrap()[at].1 = Arc::from(hash);
        }
    }

    impl Source for Fleet {
        fn peers(&self) -> BoxFuture<'_, Result<Vec<Peer>, String>> {
            let all = self.0.lock().unwrap();
            let peer = |(n, (addr, _)): (usize, &Member)| Peer {
                addr: *addr,
                name: Some(Arc::from(format!("pod-{n}"))),
                node: None,
            };
            let peers: Vec<Peer> = all.iter().enumerate().map(peer).collect();
            Box::pin(async move { Ok(peers) })
        }
    }

    struct Unknown;

    impl Source for Unknown {
        fn peers(&self) -> BoxFuture<'_, Result<Vec<Peer>, String>> {
            Box::pin(async { Err("the API server is away".to_owned()) })
        }
    }

    fn over(source: Option<Box<dyn Source>>) -> Convergence {
        let metrics = Arc::<PeerMetrics>::default();
        let peers = Peers::new(source, Asker::new().unwrap(), Arc::clone(&metrics));
        Convergence::new(Arc::new(peers), metrics)
    }

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_write_has_converged_when_the_last_server_has_it() {
        let fleet = Fleet::default();
        for hash in ["b", "a", "b"] {
            fleet.add(hash).await;
        }
        let convergence = over(Some(Box::new(fleet.clone())));
        convergence.wrote("b", Instant::now());
        let Converged::Not {
            stragglers,
            problem,
        } = convergence.wait("b", SHORT).await
        else {
            panic!("one is behind")
        };
        assert_eq!(problem, None);
        let names: Vec<&str> = stragglers.iter().map(|one| one.server.as_str()).collect();
        assert_eq!((names, stragglers[0].revision), (vec!["pod-1"], Some(1)));
        let (waiting, behind) = (convergence.wait("b", LONG), async { fleet.set(1, "b") });
        assert_eq!(tokio::join!(waiting, behind).0, Converged::All);
        // Who comes late is asked, too, when somebody asks again.
        fleet.add("a").await;
        assert_ne!(convergence.wait("b", SHORT).await, Converged::All);
    }

    #[tokio::test]
    async fn what_was_written_later_ends_the_wait() {
        let fleet = Fleet::default();
        fleet.add("a").await;
        let convergence = over(Some(Box::new(fleet)));
        convergence.wrote("b", Instant::now());
        let waiting = convergence.wait("b", LONG);
        let (found, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            convergence.wrote("a", Instant::now());
        });
        let Converged::Not { problem, .. } = found else {
            panic!("it never will")
        };
        assert!(problem.unwrap().contains("something else"));
        assert_eq!(convergence.wait("a", LONG).await, Converged::All);
    }

    #[tokio::test]
    async fn who_is_alone_has_converged_and_who_knows_nobody_has_not() {
        let alone = over(None);
        alone.wrote("a", Instant::now());
        assert_eq!(alone.wait("a", SHORT).await, Converged::All);
        let lost = over(Some(Box::new(Unknown)));
        lost.wrote("a", Instant::now());
        let Converged::Not { problem, .. } = lost.wait("a", SHORT).await else {
            panic!("nobody was asked")
        };
        assert_eq!(problem.as_deref(), Some("the API server is away"));
    }
}
