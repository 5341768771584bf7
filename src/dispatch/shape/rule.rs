//! Which requests an entry under `match` takes.

use super::Leg;
use crate::message::Call;
use crate::router::document::{Glob, MatchSpec};

/// What a request has to have, and where it then leads. Held against a call without allocating.
pub(super) struct Rule {
    headers: Box<[(String, Glob)]>,
    client_id: Option<Glob>,
    principal: Option<Glob>,
    pub(super) leg: Leg,
}

impl Rule {
    pub(super) fn new(spec: &MatchSpec, leg: Leg) -> Rule {
        Rule {
            headers: spec.headers.clone().into(),
            client_id: spec.client_id.clone(),
            principal: spec.principal.clone(),
            leg,
        }
    }

    /// Whether all of it holds. What a client does not say of itself fits nothing, not even `*`.
    pub(super) fn holds(&self, call: &Call<'_>) -> bool {
        let fits = |glob: &Option<Glob>, found: Option<&str>| match glob {
            Some(glob) => found.is_some_and(|found| glob.matches(found.as_bytes())),
            None => true,
        };
        let principal = call.peer.identity.as_ref().map(|identity| identity.name());
        fits(&self.client_id, call.peer.client_id.as_deref())
            && fits(&self.principal, principal)
            && self.headers.iter().all(|(key, glob)| {
                let mut headers = call.meta.headers();
                headers.any(|(found, value)| found == key && glob.matches(value))
            })
    }
}
