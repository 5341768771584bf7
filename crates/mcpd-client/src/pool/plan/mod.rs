//! Which connections there should be: pure, the time is handed in.
//!
//! ```text
//!            dial                    GOAWAY             replaced
//! (owed) ──────────▶ dialling ─▶ Open ───────▶ Leaving ──────────▶ Ending ─▶ gone
//!    ▲                  │         │  not needed for idle_timeout     ▲
//!    └──── failed ──────┘         └───────────────────────────────────┘
//!    └──── lost, from any ◀───────
//! ```
//!
//! The plan keeps a number of connections that are *desired*. It grows by one at a time while calls
//! find their connection busy, and shrinks when fewer would have done. Whatever is missing is *owed*:
//! an attempt, each with a pause of its own.

mod avoid;
mod endpoint;

use crate::random::Random;
use crate::retry::Backoff;
use avoid::Avoid;
use endpoint::Endpoints;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The longest a server's RETRY_AFTER_MS keeps a client from dialling; up to as much again is added
/// at random. A server that is to be left alone for longer is not in the list of addresses.
pub(crate) const MAX_REDIAL_AFTER: Duration = Duration::from_secs(30);
/// How long a connection may take to end after it was replaced: a server answers what it took or
/// says CLOSING long before. Then it is cut.
const END_LIMIT: Duration = Duration::from_secs(600);

/// Names a connection or the attempt at one.
pub(crate) type Id = u64;

#[derive(Debug, Clone)]
pub(crate) struct PlanSettings {
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// Requests a connection has in flight before another one is opened.
    pub(crate) pending: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) backoff: Backoff,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Dial(Id, SocketAddr),
    /// Let it answer what it has, and take nothing new.
    End(Id),
    /// End it although answers are missing.
    Cut(Id),
    /// Look the names up again.
    Resolve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialling,
    Open,
    Leaving,
    Ending,
}

#[derive(Debug)]
struct Link {
    id: Id,
    addr: SocketAddr,
    server_id: Option<String>,
    phase: Phase,
    /// When it came into its phase.
    since: Instant,
}

/// How a connection fared, when it ends or goes away.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Record {
    /// It answered at least one request.
    pub(crate) proved: bool,
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Plan {
    settings: PlanSettings,
    random: Random,
    endpoints: Endpoints,
    avoid: Avoid,
    links: Vec<Link>,
    /// When attempts are due for what is missing; at most `settings.max`.
    owed: Vec<Instant>,
    desired: usize,
    next_id: Id,
    /// The next time to see how many connections were needed.
    measure_at: Instant,
    resolve_wanted: bool,
    actions: Vec<Action>,
}

impl Plan {
    pub(crate) fn new(settings: PlanSettings, random: Random, now: Instant) -> Plan {
        Plan {
            desired: settings.min,
            measure_at: now + settings.idle_timeout,
            settings,
            random,
            endpoints: Endpoints::default(),
            avoid: Avoid::default(),
            links: Vec::new(),
            owed: Vec::new(),
            next_id: 1,
            resolve_wanted: false,
            actions: Vec::new(),
        }
    }

    /// The names stand for these addresses now.
    pub(crate) fn resolved(&mut self, addrs: &[SocketAddr], now: Instant) {
        let first = self.endpoints.is_empty();
        self.endpoints.set(addrs, now);
        if first {
            self.owed.fill(now);
        }
    }

    /// An attempt has led to a connection. `false`: the server is one to avoid, and the connection
    /// is to be closed.
    #[must_use]
    pub(crate) fn opened(&mut self, id: Id, server_id: Option<&str>, now: Instant) -> bool {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return false;
        };
        (link.phase, link.since) = (Phase::Open, now);
        link.server_id = server_id.map(str::to_owned);
        let addr = link.addr;
        self.endpoints.met(addr, server_id);
        if self.endpoints.has_better(addr, &self.avoid, now) {
            self.links.retain(|link| link.id != id);
            self.owed.push(now);
            return false;
        }
        true
    }

    /// An attempt has failed.
    pub(crate) fn failed(
        &mut self,
        id: Id,
        permanent: bool,
        asked: Option<Duration>,
        now: Instant,
    ) {
        let Some(link) = self.remove(id) else { return };
        self.blame(link.addr, now);
        if let Some(asked) = asked {
            self.endpoints
                .not_before(link.addr, now + self.asked(asked));
        }
        self.endpoints.refused(link.addr, permanent);
        self.owe(now + self.settings.backoff.pause(0, &self.random));
        self.resolve_wanted = true;
    }

    /// Counts a failure of an address, which is left alone for a pause.
    fn blame(&mut self, addr: SocketAddr, now: Instant) {
        let (backoff, random) = (self.settings.backoff, &self.random);
        let pause = |failures| backoff.pause(failures, random);
        self.endpoints.failed(addr, now, pause);
    }

    fn asked(&self, asked: Duration) -> Duration {
        self.random.retry_after(asked, MAX_REDIAL_AFTER)
    }

    /// The server asks to move. `draining` tells that it is about to stop.
    pub(crate) fn going_away(&mut self, id: Id, draining: bool, record: Record, now: Instant) {
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        if link.phase != Phase::Open {
            return;
        }
        let lived = now.saturating_duration_since(link.since);
        (link.phase, link.since) = (Phase::Leaving, now);
        let addr = link.addr;
        if let Some(server) = link.server_id.clone().filter(|_| draining) {
            self.avoid.add(server, now);
        }
        let asked = record.retry_after.map(|asked| self.asked(asked));
        self.account(addr, lived, record.proved, asked, now);
        let jitter = self.settings.backoff.pause(0, &self.random);
        self.owe(now + asked.unwrap_or(jitter));
        self.resolve_wanted |= draining;
    }

    /// It refuses new requests, so it is as good as gone for them.
    pub(crate) fn refuses(&mut self, id: Id, record: Record, now: Instant) {
        self.going_away(id, false, record, now);
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id)
            && link.phase == Phase::Leaving
        {
            (link.phase, link.since) = (Phase::Ending, now);
            self.actions.push(Action::End(id));
            self.hasten(now);
        }
    }

    /// It has ended.
    pub(crate) fn closed(&mut self, id: Id, record: Record, now: Instant) {
        let Some(link) = self.remove(id) else { return };
        match link.phase {
            Phase::Open => {
                let lived = now.saturating_duration_since(link.since);
                let asked = record.retry_after.map(|asked| self.asked(asked));
                self.account(link.addr, lived, record.proved, asked, now);
                self.owe(now + self.settings.backoff.pause(0, &self.random));
                self.resolve_wanted = true;
            }
            Phase::Leaving => self.hasten(now),
            Phase::Dialling | Phase::Ending => {}
        }
    }

    /// What was to be replaced at leisure is gone: pauses that a GOAWAY asked for hold for its own
    /// server alone.
    fn hasten(&mut self, now: Instant) {
        if self.links.iter().any(|link| link.phase == Phase::Open) {
            return;
        }
        let soon = now + self.settings.backoff.pause(0, &self.random);
        if let Some(first) = self.owed.iter_mut().min() {
            *first = soon.min(*first);
        }
    }

    /// Holds what a connection was worth against its address, or clears the address's record.
    fn account(
        &mut self,
        addr: SocketAddr,
        lived: Duration,
        proved: bool,
        asked: Option<Duration>,
        now: Instant,
    ) {
        if proved || lived >= self.settings.backoff.cap {
            self.endpoints.proved(addr);
        } else {
            self.blame(addr, now);
        }
        if let Some(asked) = asked {
            self.endpoints.not_before(addr, now + asked);
        }
    }

    /// Calls wait for a connection.
    pub(crate) fn wait(&mut self) {
        self.desired = self.desired.max(1);
    }

    /// Calls find their connection busy: one more, if [`Plan::may_grow`].
    pub(crate) fn grow(&mut self) {
        if self.may_grow() {
            self.desired += 1;
        }
    }

    /// Whether one more connection may be opened now: one at a time, and not above the bound.
    pub(crate) fn may_grow(&self) -> bool {
        self.desired < self.settings.max && self.count(Phase::Open) >= self.desired
    }

    /// Whether every known address has said that it will not have this client.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.endpoints.all_refused() && !self.is_usable()
    }

    /// Whether every address has failed when it was last tried, or none is known.
    pub(crate) fn is_failing(&self) -> bool {
        self.endpoints.all_failing() && !self.is_usable()
    }

    fn is_usable(&self) -> bool {
        let usable = |link: &Link| matches!(link.phase, Phase::Open | Phase::Leaving);
        self.links.iter().any(usable)
    }

    /// Does what is due. `peak` gives the most requests a connection had in flight since it was last
    /// asked.
    pub(crate) fn poll(&mut self, now: Instant, mut peak: impl FnMut(Id) -> usize) -> Vec<Action> {
        if now >= self.measure_at {
            self.measure(now, &mut peak);
        }
        self.end_the_replaced(now);
        self.cut_the_lingering(now);
        self.dial(now);
        if std::mem::take(&mut self.resolve_wanted) {
            self.actions.push(Action::Resolve);
        }
        std::mem::take(&mut self.actions)
    }

    /// Takes leave of connections that were not needed for a whole `idle_timeout`.
    fn measure(&mut self, now: Instant, peak: &mut impl FnMut(Id) -> usize) {
        self.measure_at = now + self.settings.idle_timeout;
        // Calls that are refused at once cannot ask for a connection, so what they asked for stays.
        if self.is_hopeless() || self.is_failing() {
            return;
        }
        let mut open: Vec<(usize, Id)> = Vec::new();
        let mut young = false;
        for link in self.links.iter().filter(|link| link.phase == Phase::Open) {
            open.push((peak(link.id), link.id));
            young |= now.saturating_duration_since(link.since) < self.settings.idle_timeout;
        }
        let peaks: usize = open.iter().map(|(peak, _)| peak).sum();
        let needed = peaks.div_ceil(self.settings.pending.max(1));
        // What was opened meanwhile was needed meanwhile.
        if young || needed >= self.desired {
            return;
        }
        self.desired = needed.max(self.settings.min);
        open.sort_unstable();
        let surplus = open.len().saturating_sub(self.desired);
        for (_, id) in open.into_iter().take(surplus) {
            self.end(id, now);
        }
    }

    fn end(&mut self, id: Id, now: Instant) {
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            (link.phase, link.since) = (Phase::Ending, now);
            self.actions.push(Action::End(id));
        }
    }

    /// What goes away serves until enough others do; the oldest ends first.
    fn end_the_replaced(&mut self, now: Instant) {
        let leaving = self.links.iter().filter(|l| l.phase == Phase::Leaving);
        let mut leaving: Vec<(Instant, Id)> = leaving.map(|l| (l.since, l.id)).collect();
        let there = self.count(Phase::Open) + leaving.len();
        leaving.sort_unstable();
        for (_, id) in leaving.into_iter().take(there.saturating_sub(self.desired)) {
            self.end(id, now);
        }
    }

    /// Old connections must not heap up behind a server that never answers.
    fn cut_the_lingering(&mut self, now: Instant) {
        let ending = self.links.iter().filter(|l| l.phase == Phase::Ending);
        let mut ending: Vec<(Instant, Id)> = ending.map(|l| (l.since, l.id)).collect();
        ending.sort_unstable();
        let excess = ending.len().saturating_sub(self.settings.max);
        for (at, (since, id)) in ending.into_iter().enumerate() {
            if at < excess || now >= since + END_LIMIT {
                self.links.retain(|link| link.id != id);
                self.actions.push(Action::Cut(id));
            }
        }
    }

    fn dial(&mut self, now: Instant) {
        let there = self.count(Phase::Open) + self.count(Phase::Dialling);
        let missing = self.desired.saturating_sub(there);
        self.owed.sort_unstable();
        self.owed.truncate(missing);
        self.owed.resize(missing, now);
        let due = self.owed.partition_point(|at| *at <= now);
        for slot in 0..due {
            let (links, avoid, random) = (&self.links, &self.avoid, &self.random);
            let busy = |addr| links.iter().filter(|link| link.addr == addr).count();
            match self.endpoints.choose(now, avoid, random, busy) {
                Ok(addr) => {
                    let id = self.next_id;
                    self.next_id += 1;
                    self.links.push(Link {
                        id,
                        addr,
                        server_id: None,
                        phase: Phase::Dialling,
                        since: now,
                    });
                    self.actions.push(Action::Dial(id, addr));
                }
                // All wait; so does the attempt. Without addresses the look-up will wake us.
                Err(at) => {
                    let at = at.unwrap_or(now + self.settings.idle_timeout);
                    self.owed[slot..due].fill(at);
                    self.owed.drain(..slot);
                    return;
                }
            }
        }
        self.owed.drain(..due);
    }

    /// When [`Plan::poll`] has something to do; it may be early, never late.
    pub(crate) fn deadline(&self) -> Instant {
        let ending = self.links.iter().filter(|l| l.phase == Phase::Ending);
        let cut = ending.map(|link| link.since + END_LIMIT);
        let owed = self.owed.iter().copied();
        owed.chain(cut).fold(self.measure_at, Instant::min)
    }

    fn count(&self, phase: Phase) -> usize {
        self.links.iter().filter(|l| l.phase == phase).count()
    }

    fn owe(&mut self, at: Instant) {
        if self.owed.len() < self.settings.max {
            self.owed.push(at);
        }
    }

    fn remove(&mut self, id: Id) -> Option<Link> {
        let at = self.links.iter().position(|link| link.id == id)?;
        Some(self.links.swap_remove(at))
    }
}

#[cfg(test)]
mod tests;
