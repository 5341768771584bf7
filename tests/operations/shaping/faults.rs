//! Faults on purpose: what a code says of the handler is true.

use super::{Does, Shaped, ask, eventually, nothing, send};
use mcpd::router::document::FAULT_CODES;
use mcpd_proto::{Cancel, Class, ErrorCode, Frame, Meta};

const ERRORS: &str = "mcpd_route_faults_total{route=\"r\",kind=\"error\"}";
const DELAYS: &str = "mcpd_route_faults_total{route=\"r\",kind=\"delay\"}";

#[test]
fn what_is_said_to_have_run_ran_and_what_is_said_not_to_did_not() {
    for does in [Does::Answers, Does::AnswersLater] {
        for code in FAULT_CODES {
            for delay in ["", ", delay: 5ms"] {
                let fault = format!("handler: h, fault: {{percent: 100, error: {code}{delay}}}");
                let shaped = Shaped::start(&fault, &[("h", does)]);
                let mut peer = shaped.peer();
                for seq in 1..=3 {
                    send(&mut peer, seq, "t/x", nothing);
                    assert_eq!(peer.expect().error(), (seq, code));
                }
                let ran = match code.class() {
                    Class::NotExecuted => 0,
                    _ => 3,
                };
                assert_eq!(shaped.handler("h").count(), ran, "{code}{delay}");
                assert_eq!(shaped.metric(ERRORS), 3);
            }
        }
    }
}

#[test]
fn a_part_of_the_requests_is_struck() {
    let fault = "handler: h, fault: {percent: 5, error: UPSTREAM_UNAVAILABLE}";
    let shaped = Shaped::start(fault, &[("h", Does::Answers)]);
    let mut peer = shaped.peer();
    let mut failed = 0;
    for _ in 0..1000 {
        send(&mut peer, 1, "t/x", nothing);
        failed += usize::from(!peer.expect().is_response());
    }
    assert_eq!((failed, shaped.handler("h").count()), (50, 950));
}

#[test]
fn what_is_delayed_is_answered_and_what_is_delayed_too_long_has_not_run() {
    let fault = "handler: h, fault: {percent: 100, delay: 30ms}";
    let shaped = Shaped::start(fault, &[("h", Does::AnswersLater)]);
    let mut peer = shaped.peer();
    assert_eq!(ask(&mut peer, "t/x", nothing), "h");
    assert_eq!(shaped.metric(DELAYS), 1);
    send(&mut peer, 1, "t/x", |meta| meta.set_timeout_ms(5));
    assert_eq!(peer.expect().error(), (1, ErrorCode::EXPIRED));
    assert_eq!(shaped.handler("h").count(), 1);
}

/// A handler's own word is not made worse: what it says of itself may be that it did not run.
#[test]
fn an_error_of_the_way_there_stays_what_it_is() {
    let fault = "handler: h, rewrite: \"{1}/x\", fault: {percent: 100, error: HANDLER_ERROR}";
    let shaped = Shaped::start(fault, &[("h", Does::Answers)]);
    let mut peer = shaped.peer();
    send(&mut peer, 1, "t/", nothing);
    assert_eq!(peer.expect().error(), (1, ErrorCode::INVALID_REQUEST));
    assert_eq!((shaped.handler("h").count(), shaped.metric(ERRORS)), (0, 0));
}

#[test]
fn a_delayed_request_can_be_cancelled() {
    let fault = "handler: h, fault: {percent: 100, delay: 1h}";
    let shaped = Shaped::start(fault, &[("h", Does::Answers)]);
    let mut peer = shaped.peer();
    send(&mut peer, 1, "t/x", nothing);
    eventually("it is held back", || shaped.metric(DELAYS) == 1);
    peer.frame(Frame::Cancel(Cancel {
        seq: 1,
        meta: Meta::EMPTY,
    }));
    assert_eq!(peer.expect().error(), (1, ErrorCode::CANCELLED));
    assert_eq!(shaped.handler("h").count(), 0);
}
