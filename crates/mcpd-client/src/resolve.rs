//! The addresses that a client's names stand for.

use crate::connector::Connector;
use crate::driver::now;
use crate::error::{Error, Result};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The least time between two look-ups, however much fails.
const GAP: Duration = Duration::from_secs(1);
/// Addresses kept of one name: more than a fleet behind a name has, and a bound on what a name server
/// can make a client remember.
const PER_NAME: usize = 256;

type Found = Vec<(usize, io::Result<Vec<SocketAddr>>)>;

/// Names, what they stood for when they were last looked up, and when they are to be again.
pub(crate) struct Names {
    names: Vec<Name>,
    connector: Arc<dyn Connector>,
    /// Time for a look-up.
    patience: Duration,
    every: Duration,
    due: Instant,
    last: Option<Instant>,
    running: Option<JoinHandle<Found>>,
    found: Found,
}

struct Name {
    host: String,
    port: u16,
    addrs: Vec<SocketAddr>,
    is_address: bool,
}

impl Names {
    pub(crate) fn new(
        places: Vec<(String, u16)>,
        connector: Arc<dyn Connector>,
        patience: Duration,
        every: Duration,
    ) -> Names {
        let names = places.into_iter().map(|(host, port)| {
            let addr = host.parse::<IpAddr>().ok();
            Name {
                addrs: addr
                    .map(|ip| SocketAddr::new(ip, port))
                    .into_iter()
                    .collect(),
                is_address: addr.is_some(),
                host,
                port,
            }
        });
        Names {
            names: names.collect(),
            connector,
            patience,
            every,
            due: now(),
            last: None,
            running: None,
            found: Vec::new(),
        }
    }

    /// The name an address was found by.
    pub(crate) fn host_of(&self, addr: SocketAddr) -> String {
        let name = self.names.iter().find(|name| name.addrs.contains(&addr));
        name.map_or_else(|| addr.ip().to_string(), |name| name.host.clone())
    }

    /// Something failed, so what was found may be out of date.
    pub(crate) fn ask_soon(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last + GAP);
        if self.names.iter().any(|name| !name.is_address) {
            self.due = self.due.min(earliest.max(now));
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        match self.running {
            Some(_) => now() + self.every,
            None => self.due,
        }
    }

    pub(crate) fn start_if_due(&mut self, now: Instant) {
        if self.running.is_some() || now < self.due {
            return;
        }
        (self.last, self.due) = (Some(now), now + self.every);
        let names = self.names.iter().enumerate();
        let asked: Vec<(usize, String, u16)> = names
            .filter(|(_, name)| !name.is_address)
            .map(|(at, name)| (at, name.host.clone(), name.port))
            .collect();
        let (connector, patience) = (self.connector.clone(), self.patience);
        self.running = Some(tokio::spawn(look_up(connector, asked, patience)));
    }

    /// Waits for the look-up that runs, if one does.
    pub(crate) async fn resolved(&mut self) {
        match &mut self.running {
            None => std::future::pending().await,
            Some(running) => {
                let found = running.await;
                self.running = None;
                // A connector of somebody else's that panics finds nothing.
                self.found = found.unwrap_or_default();
            }
        }
    }

    /// Every address known after a look-up, each once.
    ///
    /// # Errors
    /// None is known, and why.
    pub(crate) fn take(&mut self) -> Result<Vec<SocketAddr>> {
        let mut failed = None;
        for (at, result) in std::mem::take(&mut self.found) {
            let name = &mut self.names[at];
            match result {
                Ok(addrs) if !addrs.is_empty() => name.addrs = addrs,
                Ok(_) => failed = Some((name.host.clone(), io::ErrorKind::NotFound.into())),
                Err(error) => failed = Some((name.host.clone(), error)),
            }
        }
        let mut all: Vec<SocketAddr> = Vec::new();
        for name in &self.names {
            for addr in name.addrs.iter().take(PER_NAME) {
                if !all.contains(addr) {
                    all.push(*addr);
                }
            }
        }
        if failed.is_some() {
            // The next look-up comes sooner than planned.
            self.due = self.due.min(now() + GAP);
        }
        match failed {
            Some((host, error)) if all.is_empty() => {
                let text = format!("the name {host:?} cannot be looked up: {error}");
                Err(Error::connect(text).with_source(Arc::new(error)))
            }
            _ => Ok(all),
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

async fn look_up(
    connector: Arc<dyn Connector>,
    asked: Vec<(usize, String, u16)>,
    patience: Duration,
) -> Found {
    let mut looking = JoinSet::new();
    for (at, host, port) in asked {
        let connector = connector.clone();
        looking.spawn(async move {
            let found = timeout(patience, connector.resolve(&host, port)).await;
            (at, found.unwrap_or(Err(io::ErrorKind::TimedOut.into())))
        });
    }
    let mut found = Vec::new();
    while let Some(one) = looking.join_next().await {
        found.extend(one);
    }
    found
}
