//! JWTs: whose they are, by the keys of their issuer.
//!
//! Verified with ring directly: a library would still have needed all of the cryptography from us, as it
//! brings none that we would link, and a judgement of duplicate keys and header fields besides.

mod json;
mod keys;
mod token;

pub use keys::{Algorithm, KeySet};
pub use token::Rules;
pub(crate) use token::{Claims, is_jwt};

use crate::telemetry::AuthResult;
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};

/// Least time between two looks for keys that tokens have caused: anybody can make a token up that
/// names an unknown key.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Judges JWTs by rules and by the keys of the moment.
#[derive(Debug)]
pub struct Jwt {
    rules: Rules,
    /// Whether unknown keys are worth a look.
    asks: bool,
    keys: ArcSwapOption<KeySet>,
    asking: Mutex<Asking>,
    /// Somebody asks for keys.
    asked: Notify,
    /// Looks for keys that have ended.
    looks: watch::Sender<u64>,
}

/// What tokens with unknown keys have caused.
#[derive(Debug, Default)]
struct Asking {
    last: Option<Instant>,
    under_way: bool,
}

impl Jwt {
    /// Knows no key yet. Where it `asks`, somebody has to wait for [`Jwt::asked`], look for keys and
    /// say with [`Jwt::looked`] when that is over.
    pub fn new(rules: Rules, asks: bool) -> Jwt {
        Jwt {
            rules,
            asks,
            keys: ArcSwapOption::empty(),
            asking: Mutex::default(),
            asked: Notify::new(),
            looks: watch::Sender::new(0),
        }
    }

    /// Uses these keys from now on; without any no token is good.
    pub fn set_keys(&self, keys: Option<KeySet>) {
        self.keys.store(keys.map(Arc::new));
    }

    /// Whether these are the keys in use.
    pub fn has(&self, keys: &KeySet) -> bool {
        self.keys.load().as_deref() == Some(keys)
    }

    /// Whether there are any.
    pub fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn judge(&self, token: &[u8], now: SystemTime) -> Result<Claims, AuthResult> {
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(AuthResult::NoKeys)?;
        token::verify(token, keys, &self.rules, now)
    }

    /// Whether the key that a token was signed with is one still.
    pub(super) fn knows_key_of(&self, claims: &Claims) -> bool {
        let keys = self.keys.load();
        keys.as_ref().is_some_and(|keys| keys.has(&claims.key))
    }

    /// Asks for a look for keys, because of a token that names an unknown one: gives what waits for its
    /// end. All who ask meanwhile wait for the same look, and for a while after it nobody may ask.
    pub(super) fn ask(&self, now: Instant) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut looks = self.looks.subscribe();
        let mut asking = self.asking();
        let lately = |last: Instant| now.saturating_duration_since(last) < ASK_AGAIN;
        if !asking.under_way {
            if !self.asks || asking.last.is_some_and(lately) {
                return None;
            }
            *asking = Asking {
                last: Some(now),
                under_way: true,
            };
            self.asked.notify_one();
        }
        Some(async move {
            // It fails when nobody looks any more, which is an end as well.
            let _ = looks.changed().await;
        })
    }

    /// Waits until somebody asks for a look. Cancel safe.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// A look has ended, whatever it brought.
    pub fn looked(&self) {
        self.asking().under_way = false;
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// It is changed in single steps.
    fn asking(&self) -> std::sync::MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
