//! Requests through their attempts, with time that is paused and upstreams that are functions.

use super::*;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Wire;

impl Transport for Wire {
    fn connections(&self) -> Connections {
        Connections::default()
    }

    fn upkeep(&self, _: Instant) {}
}

fn of(settings: Settings, endpoints: u16) -> Arc<Upstream<Wire>> {
    let hosts = (1..=endpoints).map(|n| ("10.0.0.1".to_owned(), n));
    let names = Names::new(hosts.collect(), Arc::new(SystemResolver));
    let stats = Arc::default();
    Upstream::new("test", settings, Arc::new(names), Box::new(|_| Wire), stats)
}

fn order() -> Order {
    Order {
        key: None,
        deadline: now() + Duration::from_secs(60),
    }
}

const WELL: Fate = Fate::Answered { well: true };

fn tried(fate: Fate, answer: &'static str) -> Tried<&'static str> {
    Tried { fate, answer }
}

/// Attempts that end as `fates` say, one after the other; how often there was one.
async fn through(upstream: &Arc<Upstream<Wire>>, fates: &[Fate]) -> (Ran<Fate>, usize) {
    let made = AtomicUsize::new(0);
    let ran = upstream
        .run(order(), |given| {
            let n = made.fetch_add(1, Ordering::Relaxed);
            let fate = *fates.get(n).expect("no more attempts than fates");
            async move {
                given.sent().set();
                Tried { fate, answer: fate }
            }
        })
        .await;
    (ran, made.load(Ordering::Relaxed))
}

fn idempotent() -> Settings {
    Settings {
        idempotent: true,
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_executed_is_tried_again_at_another_endpoint() {
    let upstream = of(Settings::default(), 2);
    let seen = Mutex::new(Vec::new());
    let ran = upstream.run(order(), |given| {
        let mut seen = seen.lock().unwrap();
        seen.push(given.endpoint.addr);
        let fate = if seen.len() < 2 { Fate::NotSent } else { WELL };
        async move { tried(fate, "done") }
    });
    let ran = ran.await;
    assert!(matches!(ran.end, End::Answer("done")));
    assert!(!ran.unknown);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_is_tried_again_only_if_that_does_no_harm() {
    let (ran, made) = through(&of(Settings::default(), 1), &[Fate::Unknown]).await;
    assert!(matches!(ran.end, End::Answer(Fate::Unknown)) && ran.unknown);
    assert_eq!(made, 1);
    let fates = [Fate::Unknown, Fate::NotSent, Fate::NotSent];
    let (ran, made) = through(&of(idempotent(), 1), &fates).await;
    assert_eq!(made, 3);
    assert!(matches!(ran.end, End::Answer(Fate::NotSent)));
    assert!(ran.unknown, "the first one may have been executed");
    let (ran, made) = through(&of(idempotent(), 1), &[Fate::Answered { well: false }]).await;
    assert!(!ran.unknown);
    assert_eq!(made, 1, "an answer is an answer");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_unknown_only_if_it_was_sent() {
    for sends in [true, false] {
        let upstream = of(Settings::default(), 1);
        let ran = upstream.run(order(), |given| async move {
            if sends {
                given.sent().set();
            }
            std::future::pending::<Tried<()>>().await
        });
        let ran = ran.await;
        assert!(matches!(ran.end, End::TimedOut));
        assert_eq!(ran.unknown, sends);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_fails_is_not_asked_much_more_often_for_failing() {
    let never = BreakerSettings {
        consecutive: 0,
        percent: 0,
        ..BreakerSettings::default()
    };
    let settings = Settings {
        breaker: never,
        max_running: 10_000,
        ..idempotent()
    };
    let upstream = of(settings, 3);
    let attempts = Arc::new(AtomicUsize::new(0));
    let began = tokio::time::Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..2000_u32 {
        let (upstream, attempts) = (Arc::clone(&upstream), Arc::clone(&attempts));
        requests.spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(n) * 5)).await;
            let fate = if n % 2 == 0 {
                Fate::NotSent
            } else {
                Fate::Unknown
            };
            let ran = upstream.run(order(), |_| {
                attempts.fetch_add(1, Ordering::Relaxed);
                async move { tried(fate, "") }
            });
            ran.await;
        });
    }
    requests.join_all().await;
    let seconds = began.elapsed().as_secs() as usize + 1;
    let attempts = attempts.load(Ordering::Relaxed);
    // The floor counts for the window before the first request, too.
    let most = 2400 + 10 * (seconds + 10);
    assert!(attempts <= most, "{attempts} attempts, {most} allowed");
    assert!(attempts > 2300, "{attempts}: some are tried again");
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_told_so_at_once() {
    let settings = Settings {
        max_running: 1,
        max_pending: 1,
        ..Settings::default()
    };
    let upstream = of(settings, 1);
    let hang = async |upstream: Arc<Upstream<Wire>>| {
        let hang = upstream.run(order(), |_| std::future::pending::<Tried<()>>());
        hang.await
    };
    let mut running = Box::pin(hang(Arc::clone(&upstream)));
    let mut waiting = Box::pin(hang(Arc::clone(&upstream)));
    let soon = Duration::from_millis(1);
    assert!(tokio::time::timeout(soon, &mut running).await.is_err());
    assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
    assert_eq!(upstream.pending(), 1);
    let refused = hang(Arc::clone(&upstream)).await;
    assert!(matches!(
        refused.end,
        End::Refused(Refusal::Overloaded { .. })
    ));
    assert!(!refused.unknown);
    drop(running);
    assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
    assert_eq!(
        (upstream.pending(), upstream.endpoints()[0].in_flight),
        (0, 1)
    );
    drop(waiting);
    assert_eq!(upstream.endpoints()[0].in_flight, 0, "given up");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_answers_for_one_that_hangs() {
    let settings = Settings {
        hedge: Some(Duration::from_millis(50)),
        ..idempotent()
    };
    let upstream = of(settings, 2);
    let hung: Mutex<Option<SocketAddr>> = Mutex::new(None);
    let began = tokio::time::Instant::now();
    let ran = upstream.run(order(), |given| {
        let mut hung = hung.lock().unwrap();
        let hangs = *hung.get_or_insert(given.endpoint.addr) == given.endpoint.addr;
        async move {
            given.sent().set();
            if hangs {
                std::future::pending::<()>().await;
            }
            tried(WELL, "from the other")
        }
    });
    assert!(matches!(ran.await.end, End::Answer("from the other")));
    assert_eq!(began.elapsed(), Duration::from_millis(50));
    assert!(upstream.endpoints().iter().all(|view| view.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn retries_end_with_the_deadline() {
    let mut settings = idempotent();
    settings.retry.attempts = 1000;
    settings.retry.budget.per_second = 1000;
    settings.breaker.consecutive = 0;
    settings.breaker.percent = 0;
    let upstream = of(settings, 1);
    let deadline = now() + Duration::from_secs(5);
    let order = Order {
        key: None,
        deadline,
    };
    let ran = upstream.run(order, |_| async { tried(Fate::NotSent, "unreachable") });
    let ran = tokio::time::timeout(Duration::from_secs(6), ran)
        .await
        .unwrap();
    assert!(matches!(ran.end, End::Answer("unreachable")));
}

/// Addresses that a test sets.
#[derive(Default)]
struct Zone(Mutex<Vec<IpAddr>>);

impl Zone {
    fn set(&self, ips: &[&str]) {
        *self.0.lock().unwrap() = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    }
}

impl Resolve for Zone {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let ips = self.0.lock().unwrap().clone();
        let found = ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_in_time_and_sooner_when_nobody_is_there() {
    let zone = Arc::new(Zone::default());
    let hosts = vec![("orders".to_owned(), 80)];
    let names = Names::new(hosts, Arc::clone(&zone) as Arc<dyn Resolve>);
    let settings = Settings {
        resolve_every: Duration::from_secs(30),
        ..Settings::default()
    };
    let stats = Arc::default();
    let upstream = Upstream::new("test", settings, Arc::new(names), Box::new(|_| Wire), stats);
    let shown = |upstream: &Arc<Upstream<Wire>>| {
        let views = Care::endpoints(upstream).into_iter();
        views
            .map(|view| view.addr.ip().to_string())
            .collect::<Vec<_>>()
    };
    let ask = async |fate| {
        upstream
            .run(order(), |_| async move { tried(fate, "") })
            .await
    };
    let ran = ask(WELL).await;
    assert!(matches!(ran.end, End::Refused(Refusal::NoEndpoint)));
    zone.set(&["10.0.0.1", "10.0.0.2"]);
    tokio::time::sleep(Duration::from_secs(32)).await;
    assert_eq!(shown(&upstream), ["10.0.0.1", "10.0.0.2"]);
    assert!(matches!(ask(WELL).await.end, End::Answer(_)));

    zone.set(&["10.0.0.2", "10.0.0.3"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shown(&upstream), ["10.0.0.1", "10.0.0.2"]);
    ask(Fate::NotSent).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(shown(&upstream), ["10.0.0.2", "10.0.0.3"]);
}

/// A first attempt that its caller makes ends like this.
fn first(
    upstream: &Arc<Upstream<Wire>>,
    fate: Fate,
) -> (Trip<Wire>, Result<Ran<Fate>, Further<Fate>>) {
    let mut trip = Arc::clone(upstream).set_out(order());
    assert!(trip.endpoint().is_some());
    trip.sent();
    let ended = trip.ended(Tried { fate, answer: fate });
    (trip, ended)
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_by_the_caller_is_judged_like_any_other() {
    let mut settings = Settings::default();
    settings.breaker.consecutive = 3;
    let upstream = of(settings, 1);
    let (_, well) = first(&upstream, WELL);
    assert!(!well.ok().unwrap().unknown);
    let (_, given_up) = first(&upstream, Fate::GivenUp);
    assert!(given_up.ok().unwrap().unknown);
    for fate in [Fate::Unknown, Fate::TimedOut, Fate::Unknown] {
        let (trip, lost) = first(&upstream, fate);
        let further = lost.expect_err("the upstream decides what follows");
        let ran = trip.further(further, |_| async {
            unreachable!("it may not be repeated")
        });
        assert!(ran.await.unknown);
    }
    let trip = Arc::clone(&upstream).set_out(order());
    assert!(trip.endpoint().is_none(), "the breaker is open");
    let ran = trip.run(|_| async { unreachable!("nobody may be asked") as Tried<()> });
    let end = ran.await.end;
    assert!(matches!(end, End::Refused(Refusal::CircuitOpen { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_first_attempt_goes_to_somebody_else() {
    let upstream = of(Settings::default(), 2);
    for _ in 0..20 {
        let mut trip = Arc::clone(&upstream).set_out(order());
        let asked = trip.endpoint().unwrap().addr;
        trip.sent();
        let refused = Fate::Refused { retry_after: None };
        let further = trip.ended(tried(refused, "not now")).err().unwrap();
        let ran = trip.further(further, |given: Try<Wire>| async move {
            assert_ne!(given.endpoint.addr, asked);
            tried(WELL, "done")
        });
        assert!(matches!(ran.await.end, End::Answer("done")));
        // The budget is for one in ten.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trip_that_is_dropped_gives_its_place_back_and_one_that_may_be_hedged_is_not_the_callers()
{
    let one = Settings {
        max_running: 1,
        ..Settings::default()
    };
    let upstream = of(one, 1);
    let mut trip = Arc::clone(&upstream).set_out(order());
    trip.sent();
    assert!(Arc::clone(&upstream).set_out(order()).endpoint().is_none());
    drop(trip);
    assert!(Arc::clone(&upstream).set_out(order()).endpoint().is_some());
    let hedged = Settings {
        hedge: Some(Duration::from_millis(5)),
        ..idempotent()
    };
    assert!(of(hedged, 2).set_out(order()).endpoint().is_none());
}
