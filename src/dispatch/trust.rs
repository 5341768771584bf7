//! What a client may do, in the protocol's order of judgement: before its route is looked up, and
//! beside the route's own rate limit.

use crate::auth::{Auth, Rules};
use crate::message::{Answer, Call, Identity};
use crate::telemetry::{AuthLog, Decision};
use mcpd_proto::ErrorCode;
use std::cell::OnceCell;

/// The rules of a connection's principal, for all requests of one read.
#[derive(Debug, Default)]
pub(super) struct InForce(OnceCell<Rules>);

impl InForce {
    /// A connection becomes somebody's once, and stays theirs.
    #[inline]
    fn of(&self, identity: &Identity) -> &Rules {
        self.0.get_or_init(|| identity.rules())
    }
}

/// The refusal of a call that its sender may not make; `None` lets it pass, no more urgent than it may be.
#[inline]
pub(super) fn judge(
    auth: Option<&Auth>,
    in_force: &InForce,
    call: &mut Call<'_>,
) -> Option<Answer<'static>> {
    let Some(identity) = &call.peer.identity else {
        return auth.filter(|auth| auth.is_in_force()).map(|_| nobody());
    };
    let rules = in_force.of(identity);
    call.priority = call.priority.min(rules.priority_ceiling());
    if identity.is_full(rules) {
        return Some(full());
    }
    let client_id = call.peer.client_id.as_deref();
    let allowed = identity.permits(rules, call.topic.as_str(), client_id);
    if AuthLog::is_verbose() {
        tell(auth, (identity, rules), call, allowed);
    }
    (!allowed).then(|| forbidden(call))
}

/// Writes down what was decided.
#[cold]
fn tell(
    auth: Option<&Auth>,
    (identity, rules): (&Identity, &Rules),
    call: &Call<'_>,
    allowed: bool,
) {
    let (topic, client_id) = (call.topic.as_str(), call.peer.client_id.as_deref());
    let rule = identity.rule(rules, topic, client_id);
    let decision = Decision {
        connection: call.peer.connection,
        principal: identity.name(),
        client_id,
        topic,
        allowed,
        rule: rule.as_deref(),
    };
    if let Some(auth) = auth {
        auth.log.request(&decision, call.now());
    }
}

/// The refusal of a call whose sender sends more than it may; `None` lets it pass.
#[inline]
pub(super) fn pace(in_force: &InForce, call: &Call<'_>) -> Option<Answer<'static>> {
    let identity = call.peer.identity.as_ref()?;
    let bytes = call.topic.as_str().len() + call.meta.as_bytes().len() + call.body.len();
    let wait = identity
        .take(in_force.of(identity), bytes, call.now())
        .err()?;
    Some(Answer::Error {
        code: ErrorCode::RATE_LIMITED,
        detail: "this client sends more than it may".into(),
        retry_after: Some(wait),
    })
}

/// As many of the client's requests are under way as may be.
#[cold]
fn full() -> Answer<'static> {
    let text = "as many requests of this client are unanswered as may be, on all its connections";
    Answer::error(ErrorCode::TOO_MANY_IN_FLIGHT, text)
}

#[cold]
fn forbidden(call: &Call<'_>) -> Answer<'static> {
    let topic = call.topic.as_str();
    let text = format!("this client may not send to topic {topic:?}");
    Answer::error(ErrorCode::PERMISSION_DENIED, text)
}

/// It connected before credentials were asked for.
#[cold]
fn nobody() -> Answer<'static> {
    let text = "credentials are asked for by now; connect again and show them";
    Answer::error(ErrorCode::PERMISSION_DENIED, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Policy;
    use crate::message::Peer;
    use mcpd_proto::Request;
    use mcpd_proto::topic::Topic;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn who_came_before_credentials_were_asked_for_may_do_nothing_any_more() {
        let peer = Arc::new(Peer {
            connection: 1,
            addr: ([127, 0, 0, 1], 1).into(),
            client_id: None,
            identity: None,
        });
        let topic = Topic::parse(b"echo").unwrap();
        let request = Request::default();
        let mut call = Call::new(&request, topic, Instant::now(), Duration::ZERO, &peer);
        let auth = Auth::default();
        let mut judge = |auth| judge(auth, &InForce::default(), &mut call);
        assert!(judge(None).is_none() && judge(Some(&auth)).is_none());
        let document = b"{apiVersion: mcpd/v1, kind: Principals, principals: []}";
        auth.set_policy(Policy::parse(document).unwrap());
        match judge(Some(&auth)) {
            Some(Answer::Error { code, .. }) => assert_eq!(code, ErrorCode::PERMISSION_DENIED),
            other => panic!("a refusal, not {other:?}"),
        }
    }
}
