//! Who a client is, and what it may do.
//!
//! A *principal* is whoever a token stands for. A [document](Policy) names them, their tokens, the topics
//! they may speak on and their limits. [`Auth`] holds what is in force; a connection that has shown who
//! it is keeps an [`Identity`], which a change of the document reaches at once.

mod document;
mod identity;

pub use document::{ClientIdPattern, Effect, MAX_BYTES, Policy, TopicPattern, Values};
pub use identity::{Identity, InFlight};

use crate::message::{Certificate, Denied, Proof, Verdict};
use arc_swap::ArcSwapOption;
use document::Entry;
use identity::Principal;
use mcpd_proto::ErrorCode;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq;

/// What a client over its number of connections is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is in force. Before there is a policy nobody is asked who they are.
#[derive(Debug, Default)]
pub struct Auth {
    policy: ArcSwapOption<Policy>,
    /// By name; at most those of the policy, so that their counts outlive their connections.
    principals: Mutex<HashMap<String, Arc<Principal>>>,
}

impl Auth {
    /// Puts a policy in force, for connections that are open, too. A principal that is not in it any
    /// more may do nothing from now on.
    pub fn set_policy(&self, policy: Policy) {
        let mut principals = self.principals();
        let mut before = std::mem::take(&mut *principals);
        for entry in &policy.entries {
            let entry = Arc::new(entry.clone());
            let principal = match before.remove(&entry.name) {
                Some(principal) => {
                    principal.set_rules(Some(Arc::clone(&entry)));
                    principal
                }
                None => Arc::new(Principal::new(Arc::clone(&entry))),
            };
            principals.insert(entry.name.clone(), principal);
        }
        for gone in before.into_values() {
            gone.set_rules(None);
        }
        self.policy.store(Some(Arc::new(policy)));
    }

    fn principals(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Principal>>> {
        let locked = self.principals.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether credentials are asked for at all.
    #[inline]
    pub fn is_in_force(&self) -> bool {
        self.policy.load().is_some()
    }

    /// Whether a connection must begin with a HELLO that brings a token: nobody is let in without.
    pub fn demands_hello(&self, _certificate: Option<&Certificate>) -> bool {
        let policy = self.policy.load();
        let anonymous = |policy: &Arc<Policy>| policy.entries.iter().any(|entry| entry.anonymous);
        policy.as_ref().is_some_and(|policy| !anonymous(policy))
    }

    /// Whose credential this is. `client_id` is the CLIENT_ID of the HELLO that brought it.
    pub fn authenticate(&self, proof: Proof<'_>, client_id: Option<&str>) -> Verdict {
        let policy = self.policy.load_full();
        let Some(policy) = policy else {
            return Verdict::Now(Ok(None));
        };
        Verdict::Now(self.judge(&policy, proof, client_id).map(Some))
    }

    fn judge(
        &self,
        policy: &Policy,
        proof: Proof<'_>,
        client_id: Option<&str>,
    ) -> Result<Identity, Denied> {
        let found = match proof {
            Proof::Token(token) => by_token(policy, token),
            Proof::Nothing | Proof::Certificate(_) => {
                let anonymous = policy.entries.iter().find(|entry| entry.anonymous);
                anonymous.map(|entry| (entry, None, None))
            }
        };
        let text = match proof {
            Proof::Token(_) => "this token is not known",
            _ => "credentials are asked for; begin with a HELLO that has AUTH_TOKEN",
        };
        let (entry, token, expires) = found.ok_or_else(|| denied(text))?;
        if expires.is_some_and(|at| at <= SystemTime::now()) {
            return Err(denied("this token has expired"));
        }
        if !may_be_called(entry, client_id) {
            return Err(denied("this client may not use this CLIENT_ID"));
        }
        let principal = self.principals().get(&entry.name).cloned();
        let principal = principal.ok_or_else(|| denied(text))?;
        principal.connect(token, expires).ok_or_else(|| Denied {
            code: ErrorCode::TOO_MANY_CONNECTIONS,
            text: "this client has as many connections as it may".to_owned(),
            retry_after: Some(RETRY_AFTER),
        })
    }

    /// Whether a connection may go on with the credential it has shown: it is in the policy still.
    pub fn still_good(&self, identity: &Identity) -> bool {
        let policy = self.policy.load();
        let entries = policy.iter().flat_map(|policy| &policy.entries);
        let mut named = entries.filter(|entry| entry.name == identity.name());
        named.any(|entry| match identity.token() {
            Some(token) => entry.tokens.iter().any(|known| known.sha256 == *token),
            None => entry.anonymous,
        })
    }
}

type Found<'p> = (&'p Entry, Option<[u8; 32]>, Option<SystemTime>);

/// Takes as long for a wrong token as for a right one.
fn by_token<'p>(policy: &'p Policy, token: &[u8]) -> Option<Found<'p>> {
    let digest: [u8; 32] = Sha256::digest(token).into();
    let mut found = None;
    for entry in &policy.entries {
        for known in &entry.tokens {
            if bool::from(known.sha256.ct_eq(&digest)) {
                found = Some((entry, Some(digest), known.expires));
            }
        }
    }
    found
}

/// A principal that is bound to names needs one.
fn may_be_called(entry: &Entry, client_id: Option<&str>) -> bool {
    entry.client_ids.as_ref().is_none_or(|allowed| {
        client_id.is_some_and(|id| allowed.iter().any(|one| one.matches(id, &entry.name)))
    })
}

fn denied(text: &str) -> Denied {
    Denied {
        code: ErrorCode::UNAUTHENTICATED,
        text: text.to_owned(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
