//! What a client may do, in the protocol's order of judgement: before its route is looked up, and
//! beside the route's own rate limit.

use crate::auth::Auth;
use crate::message::{Answer, Call, Identity};
use crate::telemetry::{AuthLog, Decision};
use mcpd_proto::ErrorCode;

/// The refusal of a call that its sender may not make; `None` lets it pass.
#[inline]
pub(super) fn judge(auth: Option<&Auth>, call: &Call<'_>) -> Option<Answer<'static>> {
    let Some(identity) = &call.peer.identity else {
        return auth.filter(|auth| auth.is_in_force()).map(|_| nobody());
    };
    if identity.is_full() {
        return Some(full());
    }
    let client_id = call.peer.client_id.as_deref();
    let allowed = identity.permits(call.topic.as_str(), client_id);
    if AuthLog::is_verbose() {
        tell(auth, identity, call, allowed);
    }
    (!allowed).then(|| forbidden(call))
}

/// Writes down what was decided.
#[cold]
fn tell(auth: Option<&Auth>, identity: &Identity, call: &Call<'_>, allowed: bool) {
    let (topic, client_id) = (call.topic.as_str(), call.peer.client_id.as_deref());
    let rule = identity.rule(topic, client_id);
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
pub(super) fn pace(call: &Call<'_>) -> Option<Answer<'static>> {
    let identity = call.peer.identity.as_ref()?;
    let bytes = call.topic.as_str().len() + call.meta.as_bytes().len() + call.body.len();
    let wait = identity.take(bytes, call.now()).err()?;
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
