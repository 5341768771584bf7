//! The endpoints of an upstream, and the choice of one.

use super::balance;
use super::breaker::{BreakerSettings, BreakerState};
use super::ejection::EjectionSettings;
use super::endpoint::{Endpoint, EndpointView, Transport, Unfit, Visit};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Choices that are tried again because somebody else took the probe of a half-open breaker first.
const MAX_CHOICES: usize = 3;

/// Makes what leads to an address.
pub type Connect<T> = Box<dyn Fn(SocketAddr) -> T + Send + Sync>;

/// The endpoints of an upstream.
pub(super) struct Endpoints<T> {
    list: ArcSwap<Vec<Arc<Endpoint<T>>>>,
    connect: Connect<T>,
    breaker: BreakerSettings,
    ejection: EjectionSettings,
    /// Held while it is decided who goes, so that no two go for the same last place.
    ejecting: Mutex<()>,
}

/// Why there is nobody to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nobody {
    /// There are no endpoints, or an operator has taken out all of them.
    There,
    /// The breakers of all that are in the choice are open; the first lets somebody through then.
    Open(Duration),
}

impl<T: Transport> Endpoints<T> {
    pub(super) fn new(
        connect: Connect<T>,
        breaker: BreakerSettings,
        ejection: EjectionSettings,
    ) -> Endpoints<T> {
        Endpoints {
            list: ArcSwap::default(),
            connect,
            breaker,
            ejection,
            ejecting: Mutex::default(),
        }
    }

    /// These are the endpoints now. One that was there before stays as it is, one that goes finishes what it
    /// has under way. Gives whether anything changed. One caller at a time.
    pub(super) fn set(&self, addresses: &[SocketAddr], now: Instant) -> bool {
        let before = self.list.load();
        let same = before
            .iter()
            .map(|one| one.addr)
            .eq(addresses.iter().copied());
        if same {
            return false;
        }
        let endpoint = |addr: &SocketAddr| {
            let known = before.iter().find(|one| one.addr == *addr);
            known.map_or_else(|| Arc::new(self.fresh(*addr, now)), Arc::clone)
        };
        self.list
            .store(Arc::new(addresses.iter().map(endpoint).collect()));
        true
    }

    fn fresh(&self, addr: SocketAddr, now: Instant) -> Endpoint<T> {
        Endpoint::new(addr, (self.connect)(addr), self.breaker, self.ejection, now)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.load().is_empty()
    }

    pub(super) fn all(&self) -> Arc<Vec<Arc<Endpoint<T>>>> {
        self.list.load_full()
    }

    /// Begins an attempt: with a key always at the same endpoint while that is fit, else at the less busy
    /// of two. `tried` are asked only when no other is fit.
    pub(super) fn enter(
        &self,
        key: Option<u64>,
        tried: &[SocketAddr],
        now: Instant,
        mut random: impl FnMut() -> u64,
    ) -> Result<Visit<T>, Nobody> {
        let list = self.list.load();
        if let ([only], None) = (&list[..], key) {
            return only.enter(now).ok_or_else(|| nobody(&list, now));
        }
        for _ in 0..MAX_CHOICES {
            let chosen = match key {
                Some(key) => by_key(&list, key, tried, now),
                None => less_busy(&list, tried, now, &mut random),
            };
            let Some(chosen) = chosen else { break };
            if let Some(visit) = chosen.enter(now) {
                return Ok(visit);
            }
        }
        Err(nobody(&list, now))
    }

    /// Takes an endpoint out that does worse than it should, if enough others are left.
    pub(super) fn eject(&self, endpoint: &Endpoint<T>, now: Instant) -> bool {
        let _one = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let list = self.list.load();
        let out = list.iter().filter(|one| one.is_out(now)).count();
        let may = !endpoint.is_out(now) && self.ejection.allows(out, list.len());
        if may {
            endpoint.eject(now);
        }
        may
    }

    pub(super) fn find(&self, addr: SocketAddr) -> Option<Arc<Endpoint<T>>> {
        let list = self.list.load();
        list.iter().find(|one| one.addr == addr).map(Arc::clone)
    }

    pub(super) fn views(&self, now: Instant) -> Vec<EndpointView> {
        self.list.load().iter().map(|one| one.view(now)).collect()
    }

    /// How many breakers are closed, half open, open.
    pub(super) fn breakers(&self, now: Instant) -> [usize; 3] {
        let mut counts = [0; 3];
        for endpoint in self.list.load().iter() {
            let at = match endpoint.breaker(now) {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            counts[at] += 1;
        }
        counts
    }
}

type List<T> = [Arc<Endpoint<T>>];

fn by_key<'l, T: Transport>(
    list: &'l List<T>,
    key: u64,
    tried: &[SocketAddr],
    now: Instant,
) -> Option<&'l Arc<Endpoint<T>>> {
    let fit = list.iter().filter(|one| one.fit(now).is_ok());
    // Untried before tried, and those that leave last.
    fit.max_by_key(|one| (wanted(one, tried), balance::weight(key, one.key)))
}

fn less_busy<'l, T: Transport>(
    list: &'l List<T>,
    tried: &[SocketAddr],
    now: Instant,
    random: &mut impl FnMut() -> u64,
) -> Option<&'l Arc<Endpoint<T>>> {
    let random = random();
    let (a, b) = balance::two_of(list.len(), random);
    // Mostly both are fit, and no list of those who are needs to be made.
    let is_wanted =
        |one: &Arc<Endpoint<T>>| one.fit(now).is_ok() && wanted(one, tried) == MOST_WANTED;
    if let (Some(a), Some(b)) = (list.get(a), list.get(b))
        && is_wanted(a)
        && is_wanted(b)
    {
        return Some(lesser(a, b));
    }
    let mut fit: Vec<_> = list.iter().filter(|one| one.fit(now).is_ok()).collect();
    let most = fit.iter().map(|one| wanted(one, tried)).max()?;
    fit.retain(|one| wanted(one, tried) == most);
    let (a, b) = balance::two_of(fit.len(), random);
    Some(lesser(fit.get(a)?, fit.get(b)?))
}

/// What an endpoint is chosen by before anything else: not yet tried, and then welcoming.
fn wanted<T: Transport>(one: &Endpoint<T>, tried: &[SocketAddr]) -> (bool, bool) {
    (!tried.contains(&one.addr), one.transport.is_welcoming())
}

const MOST_WANTED: (bool, bool) = (true, true);

fn lesser<'l, T: Transport>(
    a: &'l Arc<Endpoint<T>>,
    b: &'l Arc<Endpoint<T>>,
) -> &'l Arc<Endpoint<T>> {
    match a.in_flight() <= b.in_flight() {
        true => a,
        false => b,
    }
}

fn nobody<T: Transport>(list: &List<T>, now: Instant) -> Nobody {
    let open = list.iter().filter_map(|one| match one.fit(now) {
        Err(Unfit::Open(until)) => Some(until),
        _ => None,
    });
    open.min().map_or(Nobody::There, |until| {
        Nobody::Open(until.saturating_duration_since(now))
    })
}

#[cfg(test)]
mod tests {
    use super::super::attempt::Fate;
    use super::super::ejection::Place;
    use super::super::endpoint::Connections;
    use super::*;

    struct Wire;

    impl Transport for Wire {
        fn connections(&self) -> Connections {
            Connections::default()
        }

        fn upkeep(&self, _: Instant) {}
    }

    const EJECTION: EjectionSettings = EjectionSettings {
        consecutive: 3,
        percent: 50,
        least: 10,
        window: Duration::from_secs(10),
        base: Duration::from_secs(30),
        max: Duration::from_secs(300),
        max_percent: 50,
    };

    const BREAKER: BreakerSettings = BreakerSettings {
        consecutive: 4,
        percent: 0,
        least: 10,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        probes: 1,
    };

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn some(n: u16, now: Instant) -> Endpoints<Wire> {
        let endpoints = Endpoints::new(Box::new(|_| Wire), BREAKER, EJECTION);
        let addresses: Vec<_> = (1..=n).map(addr).collect();
        assert!(endpoints.set(&addresses, now));
        endpoints
    }

    /// One attempt; who was asked.
    fn ask(
        endpoints: &Endpoints<Wire>,
        now: Instant,
        random: u64,
        well: impl Fn(SocketAddr) -> bool,
    ) -> Result<SocketAddr, Nobody> {
        let mut at = random;
        let next = || {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at
        };
        let mut visit = endpoints.enter(None, &[], now, next)?;
        let endpoint = Arc::clone(&visit.endpoint);
        let well = well(endpoint.addr);
        if visit.end(Some(Fate::Answered { well }), now) {
            endpoints.eject(&endpoint, now);
        }
        Ok(endpoint.addr)
    }

    fn random(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 40)
    }

    #[test]
    fn the_less_busy_of_two_is_asked() {
        let now = Instant::now();
        let endpoints = some(2, now);
        let first = endpoints.enter(None, &[], now, || 1).ok().unwrap();
        for n in 0..20 {
            let other = endpoints.enter(None, &[], now, || random(n)).ok().unwrap();
            assert_ne!(other.endpoint.addr, first.endpoint.addr);
        }
        assert_eq!(first.endpoint.in_flight(), 1, "the others were given up");
    }

    #[test]
    fn one_that_fails_is_out_for_a_while_and_half_of_them_at_most() {
        let mut now = Instant::now();
        let endpoints = some(4, now);
        let bad = |one: SocketAddr| one.port() > 2;
        for n in 0..200 {
            ask(&endpoints, now, random(n), |one| one == addr(1)).unwrap();
        }
        let out = |now| {
            let views = endpoints.views(now);
            let out = views.into_iter().filter(|view| view.place != Place::In);
            out.map(|view| view.addr).collect::<Vec<_>>()
        };
        assert_eq!(out(now).len(), 2, "three do badly, two may go");
        assert!(!out(now).contains(&addr(1)));
        now += Duration::from_secs(31);
        assert_eq!(out(now), []);
        let seen = (200..400).map(|n| ask(&endpoints, now, random(n), |one| !bad(one)));
        let seen: Vec<_> = seen.map(Result::unwrap).collect();
        assert!(seen.contains(&addr(2)), "it is asked again");
    }

    #[test]
    fn the_breaker_of_the_last_one_opens_and_says_for_how_long() {
        let now = Instant::now();
        let endpoints = some(1, now);
        for n in 0..4 {
            ask(&endpoints, now, n, |_| false).unwrap();
        }
        let refused = ask(&endpoints, now, 0, |_| true);
        assert_eq!(refused, Err(Nobody::Open(BREAKER.open_for)));
        let later = now + BREAKER.open_for;
        assert!(ask(&endpoints, later, 0, |_| true).is_ok());
        assert_eq!(endpoints.breakers(later), [1, 0, 0]);
        endpoints.find(addr(1)).unwrap().remove();
        assert_eq!(ask(&endpoints, later, 0, |_| true), Err(Nobody::There));
        endpoints.find(addr(1)).unwrap().restore(later);
        assert!(ask(&endpoints, later, 0, |_| true).is_ok());
    }

    #[test]
    fn a_key_stays_where_it_is_and_what_stays_keeps_its_state() {
        let now = Instant::now();
        let endpoints = some(5, now);
        let of = |key: u64| {
            let visit = endpoints.enter(Some(key), &[], now, || 0).ok().unwrap();
            visit.endpoint.addr
        };
        let before: Vec<_> = (0..100).map(|n| of(random(n))).collect();
        let gone = addr(3);
        let left: Vec<_> = (1..=5).map(addr).filter(|one| *one != gone).collect();
        let kept = endpoints.find(addr(2)).unwrap();
        endpoints.set(&left, now);
        assert!(Arc::ptr_eq(&kept, &endpoints.find(addr(2)).unwrap()));
        assert!(!endpoints.set(&left, now));
        for (n, before) in before.into_iter().enumerate() {
            let after = of(random(n as u64));
            assert!(after == before || before == gone);
        }
    }

    #[test]
    fn who_was_tried_is_asked_only_if_nobody_else_is_fit() {
        let now = Instant::now();
        let endpoints = some(3, now);
        for n in 0..50 {
            for key in [None, Some(random(n))] {
                let tried = [addr(1), addr(2)];
                let visit = endpoints.enter(key, &tried, now, || random(n));
                assert_eq!(visit.ok().unwrap().endpoint.addr, addr(3));
                let all = [addr(1), addr(2), addr(3)];
                assert!(endpoints.enter(key, &all, now, || random(n)).is_ok());
            }
        }
    }

    /// A connection that knows whether its server leaves.
    struct Knowing(SocketAddr);

    impl Transport for Knowing {
        fn connections(&self) -> Connections {
            Connections::default()
        }

        fn upkeep(&self, _: Instant) {}

        fn is_welcoming(&self) -> bool {
            self.0 != addr(1)
        }
    }

    #[test]
    fn who_leaves_is_asked_only_if_nobody_else_is_fit() {
        let now = Instant::now();
        let endpoints = Endpoints::new(Box::new(Knowing), BREAKER, EJECTION);
        endpoints.set(&[addr(1), addr(2), addr(3)], now);
        let asked = |tried: &[SocketAddr], key, n| {
            let visit = endpoints.enter(key, tried, now, || random(n));
            visit.ok().unwrap().endpoint.addr
        };
        for n in 0..50 {
            for key in [None, Some(random(n))] {
                assert_ne!(asked(&[], key, n), addr(1));
                assert_eq!(asked(&[addr(2), addr(3)], key, n), addr(1));
            }
        }
    }
}
