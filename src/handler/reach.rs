//! What the client is told when an [`Upstream`](crate::upstream::Upstream) was asked for it.

use crate::message::Answer;
use crate::upstream::{End, Ran, Refusal};
use mcpd_proto::{Class, ErrorCode};
use std::time::Duration;

/// The answer to a request that has been through its attempts. An answer of class 0x02 claims that nothing
/// was executed, so it is none where some attempt was sent and never answered.
pub(super) fn answer(ran: Ran<Answer<'static>>) -> Answer<'static> {
    let unknown = ran.unknown;
    let answer = match ran.end {
        End::Answer(answer) => answer,
        End::TimedOut if unknown => {
            let text = "it was sent to the upstream, which did not answer in time";
            Answer::error(ErrorCode::DEADLINE_EXCEEDED, text)
        }
        End::TimedOut => {
            let text = "the upstream could not be reached in time";
            Answer::error(ErrorCode::UPSTREAM_UNAVAILABLE, text)
        }
        End::Refused(refusal) => refused(refusal),
    };
    let claims_nothing_happened =
        code(&answer).is_some_and(|code| code.class() == Class::NotExecuted);
    if unknown && claims_nothing_happened {
        let text = "an attempt was sent to the upstream and not answered, and no other one was";
        return Answer::error(ErrorCode::UPSTREAM_LOST, text);
    }
    answer
}

fn code(answer: &Answer<'_>) -> Option<ErrorCode> {
    match answer {
        Answer::Response { .. } => None,
        Answer::Error { code, .. } => Some(*code),
        Answer::Reply(reply) => reply.code,
    }
}

fn refused(refusal: Refusal) -> Answer<'static> {
    let error = |code, text: &'static str, retry_after: Option<Duration>| Answer::Error {
        code,
        detail: text.into(),
        retry_after,
    };
    match refusal {
        Refusal::NoEndpoint => error(
            ErrorCode::UPSTREAM_UNAVAILABLE,
            "the upstream has no endpoint that may be asked",
            None,
        ),
        Refusal::CircuitOpen { retry_after } => error(
            ErrorCode::CIRCUIT_OPEN,
            "the upstream keeps failing and is left alone for a while",
            Some(retry_after),
        ),
        Refusal::Overloaded { retry_after } => error(
            ErrorCode::OVERLOADED,
            "as many requests wait for the upstream as may",
            Some(retry_after),
        ),
        Refusal::Expired => error(
            ErrorCode::EXPIRED,
            "its time was over before the upstream could be asked",
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(end: End<Answer<'static>>, unknown: bool) -> Option<ErrorCode> {
        code(&answer(Ran { end, unknown }))
    }

    #[test]
    fn nothing_that_may_have_been_sent_is_said_not_to_be_executed() {
        let retry_after = Duration::ZERO;
        let refusals = [
            Refusal::NoEndpoint,
            Refusal::CircuitOpen { retry_after },
            Refusal::Overloaded { retry_after },
            Refusal::Expired,
        ];
        let ends = || {
            let refused = refusals.map(End::Refused).into_iter();
            let answers = [ErrorCode::UPSTREAM_UNAVAILABLE, ErrorCode::RATE_LIMITED];
            let answers = answers.map(|code| End::Answer(Answer::error(code, "")));
            refused.chain(answers).chain([End::TimedOut])
        };
        for end in ends() {
            let code = of(end, false).unwrap();
            assert_eq!(code.class(), Class::NotExecuted, "{code}");
        }
        for end in ends() {
            let code = of(end, true).unwrap();
            assert_eq!(code.class(), Class::Unknown, "{code}");
        }
    }

    #[test]
    fn an_answer_stays_what_it_is() {
        assert_eq!(of(End::Answer(Answer::bytes(b"done")), true), None);
        let failed = Answer::error(ErrorCode::HANDLER_ERROR, "no such order");
        assert_eq!(
            of(End::Answer(failed), true),
            Some(ErrorCode::HANDLER_ERROR)
        );
    }
}
