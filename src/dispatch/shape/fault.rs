//! Harm that is done to requests on purpose.

use super::super::BoundRoute;
use super::rotation::Rotation;
use crate::message::{Answer, Begun, Call, Outcome, OwnedCall};
use crate::router::document::FaultSpec;
use crate::telemetry::{Count, NewCounts, Shaped};
use mcpd_proto::{Class, ErrorCode};
use std::sync::Arc;
use std::time::Duration;

/// What clients are told to wait after a code that says when to come again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

const TEXT: &str = "a fault that the route injects";

/// What a route does to a part of its requests.
pub(super) struct Fault {
    pub(super) rotation: Arc<Rotation>,
    delay: Option<Duration>,
    error: Option<ErrorCode>,
    delayed: Arc<Count>,
    failed: Arc<Count>,
}

impl Fault {
    pub(super) fn new(
        spec: &FaultSpec,
        before: Option<&Arc<Rotation>>,
        route: &str,
        counts: &mut NewCounts<'_>,
    ) -> Fault {
        let percent = u32::from(spec.percent);
        Fault {
            rotation: Rotation::keeping(before, &[percent, 100 - percent]),
            delay: spec.delay,
            error: spec.error,
            delayed: counts.count(Shaped::Fault, route, "delay"),
            failed: counts.count(Shaped::Fault, route, "error"),
        }
    }

    fn strikes(&self) -> bool {
        self.rotation.next() == 0
    }

    fn refusal(&self, code: ErrorCode) -> Answer<'static> {
        self.failed.add();
        let says_when = [
            ErrorCode::OVERLOADED,
            ErrorCode::RATE_LIMITED,
            ErrorCode::CIRCUIT_OPEN,
        ];
        Answer::Error {
            code,
            detail: TEXT.into(),
            retry_after: says_when.contains(&code).then_some(RETRY_AFTER),
        }
    }
}

/// A code in the place of a RESPONSE: an answer that says what is wrong, perhaps that nothing ran, stays
/// what it is.
struct Replace {
    failed: Arc<Count>,
    code: ErrorCode,
}

impl Replace {
    fn answer(&self, answer: Answer<'static>) -> Answer<'static> {
        if !answer.is_response() {
            return answer;
        }
        self.failed.add();
        Answer::error(self.code, TEXT)
    }
}

impl BoundRoute {
    /// Takes a call on, unless it is one of those that a fault strikes.
    pub(super) fn past_fault<'a>(
        self: &'a Arc<Self>,
        fault: &'a Fault,
        call: &Call<'a>,
    ) -> Outcome<'a> {
        if !fault.strikes() {
            return self.forward(call);
        }
        let Some(delay) = fault.delay else {
            return self.fail(fault, call);
        };
        fault.delayed.add();
        let (deadline, until) = (call.deadline(), call.now() + delay);
        let (route, call) = (Arc::clone(self), OwnedCall::from(call));
        let begun = Begun::default();
        let begins = begun.clone();
        let work = Box::pin(async move {
            tokio::time::sleep_until(until.min(deadline).into()).await;
            if until >= deadline {
                let text = "its time was over before a fault of the route let it start";
                return Answer::error(ErrorCode::EXPIRED, text);
            }
            let shape = route.shape.as_ref();
            let fault = shape.and_then(|shape| shape.fault.as_ref());
            let outcome = call.as_call().zip(fault);
            let outcome = outcome.map(|(call, fault)| route.fail(fault, &call).into_owned());
            super::super::finish(outcome, &begins).await
        });
        Outcome::Waiting(work, begun)
    }

    /// Answers with the fault's code, if it has one. What says that it did not run does not run; what
    /// says that it ran, or may have, ran.
    fn fail<'a>(&'a self, fault: &Fault, call: &Call<'a>) -> Outcome<'a> {
        let Some(code) = fault.error else {
            return self.forward(call);
        };
        if code.class() == Class::NotExecuted {
            return Outcome::Now(fault.refusal(code));
        }
        let replace = Replace {
            failed: Arc::clone(&fault.failed),
            code,
        };
        match self.forward(call).into_owned() {
            Outcome::Now(answer) => Outcome::Now(replace.answer(answer)),
            Outcome::Later(work) => {
                Outcome::Later(Box::pin(async move { replace.answer(work.await) }))
            }
            Outcome::Here(work) => {
                Outcome::Later(Box::pin(async move { replace.answer(work.await) }))
            }
            Outcome::Waiting(work, begun) => {
                let work = Box::pin(async move { replace.answer(work.await) });
                Outcome::Waiting(work, begun)
            }
        }
    }
}
