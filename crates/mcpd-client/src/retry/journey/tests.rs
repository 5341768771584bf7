use super::*;
use mcpd_proto::MetaBuf;

const ID: [u8; 16] = [7; 16];
const HERE: [u8; 16] = [1; 16];
const THERE: [u8; 16] = [2; 16];

fn settings() -> RetrySettings {
    let (first, cap) = (Duration::from_millis(50), Duration::from_secs(1));
    RetrySettings {
        max_attempts: 4,
        backoff: Backoff { first, cap },
    }
}

fn journey(qos: Qos) -> Journey {
    let id = (qos != Qos::AtMostOnce).then_some(ID);
    let mut journey = Journey::new(settings(), qos, id, None, false);
    journey.depart(Instant::now(), Some(HERE));
    journey
}

fn answered(code: ErrorCode) -> Error {
    let class = match code.get() >> 8 {
        2 => ErrorClass::NotExecuted,
        4 => ErrorClass::Executed,
        _ => ErrorClass::Unknown,
    };
    let kind = match class {
        ErrorClass::NotExecuted => ErrorKind::Refused,
        ErrorClass::Executed => ErrorKind::Executed,
        ErrorClass::Unknown => ErrorKind::Unknown,
    };
    Error::new(kind, class, "").with_code(Some(code))
}

fn closed(class: ErrorClass, code: Option<ErrorCode>) -> Error {
    Error::new(ErrorKind::Closed, class, "").with_code(code)
}

fn judge(journey: &mut Journey, error: &Error) -> Verdict {
    journey.judge(error, Instant::now(), &Random::seeded(1))
}

fn goes_again(qos: Qos, error: &Error) -> bool {
    matches!(judge(&mut journey(qos), error), Verdict::Again(_))
}

#[test]
fn every_code_and_every_qos() {
    use ErrorCode as C;
    for code in (0..=u16::MAX).map(C::new) {
        // A connection's code does not answer a request; see below.
        if code.get() >> 8 == 1 {
            continue;
        }
        let error = answered(code);
        let transient = !code.is_permanent();
        let refused = code.get() >> 8 == 2;
        let executed = code.get() >> 8 == 4;
        let last_word = [C::OUTCOME_UNKNOWN, C::DEAD_LETTERED].contains(&code);
        assert_eq!(
            goes_again(Qos::AtMostOnce, &error),
            transient && refused,
            "{code}"
        );
        let copies = transient && !executed && !last_word;
        assert_eq!(goes_again(Qos::AtLeastOnce, &error), copies, "{code}");
        assert_eq!(goes_again(Qos::EffectivelyOnce, &error), copies, "{code}");
    }
}

#[test]
fn the_end_of_a_connection() {
    use ErrorClass::{NotExecuted, Unknown};
    let cases = [
        (NotExecuted, Some(ErrorCode::CLOSING), true, true),
        (Unknown, Some(ErrorCode::CLOSING), false, true),
        (Unknown, None, false, true),
        (Unknown, Some(ErrorCode::HEARTBEAT_TIMEOUT), false, true),
        (Unknown, Some(ErrorCode::PROTOCOL_ERROR), false, false),
        (Unknown, Some(ErrorCode::UNAUTHENTICATED), false, false),
    ];
    for (class, code, at_most_once, at_least_once) in cases {
        let error = closed(class, code);
        assert_eq!(goes_again(Qos::AtMostOnce, &error), at_most_once, "{error}");
        assert_eq!(
            goes_again(Qos::AtLeastOnce, &error),
            at_least_once,
            "{error}"
        );
    }
}

#[test]
fn a_server_that_breaks_the_protocol_is_not_the_requests_fault() {
    let broke = |code| {
        let error = Error::new(ErrorKind::Protocol, ErrorClass::Unknown, "");
        error.with_code(Some(code))
    };
    let error = broke(ErrorCode::PROTOCOL_ERROR);
    assert!(goes_again(Qos::AtLeastOnce, &error));
    assert!(!goes_again(Qos::AtMostOnce, &error));
    // It would be as large again.
    assert!(!goes_again(
        Qos::AtLeastOnce,
        &broke(ErrorCode::FRAME_TOO_LARGE)
    ));
}

#[test]
fn what_never_left_goes_elsewhere_and_is_no_attempt() {
    let mut journey = journey(Qos::AtMostOnce);
    let unsent = closed(ErrorClass::NotExecuted, None).unsent();
    for _ in 0..100 {
        assert_eq!(judge(&mut journey, &unsent), Verdict::Elsewhere);
        journey.depart(Instant::now(), None);
    }
    let error = journey.conclude(answered(ErrorCode::NO_ROUTE));
    assert_eq!(error.attempts(), 1);
    // A request that is too large for a server is so for the caller to know.
    let invalid = Error::invalid("too large");
    assert_eq!(judge(&mut journey, &invalid), Verdict::Tell);
    assert_eq!(
        judge(&mut journey, &Error::not_sent_in_time()),
        Verdict::Tell
    );
}

#[test]
fn attempts_are_bounded() {
    let mut journey = journey(Qos::AtLeastOnce);
    let error = answered(ErrorCode::OVERLOADED);
    for _ in 0..3 {
        assert!(matches!(judge(&mut journey, &error), Verdict::Again(_)));
        journey.depart(Instant::now(), None);
    }
    assert_eq!(judge(&mut journey, &error), Verdict::Tell);
    assert_eq!(journey.conclude(error).attempts(), 4);
}

#[test]
fn a_pause_obeys_the_server_and_the_deadline() {
    let wait = |ms| Some(Duration::from_millis(ms));
    let asks = |ms| answered(ErrorCode::OVERLOADED).with_retry_after(wait(ms));
    for _ in 0..20 {
        let Verdict::Again(pause) = judge(&mut journey(Qos::AtMostOnce), &asks(700)) else {
            panic!("it goes again");
        };
        assert!((700..=1400).contains(&pause.as_millis()), "{pause:?}");
    }
    // 49 days.
    let days = asks(u64::from(u32::MAX));
    assert_eq!(judge(&mut journey(Qos::AtMostOnce), &days), Verdict::Tell);
    let now = Instant::now();
    let deadline = Some(now + Duration::from_millis(600));
    let mut short = Journey::new(settings(), Qos::AtMostOnce, None, deadline, false);
    short.depart(now, None);
    let random = Random::seeded(1);
    assert_eq!(short.judge(&asks(700), now, &random), Verdict::Tell);
    let verdict = short.judge(&answered(ErrorCode::OVERLOADED), now, &random);
    assert!(matches!(verdict, Verdict::Again(_)));
}

#[test]
fn a_connection_that_drains_is_left_at_once_but_not_twice() {
    let draining = answered(ErrorCode::DRAINING);
    let mut journey = journey(Qos::AtMostOnce);
    assert_eq!(
        judge(&mut journey, &draining),
        Verdict::Again(Duration::ZERO)
    );
    journey.depart(Instant::now(), None);
    let Verdict::Again(pause) = judge(&mut journey, &draining) else {
        panic!("it goes again");
    };
    assert!(!pause.is_zero());
}

/// MESSAGE_ID, AGE_MS and INCARNATION of an attempt.
fn departs(journey: &mut Journey, now: Instant, incarnation: [u8; 16]) -> [Option<Vec<u8>>; 3] {
    let mut meta = MetaBuf::new();
    if let Some(stamp) = journey.depart(now, Some(incarnation)) {
        stamp.write(&mut meta);
    }
    let meta = meta.view();
    let age = meta.age_ms().map(|ms| ms.to_be_bytes().to_vec());
    let id = |id: Option<[u8; 16]>| id.map(|id| id.to_vec());
    [id(meta.message_id()), age, id(meta.incarnation())]
}

#[test]
fn a_copy_keeps_its_id_and_says_how_old_it_is_and_where_it_was_first_sent() {
    let start = Instant::now();
    let later = start + Duration::from_millis(1500);
    for (qos, memory) in [(Qos::EffectivelyOnce, HERE), (Qos::AtLeastOnce, THERE)] {
        let mut journey = Journey::new(settings(), qos, Some(ID), None, false);
        let first = departs(&mut journey, start, HERE);
        assert_eq!(first, [Some(ID.to_vec()), None, Some(HERE.to_vec())]);
        assert!(!journey.is_copy());
        judge(&mut journey, &closed(ErrorClass::Unknown, None));
        assert!(journey.is_copy());
        let second = departs(&mut journey, later, THERE);
        let age = 1500_u32.to_be_bytes().to_vec();
        assert_eq!(
            second,
            [Some(ID.to_vec()), Some(age), Some(memory.to_vec())]
        );
    }
}

#[test]
fn what_certainly_did_not_run_is_new_wherever_it_goes() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let mut journey = Journey::new(settings(), Qos::EffectivelyOnce, Some(ID), None, false);
    departs(&mut journey, start, HERE);
    judge(&mut journey, &answered(ErrorCode::OVERLOADED));
    let second = departs(&mut journey, later, THERE);
    assert_eq!(second, [Some(ID.to_vec()), None, Some(THERE.to_vec())]);
    assert!(!journey.is_copy());
}

#[test]
fn what_the_caller_says_of_an_old_message_stands() {
    let mut journey = Journey::new(settings(), Qos::EffectivelyOnce, Some(ID), None, true);
    let sent = departs(&mut journey, Instant::now(), HERE);
    assert_eq!(sent, [Some(ID.to_vec()), None, None]);
    let error = journey.conclude(answered(ErrorCode::NO_ROUTE));
    assert_eq!(error.class(), ErrorClass::Unknown);
}

#[test]
fn after_an_unknown_attempt_nothing_is_not_executed() {
    for last in [
        answered(ErrorCode::OVERLOADED),
        answered(ErrorCode::NO_ROUTE),
        closed(ErrorClass::NotExecuted, Some(ErrorCode::CLOSING)),
        Error::connect("nobody there").unsent(),
        Error::not_sent_in_time(),
    ] {
        let mut journey = journey(Qos::AtLeastOnce);
        judge(&mut journey, &closed(ErrorClass::Unknown, None));
        let (code, kind) = (last.code(), last.kind());
        let told = journey.conclude(last);
        assert_eq!((told.class(), told.code()), (ErrorClass::Unknown, code));
        assert_ne!(told.kind(), ErrorKind::Refused);
        assert!(told.kind() == kind || kind == ErrorKind::Refused);
    }
    // But an outcome is one.
    let mut journey = journey(Qos::AtLeastOnce);
    judge(&mut journey, &closed(ErrorClass::Unknown, None));
    let told = journey.conclude(answered(ErrorCode::HANDLER_ERROR));
    assert_eq!(told.class(), ErrorClass::Executed);
}
