use super::*;

fn gate(running: usize, waiting: usize) -> Arc<Gate> {
    Arc::new(Gate::new(Limits { running, waiting }, Arc::default()))
}

fn enter(gate: &Arc<Gate>, priority: u8) -> Entered {
    gate.enter(priority, Instant::now())
}

fn admitted(gate: &Arc<Gate>, priority: u8) -> Permit {
    match enter(gate, priority) {
        Entered::Admitted(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn waiting(gate: &Arc<Gate>, priority: u8) -> Ticket {
    match enter(gate, priority) {
        Entered::Waiting(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn is_served(ticket: &mut Ticket) -> Option<Permit> {
    ticket.receiver.try_recv().ok().and_then(Result::ok)
}

fn far() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}

#[test]
fn a_freed_place_goes_to_the_most_urgent() {
    let gate = gate(1, 10);
    let first = admitted(&gate, 0);
    let (mut low, mut high) = (waiting(&gate, 0), waiting(&gate, 6));
    assert!(is_served(&mut high).is_none());
    drop(first);
    let permit = is_served(&mut high).unwrap();
    assert!(is_served(&mut low).is_none());
    drop(permit);
    assert!(is_served(&mut low).is_some());
}

#[test]
fn who_gives_up_leaves_and_takes_no_place() {
    let gate = gate(1, 10);
    let first = admitted(&gate, 0);
    let (impatient, mut patient) = (waiting(&gate, 7), waiting(&gate, 0));
    drop(impatient);
    assert_eq!(gate.load().waiting, 1);
    drop(first);
    let permit = is_served(&mut patient).unwrap();
    // One that has its place and does not know it yet gives it back too.
    let unaware = waiting(&gate, 0);
    drop(permit);
    assert_eq!(gate.load().running, 1);
    drop(unaware);
    assert_eq!((gate.load().running, gate.load().waiting), (0, 0));
}

#[tokio::test]
async fn the_lowest_makes_room_and_is_told_how_long_to_wait() {
    let gate = gate(1, 1);
    let _first = admitted(&gate, 0);
    let low = waiting(&gate, 0);
    let high = waiting(&gate, 1);
    let Err(Unserved::Shed(shed)) = low.wait(far()).await else {
        panic!("it was not shed");
    };
    assert_eq!(shed.retry_after, FIRST_GUESS);
    assert!(matches!(enter(&gate, 1), Entered::Refused(_)));
    drop(high);
}

#[tokio::test]
async fn one_whose_time_is_over_expires() {
    let gate = gate(1, 1);
    let _first = admitted(&gate, 0);
    let ticket = waiting(&gate, 0);
    let over = tokio::time::Instant::now();
    assert!(matches!(ticket.wait(over).await, Err(Unserved::Expired)));
    assert_eq!(gate.load().waiting, 0);
}

#[tokio::test]
async fn a_place_that_comes_too_late_goes_to_the_next_unused() {
    let gate = gate(1, 10);
    let first = admitted(&gate, 0);
    let (late, mut next) = (waiting(&gate, 0), waiting(&gate, 0));
    let over = tokio::time::Instant::now();
    drop(first);
    let held = gate.lock().mean_held;
    assert!(matches!(late.wait(over).await, Err(Unserved::Expired)));
    assert_eq!(gate.lock().mean_held, held);
    assert!(is_served(&mut next).is_some());
}

#[test]
fn places_are_kept_for_the_urgent_who_use_them_but_nobody_starves() {
    let gate = gate(10, 1000);
    let urgent: Vec<_> = (0..2).map(|_| admitted(&gate, 7)).collect();
    drop(urgent);
    // Two places stay free for the next ones.
    let mut low: Vec<_> = (0..8).map(|_| admitted(&gate, 0)).collect();
    let mut waits = waiting(&gate, 0);
    let _kept = [admitted(&gate, 7), admitted(&gate, 7)];
    // While all are in use a place that is freed is kept again, but not for ever.
    let mut freed = 0;
    while is_served(&mut waits).is_none() {
        drop(low.pop().expect("it starves"));
        freed += 1;
        low.extend(match enter(&gate, 7) {
            Entered::Admitted(permit) => Some(permit),
            _ => None,
        });
    }
    assert!(freed <= MAX_PASSED_OVER + 1, "{freed}");
}

#[test]
fn without_urgent_traffic_no_place_is_kept() {
    let gate = gate(10, 0);
    let _all: Vec<_> = (0..10).map(|_| admitted(&gate, 0)).collect();
    assert!(matches!(enter(&gate, 7), Entered::Refused(_)));
}

#[test]
fn other_limits_hold_at_once() {
    let gate = gate(1, 10);
    let first = admitted(&gate, 0);
    let mut second = waiting(&gate, 0);
    gate.set_limits(Limits {
        running: 2,
        waiting: 0,
    });
    let second = is_served(&mut second).unwrap();
    assert!(matches!(enter(&gate, 0), Entered::Refused(_)));
    gate.set_limits(Limits {
        running: 1,
        waiting: 0,
    });
    drop(first);
    assert!(matches!(enter(&gate, 0), Entered::Refused(_)));
    drop(second);
    let _third = admitted(&gate, 0);
}

#[test]
fn the_wait_that_is_advised_grows_with_the_queue_and_is_bounded() {
    let gate = gate(2, 100);
    let state = |held: f64, waiting: usize| {
        let mut state = gate.lock();
        state.mean_held = Some(held);
        while state.queue.len() < waiting {
            let _ = state.queue.push(0, oneshot::channel().0, 1000);
        }
        state.shed().retry_after
    };
    assert_eq!(state(0.1, 0), Duration::from_millis(100));
    assert_eq!(state(0.1, 19), Duration::from_secs(1));
    assert_eq!(state(1000.0, 19), *RETRY_AFTER.end());
    assert_eq!(state(0.0, 19), *RETRY_AFTER.start());
}

/// Many threads at once: the limit holds, and in the end nobody is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_under_contention() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let gate = gate(3, 10_000);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..500u32)
        .map(|n| {
            let (gate, running, most) = (gate.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                let permit = match enter(&gate, (n % 8) as u8) {
                    Entered::Admitted(permit) => permit,
                    Entered::Waiting(ticket) if n % 7 == 0 => return drop(ticket),
                    Entered::Waiting(ticket) => ticket.wait(far()).await.unwrap(),
                    Entered::Refused(shed) => panic!("{shed:?}"),
                };
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert_eq!((gate.load().running, gate.load().waiting), (0, 0));
}
