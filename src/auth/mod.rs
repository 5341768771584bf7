//! Who a client is, and what it may do.
//!
//! A *principal* is whoever a credential stands for. A [document](Policy) names them, their credentials, the
//! topics they may speak on and their limits. [`Auth`] holds what is in force; a connection that has shown who
//! it is keeps an [`Identity`], which a change of the document reaches at once.

mod bucket;
mod document;
mod identity;
mod jwt;
mod view;
mod whose;

pub use document::{ClientIdPattern, Effect, MAX_BYTES, Policy, TopicPattern, Values};
pub use identity::{Identity, InFlight, Rules};
pub use jwt::{ASK_AGAIN, Algorithm, Jwt, KeySet, Rules as JwtRules};
pub use view::PrincipalView;

use crate::message::{Certificate, Denied, Proof, Verdict};
use crate::telemetry::{AuthLog, AuthMethod, AuthResult};
use arc_swap::ArcSwapOption;
use document::Entry;
use identity::{Credential, Principal, Shown};
use mcpd_proto::ErrorCode;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use subtle::ConstantTimeEq;
use whose::Whose;

/// What a client over its number of connections is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is in force. Before there is a policy nobody is asked who they are.
#[derive(Debug, Default)]
pub struct Auth {
    policy: ArcSwapOption<Policy>,
    /// By name; at most those of the policy, so that their counts outlive their connections.
    principals: Mutex<HashMap<String, Arc<Principal>>>,
    jwt: Option<Jwt>,
    pub(crate) log: AuthLog,
}

/// What is made of a credential before it is known whether its principal may connect.
type Judged = (AuthMethod, Result<(String, Shown), AuthResult>);

impl Auth {
    /// Tokens that are JWTs are judged by `jwt`, if there is one.
    pub fn new(jwt: Option<Jwt>) -> Auth {
        Auth {
            jwt,
            ..Auth::default()
        }
    }

    /// What JWTs are judged by.
    pub fn jwt(&self) -> Option<&Jwt> {
        self.jwt.as_ref()
    }

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

    /// Whether this is what is in force.
    pub fn has(&self, policy: &Policy) -> bool {
        self.policy.load().as_deref() == Some(policy)
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

    /// Whether a connection must begin with a HELLO that brings a token: nobody is let in without, and
    /// its certificate does not say whose it is.
    pub fn demands_hello(&self, certificate: Option<&Certificate>) -> bool {
        let policy = self.policy.load();
        let Some(policy) = policy.as_ref() else {
            return false;
        };
        let whose = certificate.map_or(Whose::Nobodys, |shown| policy.by_certificate(shown));
        match whose {
            Whose::One(..) => false,
            Whose::Nobodys => policy.anonymous().is_none(),
            Whose::Several => true,
        }
    }

    /// Whose credential this is. `client_id` is the CLIENT_ID of the HELLO that brought it.
    pub fn authenticate(self: &Arc<Self>, proof: Proof<'_>, client_id: Option<&str>) -> Verdict {
        let policy = self.policy.load_full();
        let Some(policy) = policy else {
            return Verdict::Now(Ok(None));
        };
        let mut judged = self.judge(&policy, proof);
        if let (Proof::Token(token), Err(AuthResult::Key), Some(jwt)) =
            (proof, &judged.1, &self.jwt)
        {
            let Some(looked) = jwt.ask(Instant::now()) else {
                // Nobody looks, but a look may have ended since this was judged.
                judged.1 = by_jwt(&policy, jwt, token);
                return Verdict::Now(self.admit(&policy, judged, client_id).map(Some));
            };
            let (this, token) = (Arc::clone(self), token.to_vec());
            let client_id = client_id.map(str::to_owned);
            return Verdict::Later(Box::pin(async move {
                looked.await;
                let policy = this.policy.load_full().unwrap_or_default();
                let judged = this.judge(&policy, Proof::Token(&token));
                this.admit(&policy, judged, client_id.as_deref()).map(Some)
            }));
        }
        Verdict::Now(self.admit(&policy, judged, client_id).map(Some))
    }

    fn judge(&self, policy: &Policy, proof: Proof<'_>) -> Judged {
        match proof {
            Proof::Nothing => (AuthMethod::None, nothing(policy)),
            Proof::Certificate(certificate) => match policy.by_certificate(certificate) {
                // One that stands for nobody is as good as none.
                Whose::Nobodys => (AuthMethod::Certificate, nothing(policy)),
                whose => {
                    let shown = |subject: Option<&str>| Shown {
                        credential: Credential::Certificate(Arc::new(certificate.clone())),
                        subject: subject.map(Into::into),
                        expires: Some(certificate.not_after),
                    };
                    let whose = whose.only().map(|(name, subject)| (name, shown(subject)));
                    (AuthMethod::Certificate, whose)
                }
            },
            Proof::Token(token) => match (by_token(policy, token), &self.jwt) {
                (Some(found), _) => (AuthMethod::Token, Ok(found)),
                (None, Some(jwt)) if jwt::is_jwt(token) => {
                    (AuthMethod::Jwt, by_jwt(policy, jwt, token))
                }
                (None, _) => (AuthMethod::Token, Err(AuthResult::Unknown)),
            },
        }
    }

    /// Lets in whose credential is good, unless something else is in the way.
    fn admit(
        &self,
        policy: &Policy,
        (method, judged): Judged,
        client_id: Option<&str>,
    ) -> Result<Identity, Denied> {
        let (name, subject) = match &judged {
            Ok((name, shown)) => (Some(name.clone()), shown.subject.clone()),
            Err(_) => (None, None),
        };
        let admitted =
            judged.and_then(|(name, shown)| self.connect(policy, &name, shown, client_id));
        let result = admitted
            .as_ref()
            .map_or_else(|result| *result, |_| AuthResult::Ok);
        let (name, subject) = (name.as_deref(), subject.as_deref());
        self.log
            .credential(method, result, name, subject, client_id);
        admitted.map_err(|result| denied(method, result))
    }

    fn connect(
        &self,
        policy: &Policy,
        name: &str,
        shown: Shown,
        client_id: Option<&str>,
    ) -> Result<Identity, AuthResult> {
        if shown.expires.is_some_and(|at| at <= SystemTime::now()) {
            return Err(AuthResult::Expired);
        }
        let entry = policy.named(name).ok_or(AuthResult::Unknown)?;
        if !may_be_called(entry, client_id, shown.subject.as_deref()) {
            return Err(AuthResult::ClientId);
        }
        let principal = self.principals().get(name).cloned();
        let principal = principal.ok_or(AuthResult::Unknown)?;
        principal.connect(shown).ok_or(AuthResult::Connections)
    }

    /// Whether a connection may go on with the credential it has shown: it is in the policy still, and
    /// its key has not been withdrawn.
    pub fn still_good(&self, identity: &Identity) -> bool {
        let policy = self.policy.load();
        let Some(policy) = policy.as_ref() else {
            return true;
        };
        let is_its = |whose: Whose<'_>| {
            let whose = whose.only();
            whose.is_ok_and(|(name, _)| name == identity.name())
        };
        match identity.credential() {
            Credential::Nothing => policy
                .anonymous()
                .is_some_and(|entry| entry.name == identity.name()),
            Credential::Token(hash) => policy
                .named(identity.name())
                .is_some_and(|entry| entry.tokens.iter().any(|known| known.sha256 == *hash)),
            Credential::Jwt(claims) => {
                let known = self
                    .jwt
                    .as_ref()
                    .is_some_and(|jwt| jwt.knows_key_of(claims));
                known && is_its(policy.by_claims(claims))
            }
            Credential::Certificate(shown) => is_its(policy.by_certificate(shown)),
        }
    }
}

fn nothing(policy: &Policy) -> Result<(String, Shown), AuthResult> {
    let entry = policy.anonymous().ok_or(AuthResult::Unknown)?;
    let shown = Shown {
        credential: Credential::Nothing,
        subject: None,
        expires: None,
    };
    Ok((entry.name.clone(), shown))
}

/// Takes as long for a wrong token as for a right one.
fn by_token(policy: &Policy, token: &[u8]) -> Option<(String, Shown)> {
    let digest: [u8; 32] = Sha256::digest(token).into();
    let mut found = None;
    for entry in &policy.entries {
        for known in &entry.tokens {
            if bool::from(known.sha256.ct_eq(&digest)) {
                found = Some((entry, known.expires));
            }
        }
    }
    let (entry, expires) = found?;
    let shown = Shown {
        credential: Credential::Token(digest),
        subject: None,
        expires,
    };
    Some((entry.name.clone(), shown))
}

fn by_jwt(policy: &Policy, jwt: &Jwt, token: &[u8]) -> Result<(String, Shown), AuthResult> {
    let claims = jwt.judge(token, SystemTime::now())?;
    let (name, subject) = policy.by_claims(&claims).only()?;
    let (subject, expires) = (subject.map(Into::into), Some(claims.expires));
    let shown = Shown {
        credential: Credential::Jwt(Arc::new(claims)),
        subject,
        expires,
    };
    Ok((name, shown))
}

/// A principal that is bound to names needs one.
fn may_be_called(entry: &Entry, client_id: Option<&str>, subject: Option<&str>) -> bool {
    let fits = |id: &str| {
        let allowed = entry.client_ids.iter().flatten();
        allowed
            .into_iter()
            .any(|one| one.matches(id, &entry.name, subject))
    };
    entry.client_ids.is_none() || client_id.is_some_and(fits)
}

/// What the client is told: what is wrong with what it has shown, and nothing that it did not know.
fn denied(method: AuthMethod, result: AuthResult) -> Denied {
    let text = match (result, method) {
        (AuthResult::Connections, _) => "this client has as many connections as it may",
        (AuthResult::ClientId, _) => "this client may not use this CLIENT_ID",
        (AuthResult::Ambiguous, AuthMethod::Certificate) => {
            "this certificate stands for several principals; show a token"
        }
        (AuthResult::Ambiguous, _) => "this token stands for several principals",
        (AuthResult::Unknown, AuthMethod::None) => {
            "credentials are asked for; begin with a HELLO that has AUTH_TOKEN"
        }
        (AuthResult::Unknown, AuthMethod::Certificate) => {
            "this certificate stands for no principal; begin with a HELLO that has AUTH_TOKEN"
        }
        (AuthResult::Unknown, AuthMethod::Jwt) => "this token stands for no principal",
        (AuthResult::Expired, AuthMethod::Certificate) => "this certificate has expired",
        (AuthResult::Expired, _) => "this token has expired",
        (AuthResult::NotYet, _) => "this token is not valid yet",
        (AuthResult::Oversized, _) => "this token is too large",
        (AuthResult::Header, _) => "the header of this token asks for what is not done",
        (AuthResult::Algorithm, _) => "this token is signed in a way that is not accepted",
        (AuthResult::Key, _) => "the key of this token is not known",
        (AuthResult::NoKeys, _) => "tokens like this one cannot be verified now",
        (AuthResult::Signature, _) => "the signature of this token is wrong",
        (AuthResult::Issuer, _) => "this token is of another issuer",
        (AuthResult::Audience, _) => "this token is for another audience",
        (AuthResult::Claims, _) => "this token lacks a claim",
        (AuthResult::Unknown | AuthResult::Malformed | AuthResult::Ok, _) => {
            "this token is not known"
        }
    };
    let is_full = result == AuthResult::Connections;
    Denied {
        code: match is_full {
            true => ErrorCode::TOO_MANY_CONNECTIONS,
            false => ErrorCode::UNAUTHENTICATED,
        },
        text: text.to_owned(),
        retry_after: is_full.then_some(RETRY_AFTER),
    }
}

#[cfg(test)]
mod tests;
