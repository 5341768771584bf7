use super::*;
use crate::throttle::ConnectLimit;
use std::collections::BTreeMap;

fn settings() -> PlanSettings {
    PlanSettings {
        min: 1,
        max: 4,
        pending: 20,
        idle_timeout: Duration::from_secs(30),
        backoff: Backoff {
            first: Duration::from_millis(100),
            cap: Duration::from_secs(5),
        },
    }
}

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// A plan and a clock.
struct World {
    plan: Plan,
    now: Instant,
    peaks: BTreeMap<Id, usize>,
}

impl World {
    fn new(settings: PlanSettings, addrs: &[u16]) -> World {
        World::seeded(settings, addrs, 1)
    }

    fn seeded(settings: PlanSettings, addrs: &[u16], seed: u64) -> World {
        let now = Instant::now();
        let mut plan = Plan::new(settings, Random::seeded(seed), now);
        let addrs: Vec<SocketAddr> = addrs.iter().copied().map(addr).collect();
        plan.resolved(&addrs, now);
        let peaks = BTreeMap::new();
        World { plan, now, peaks }
    }

    fn poll(&mut self) -> Vec<Action> {
        let peaks = &self.peaks;
        let peak = |id| peaks.get(&id).copied().unwrap_or(0);
        let mut actions = self.plan.poll(self.now, peak);
        actions.retain(|action| *action != Action::Resolve);
        actions
    }

    /// Lets time pass until there is something to do, or `most` of it.
    fn pass(&mut self, most: Duration) -> Vec<Action> {
        let end = self.now + most;
        loop {
            let actions = self.poll();
            if !actions.is_empty() || self.now >= end {
                return actions;
            }
            let next = self.plan.deadline().min(end);
            assert!(next > self.now, "a plan that wakes for nothing");
            self.now = next;
        }
    }

    /// The one attempt that comes within `most`: which connection it is to be, and where.
    fn dialled(&mut self, most: Duration) -> (Id, u16) {
        match self.pass(most)[..] {
            [Action::Dial(id, addr)] => (id, addr.port()),
            ref other => panic!("{other:?} instead of one attempt"),
        }
    }

    fn open(&mut self) -> (Id, u16) {
        let (id, at) = self.dialled(Duration::from_secs(60));
        assert!(self.plan.opened(id, Some(&format!("s{at}")), self.now));
        (id, at)
    }

    fn record(proved: bool) -> Record {
        Record {
            proved,
            retry_after: None,
        }
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn the_first_connection_is_opened_at_once_and_kept() {
    let mut world = World::new(settings(), &[1]);
    assert_eq!(world.poll(), [Action::Dial(1, addr(1))]);
    assert!(world.plan.opened(1, None, world.now));
    assert_eq!(world.pass(HOUR), []);
}

#[test]
fn without_a_minimum_nothing_is_opened_until_a_call_waits() {
    let mut world = World::new(
        PlanSettings {
            min: 0,
            ..settings()
        },
        &[1],
    );
    assert_eq!(world.pass(HOUR), []);
    world.plan.wait();
    let (id, _) = world.open();
    // And it is closed when nobody has used it for a while.
    assert_eq!(world.pass(2 * settings().idle_timeout), [Action::End(id)]);
    world.plan.closed(id, World::record(true), world.now);
    assert_eq!(world.pass(HOUR), []);
}

#[test]
fn it_grows_one_at_a_time_to_its_bound_and_shrinks_to_what_was_needed() {
    let mut world = World::new(settings(), &[1, 2]);
    let mut ids = vec![world.open().0];
    for _ in 1..4 {
        assert!(world.plan.may_grow());
        world.plan.grow();
        assert!(!world.plan.may_grow(), "one is on its way");
        ids.push(world.open().0);
    }
    assert!(!world.plan.may_grow());
    world.plan.grow();
    assert_eq!(world.poll(), []);
    // 25 at a time need two connections.
    world.peaks = ids.iter().map(|id| (*id, 0)).collect();
    world.peaks.extend([(ids[1], 15), (ids[3], 10)]);
    let ended = world.pass(HOUR);
    assert_eq!(ended, [Action::End(ids[0]), Action::End(ids[2])]);
    for id in [ids[0], ids[2]] {
        world.plan.closed(id, World::record(true), world.now);
    }
    // Both are still needed, so nothing changes; then one is enough.
    assert_eq!(world.pass(HOUR), []);
    world.peaks.clear();
    assert_eq!(world.pass(HOUR).len(), 1);
}

#[test]
fn a_growing_pool_spreads_over_the_servers() {
    let mut world = World::new(settings(), &[1, 2]);
    let mut count = BTreeMap::new();
    for _ in 0..4 {
        *count.entry(world.open().1).or_insert(0) += 1;
        world.plan.grow();
    }
    assert_eq!(count, BTreeMap::from([(1, 2), (2, 2)]));
}

#[test]
fn a_goaway_is_followed_by_a_new_connection_and_then_by_the_end_of_the_old() {
    let mut world = World::new(settings(), &[1, 2]);
    let (old, at) = world.open();
    let record = Record {
        proved: true,
        retry_after: Some(SECOND),
    };
    let asked = world.now;
    world.plan.going_away(old, true, record, world.now);
    let (new, other) = world.dialled(3 * SECOND);
    assert_ne!(at, other);
    let waited = world.now - asked;
    assert!((SECOND..=2 * SECOND).contains(&waited), "{waited:?}");
    assert_eq!(world.poll(), [], "the old one serves until then");
    assert!(world.plan.opened(new, Some("other"), world.now));
    assert_eq!(world.poll(), [Action::End(old)]);
    world.plan.closed(old, World::record(true), world.now);
    assert_eq!(world.pass(HOUR), []);
}

#[test]
fn a_server_that_drains_is_avoided_for_a_minute_if_there_is_another() {
    let mut world = World::new(settings(), &[1, 2]);
    let (first, drained) = world.open();
    world
        .plan
        .going_away(first, true, World::record(true), world.now);
    let (second, other) = world.open();
    assert_ne!(drained, other);
    world.poll();
    world.plan.closed(first, World::record(true), world.now);
    // The other is lost, and is still the better choice; when it fails, the first is better than
    // nothing.
    world.plan.closed(second, World::record(true), world.now);
    let (third, at) = world.dialled(SECOND);
    assert_eq!(at, other);
    world.plan.failed(third, false, None, world.now);
    let (fourth, at) = world.dialled(SECOND);
    assert_eq!(at, drained);
    assert!(world.plan.opened(fourth, Some("s"), world.now));
}

#[test]
fn of_two_that_drained_the_first_is_the_most_likely_to_be_back() {
    for seed in 0..20 {
        let mut world = World::seeded(settings(), &[1, 2], seed);
        let (first, at) = world.open();
        world
            .plan
            .going_away(first, true, World::record(true), world.now);
        let (second, _) = world.open();
        world.poll();
        world.plan.closed(first, World::record(true), world.now);
        world.later(SECOND);
        world
            .plan
            .going_away(second, true, World::record(true), world.now);
        assert_eq!(world.open().1, at);
    }
}

#[test]
fn behind_one_address_a_server_to_avoid_is_better_than_none() {
    let mut world = World::new(settings(), &[1]);
    let (first, _) = world.open();
    world
        .plan
        .going_away(first, true, World::record(true), world.now);
    let (second, _) = world.dialled(SECOND);
    assert!(world.plan.opened(second, Some("s1"), world.now));
}

#[test]
fn a_server_to_avoid_that_turns_up_at_another_address_is_left_again() {
    let mut world = World::new(settings(), &[1, 2, 3]);
    let (first, at) = world.open();
    world
        .plan
        .going_away(first, true, World::record(true), world.now);
    let (second, other) = world.dialled(SECOND);
    assert!(
        !world
            .plan
            .opened(second, Some(&format!("s{at}")), world.now)
    );
    let (third, last) = world.dialled(SECOND);
    assert_eq!(at + other + last, 6, "each of the three once");
    assert!(world.plan.opened(third, Some("s3"), world.now));
}

#[test]
fn every_attempt_waits_and_the_pauses_grow_to_the_cap() {
    let mut world = World::new(settings(), &[1]);
    let (mut waits, mut last) = (Vec::new(), world.now);
    for _ in 0..200 {
        let (id, _) = world.dialled(HOUR);
        waits.push(world.now - last);
        last = world.now;
        world.plan.failed(id, false, None, world.now);
    }
    let cap = settings().backoff.cap;
    assert!(waits.iter().all(|wait| *wait <= cap), "{waits:?}");
    assert!(waits[1] <= Duration::from_millis(100));
    let mean = waits[10..].iter().sum::<Duration>() / 190;
    assert!((2 * SECOND..3 * SECOND).contains(&mean), "{mean:?}");
}

#[test]
fn a_lost_connection_is_opened_anew_after_a_short_pause() {
    let mut pauses = BTreeMap::new();
    for seed in 0..100 {
        let mut world = World::seeded(settings(), &[1], seed);
        let (id, _) = world.open();
        world.plan.closed(id, World::record(true), world.now);
        let lost = world.now;
        world.dialled(Duration::from_millis(100));
        *pauses
            .entry((world.now - lost).as_millis() / 25)
            .or_insert(0) += 1;
    }
    assert_eq!(pauses.len(), 4, "spread over the whole pause: {pauses:?}");
}

#[test]
fn retry_after_is_obeyed_up_to_a_bound_and_only_at_its_own_address() {
    let ages = Some(Duration::from_millis(u32::MAX.into()));
    let mut world = World::new(settings(), &[1]);
    let (id, _) = world.dialled(SECOND);
    world.plan.failed(id, false, ages, world.now);
    let refused = world.now;
    let (id, _) = world.dialled(HOUR);
    let waited = world.now - refused;
    assert!(
        (MAX_REDIAL_AFTER..=2 * MAX_REDIAL_AFTER).contains(&waited),
        "{waited:?}"
    );
    let both = [addr(1), addr(2)];
    world.plan.resolved(&both, world.now);
    world.plan.failed(id, false, ages, world.now);
    assert_eq!(world.dialled(SECOND).1, 2);
}

#[test]
fn a_goaway_that_asks_for_ages_does_not_outlive_its_connection() {
    let mut world = World::new(settings(), &[1, 2]);
    let (old, at) = world.open();
    let record = Record {
        proved: true,
        retry_after: Some(HOUR),
    };
    world.plan.going_away(old, true, record, world.now);
    assert_eq!(world.pass(SECOND), []);
    world.plan.closed(old, World::record(true), world.now);
    assert_ne!(world.dialled(SECOND).1, at);
}

#[test]
fn a_refusing_connection_is_ended_and_replaced_at_once() {
    let mut world = World::new(settings(), &[1, 2]);
    let (old, at) = world.open();
    let record = Record {
        proved: true,
        retry_after: Some(HOUR),
    };
    world.plan.going_away(old, true, record, world.now);
    world.plan.refuses(old, World::record(true), world.now);
    assert_eq!(world.poll(), [Action::End(old)]);
    assert_ne!(world.dialled(SECOND).1, at);
    world.plan.refuses(old, World::record(true), world.now);
    assert_eq!(world.poll(), [], "once is enough");
}

/// A server that sends GOAWAY as soon as it has said HELLO.
#[test]
fn a_loop_of_goaways_is_slowed_down_and_heaps_nothing_up() {
    let mut world = World::new(settings(), &[1]);
    let (start, mut dials, mut ended) = (world.now, 0, 0);
    while world.now < start + HOUR {
        for action in world.pass(HOUR) {
            match action {
                Action::Dial(id, _) => {
                    dials += 1;
                    assert!(world.plan.opened(id, Some("s"), world.now));
                    let record = World::record(false);
                    world.plan.going_away(id, true, record, world.now);
                }
                Action::End(_) => ended += 1,
                Action::Cut(_) => {}
                Action::Resolve => unreachable!(),
            }
        }
        // Those that end are never gone; even so there are few.
        assert!(world.plan.links.len() <= 2 * settings().max + 1);
        assert!(world.plan.owed.len() <= settings().max);
    }
    // Half the cap is the mean pause.
    assert!((1000..2500).contains(&dials), "{dials} in an hour");
    // The last two are not told yet.
    assert!(ended >= dials - 2);
}

#[test]
fn a_server_that_hangs_up_on_everyone_is_asked_ever_less_but_one_that_works_is_forgiven() {
    let mut dials = Vec::new();
    for proved in [false, true] {
        let mut world = World::new(settings(), &[1]);
        let (start, mut count) = (world.now, 0);
        while world.now < start + HOUR {
            let (id, _) = world.open();
            count += 1;
            world.later(Duration::from_millis(10));
            world.plan.closed(id, World::record(proved), world.now);
        }
        dials.push(count);
    }
    assert!((1000..2500).contains(&dials[0]), "{dials:?}");
    assert!(dials[1] > 10_000, "{dials:?}");
}

#[test]
fn what_never_ends_is_cut() {
    let mut world = World::new(settings(), &[1, 2]);
    let (old, _) = world.open();
    world
        .plan
        .going_away(old, false, World::record(true), world.now);
    world.open();
    let mut seen = world.poll();
    seen.extend(world.pass(HOUR));
    assert_eq!(seen, [Action::End(old), Action::Cut(old)]);
}

#[test]
fn clients_that_nobody_will_have_are_told_so() {
    let mut world = World::new(settings(), &[1, 2]);
    let (first, _) = world.dialled(SECOND);
    world.plan.failed(first, true, None, world.now);
    assert!(!world.plan.is_hopeless());
    let (second, _) = world.dialled(SECOND);
    world.plan.failed(second, true, None, world.now);
    assert!(world.plan.is_hopeless());
    // They go on trying, as somebody may mend it.
    let (third, _) = world.dialled(HOUR);
    assert!(world.plan.opened(third, None, world.now));
    assert!(!world.plan.is_hopeless());
}

#[test]
fn addresses_come_and_go() {
    let mut world = World::new(settings(), &[]);
    assert_eq!(world.pass(SECOND), []);
    world.plan.resolved(&[addr(1)], world.now);
    assert_eq!(world.dialled(Duration::ZERO).1, 1);
    // A look-up that finds nothing changes nothing.
    world.plan.resolved(&[], world.now);
    world.plan.failed(1, false, None, world.now);
    assert_eq!(world.dialled(HOUR).1, 1);
    world.plan.resolved(&[addr(2)], world.now);
    world.plan.failed(2, false, None, world.now);
    assert_eq!(world.dialled(HOUR).1, 2);
    let many: Vec<SocketAddr> = (0..10_000).map(addr).collect();
    world.plan.resolved(&many, world.now);
    assert_eq!(world.plan.endpoints.len(), 256);
}

/// A thousand clients lose their server at once, and it stays away for a minute.
#[test]
fn a_thousand_clients_come_back_evenly_and_under_their_bound() {
    let (rate, start) = (100, Instant::now());
    let limit = ConnectLimit::per_second(rate);
    let back = start + Duration::from_secs(60);
    let mut worlds: Vec<World> = (0..1000)
        .map(|seed| {
            let mut world = World::seeded(settings(), &[1], seed);
            let (id, _) = world.open();
            world.now = start;
            world.plan.closed(id, World::record(true), start);
            world
        })
        .collect();
    // What happens next, in the order of time.
    let mut due: std::collections::BTreeSet<(Instant, usize, Option<Id>)> =
        (0..1000).map(|n| (start, n, None)).collect();
    let (mut per_second, mut open) = (BTreeMap::<u64, u32>::new(), 0);
    while let Some((now, n, dialling)) = due.pop_first() {
        let world = &mut worlds[n];
        world.now = now;
        if let Some(id) = dialling {
            *per_second.entry((now - start).as_secs()).or_insert(0) += 1;
            if now >= back {
                assert!(world.plan.opened(id, None, now));
                open += 1;
                continue;
            }
            world.plan.failed(id, false, None, now);
        }
        let actions = world.poll();
        if actions.is_empty() {
            due.insert((world.plan.deadline(), n, None));
        }
        for action in actions {
            if let Action::Dial(id, _) = action {
                due.insert((now + limit.reserve(now), n, Some(id)));
            }
        }
    }
    assert_eq!(open, 1000);
    let most = per_second.values().max().unwrap();
    assert!(*most <= rate + rate / 10, "{per_second:?}");
    let busy = per_second.range(1..60).map(|(_, count)| *count);
    assert!(busy.min().unwrap() >= rate * 8 / 10, "{per_second:?}");
    let last = per_second.last_key_value().unwrap().0;
    assert!(*last < 80, "all are back soon: {per_second:?}");
}
