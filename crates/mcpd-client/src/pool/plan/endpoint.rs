//! The addresses, what is known of them, and which one is dialled next.

use super::avoid::Avoid;
use crate::random::Random;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Most addresses that are kept; a name that stands for more is cut off, and each look-up may bring
/// others.
const MOST: usize = 256;

#[derive(Debug)]
struct Endpoint {
    addr: SocketAddr,
    /// Failures one after the other.
    failures: u32,
    not_before: Instant,
    /// It said that it will not have this client, whatever the time.
    refused: bool,
    server_id: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    /// Keeps what is known of addresses that stay.
    pub(super) fn set(&mut self, addrs: &[SocketAddr], now: Instant) {
        // A look-up that finds nothing says less than what was found before.
        if addrs.is_empty() {
            return;
        }
        self.0.retain(|endpoint| addrs.contains(&endpoint.addr));
        for addr in addrs {
            if self.0.len() >= MOST {
                break;
            }
            if !self.0.iter().any(|endpoint| endpoint.addr == *addr) {
                self.0.push(Endpoint {
                    addr: *addr,
                    failures: 0,
                    not_before: now,
                    refused: false,
                    server_id: None,
                });
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&mut self, addr: SocketAddr) -> Option<&mut Endpoint> {
        self.0.iter_mut().find(|endpoint| endpoint.addr == addr)
    }

    /// A server answered there.
    pub(super) fn met(&mut self, addr: SocketAddr, server_id: Option<&str>) {
        if let Some(endpoint) = self.get(addr) {
            endpoint.server_id = server_id.map(str::to_owned);
            endpoint.refused = false;
        }
    }

    /// Counts a failure; `pause` makes the time until the next attempt from the number of failures
    /// before.
    pub(super) fn failed(
        &mut self,
        addr: SocketAddr,
        now: Instant,
        pause: impl FnOnce(u32) -> Duration,
    ) {
        if let Some(endpoint) = self.get(addr) {
            let pause = pause(endpoint.failures);
            endpoint.failures = endpoint.failures.saturating_add(1);
            endpoint.not_before = endpoint.not_before.max(now + pause);
        }
    }

    pub(super) fn refused(&mut self, addr: SocketAddr, permanent: bool) {
        if let Some(endpoint) = self.get(addr) {
            endpoint.refused = permanent;
        }
    }

    pub(super) fn proved(&mut self, addr: SocketAddr) {
        if let Some(endpoint) = self.get(addr) {
            endpoint.failures = 0;
        }
    }

    pub(super) fn not_before(&mut self, addr: SocketAddr, at: Instant) {
        if let Some(endpoint) = self.get(addr) {
            endpoint.not_before = endpoint.not_before.max(at);
        }
    }

    pub(super) fn all_refused(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|endpoint| endpoint.refused)
    }

    /// Whether nothing is known to be behind any of them, by the last attempt at each.
    pub(super) fn all_failing(&self) -> bool {
        self.0.iter().all(|endpoint| endpoint.failures > 0)
    }

    /// Whether there is another address, which may be dialled, with less reason to avoid its server
    /// than the one met at this address.
    pub(super) fn has_better(&self, than: SocketAddr, avoid: &Avoid, now: Instant) -> bool {
        let Some(met) = self.0.iter().find(|endpoint| endpoint.addr == than) else {
            return false;
        };
        let until = met.avoided(avoid, now);
        self.0
            .iter()
            .any(|endpoint| endpoint.not_before <= now && endpoint.avoided(avoid, now) < until)
    }

    /// Of two at random the one with fewer connections (`busy`). Servers to avoid only when no other
    /// can be dialled, and then the one that said so first: it is the most likely to be back.
    ///
    /// # Errors
    /// When the first of them may be dialled; nothing if there are none.
    pub(super) fn choose(
        &self,
        now: Instant,
        avoid: &Avoid,
        random: &Random,
        busy: impl Fn(SocketAddr) -> usize,
    ) -> Result<SocketAddr, Option<Instant>> {
        let ready = || self.0.iter().filter(|endpoint| endpoint.not_before <= now);
        let Some(best) = ready().map(|endpoint| endpoint.avoided(avoid, now)).min() else {
            return Err(self.0.iter().map(|endpoint| endpoint.not_before).min());
        };
        let mut found: Vec<&Endpoint> = ready()
            .filter(|endpoint| endpoint.avoided(avoid, now) == best)
            .collect();
        let first = random.below(found.len());
        let first = found.swap_remove(first).addr;
        if found.is_empty() {
            return Ok(first);
        }
        let second = found[random.below(found.len())].addr;
        Ok(if busy(second) < busy(first) {
            second
        } else {
            first
        })
    }
}

impl Endpoint {
    fn avoided(&self, avoid: &Avoid, now: Instant) -> Option<Instant> {
        avoid.until(self.server_id.as_deref(), now)
    }
}
