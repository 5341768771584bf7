//! `seq_ids` that go round while some requests stay unanswered. `make soak` does it ten million times.

#[path = "../support/laps.rs"]
mod numbered;

#[test]
fn numbers_that_come_round_again_and_requests_that_are_stuck_confuse_no_answer() {
    const REQUESTS: u64 = 200_000;
    let seen = numbered::run(REQUESTS, |_| {});
    assert_eq!(seen.answered + seen.given_up, REQUESTS);
    assert!(seen.laps >= 3, "{seen:?}");
    assert_eq!(seen.stuck.len(), 4, "{seen:?}");
    assert!(seen.overtaken > REQUESTS / 2, "{seen:?}");
}
