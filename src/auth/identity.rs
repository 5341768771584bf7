//! What a connection keeps of who it belongs to.

use super::bucket::Bucket;
use super::document::{Entry, Values};
use super::jwt::Claims;
use crate::message::Certificate;
use arc_swap::{ArcSwapOption, Guard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A principal, for as long as somebody is connected as it or it is in the policy.
#[derive(Debug)]
pub(super) struct Principal {
    name: String,
    /// `None` when it is not in the policy any more.
    rules: ArcSwapOption<Entry>,
    connections: AtomicU32,
    in_flight: AtomicU32,
    requests: Bucket,
    bytes: Bucket,
    traces: Bucket,
}

/// What a client has shown, as far as it takes to say later whether it is good still.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    Nothing,
    /// The hash of a token.
    Token([u8; 32]),
    Jwt(Arc<Claims>),
    Certificate(Arc<Certificate>),
}

/// Whose a credential is, and what of it stays with the connection.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) credential: Credential,
    /// Whom a JWT or a certificate is about.
    pub(super) subject: Option<Box<str>>,
    pub(super) expires: Option<SystemTime>,
}

impl Principal {
    pub(super) fn new(rules: Arc<Entry>) -> Principal {
        Principal {
            name: rules.name.clone(),
            rules: ArcSwapOption::from(Some(rules)),
            connections: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            requests: Bucket::new(),
            bytes: Bucket::new(),
            traces: Bucket::new(),
        }
    }

    /// Its connections and its requests under way.
    pub(super) fn usage(&self) -> (u32, u32) {
        let connections = self.connections.load(Ordering::Relaxed);
        (connections, self.in_flight.load(Ordering::Relaxed))
    }

    pub(super) fn set_rules(&self, rules: Option<Arc<Entry>>) {
        self.rules.store(rules);
    }

    /// One more connection, if it may have one.
    pub(super) fn connect(self: Arc<Self>, shown: Shown) -> Option<Identity> {
        let max = self.rules.load().as_ref()?.limits.connections;
        // Takes its place first, so that two at once do not both find the last one free.
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let identity = Identity {
            principal: self,
            shown,
        };
        max.is_none_or(|max| before < max).then_some(identity)
    }
}

/// A client that has shown who it is. It holds one of its principal's connections until it is dropped.
pub struct Identity {
    principal: Arc<Principal>,
    shown: Shown,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.name()).finish()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.principal.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Identity {
    /// The principal's name, as logs and the admin API show it.
    pub fn name(&self) -> &str {
        &self.principal.name
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.shown.credential
    }

    /// Whom its JWT or certificate is about.
    pub fn subject(&self) -> Option<&str> {
        self.shown.subject.as_deref()
    }

    /// Whether another request of its principal may be recorded because its client wishes so, at so many a
    /// second.
    pub(crate) fn may_be_traced(&self, per_second: u32, now: Instant) -> bool {
        let traces = &self.principal.traces;
        per_second > 0 && traces.take(per_second, per_second, now).is_ok()
    }

    /// When its credential expires.
    pub fn expires(&self) -> Option<SystemTime> {
        self.shown.expires
    }

    #[inline]
    fn values<'a>(&'a self, client_id: Option<&'a str>) -> Values<'a> {
        Values {
            principal: &self.principal.name,
            subject: self.subject(),
            client_id,
        }
    }

    /// What holds for it now. Whoever judges several requests at a time takes it once for all of them.
    #[inline]
    pub fn rules(&self) -> Rules {
        Rules(self.principal.rules.load())
    }

    /// Whether it may send requests to this topic. No allocation, no lock.
    #[inline]
    pub fn permits(&self, rules: &Rules, topic: &str, client_id: Option<&str>) -> bool {
        let entry = rules.entry();
        entry.is_some_and(|entry| entry.permits(topic, &self.values(client_id)))
    }

    /// The pattern that decides whether it may, for people.
    pub(crate) fn rule(
        &self,
        rules: &Rules,
        topic: &str,
        client_id: Option<&str>,
    ) -> Option<String> {
        let rule = rules.entry()?.rule(topic, &self.values(client_id));
        rule.map(ToString::to_string)
    }

    /// Takes a request of so many bytes from what it may send in a second. One that is larger than what
    /// is left of the bytes passes as long as anything is, and is paid for before the next.
    ///
    /// # Errors
    /// How long it takes until it may.
    #[inline]
    pub fn take(&self, rules: &Rules, bytes: usize, now: Instant) -> Result<(), Duration> {
        let Some(limits) = rules.entry().map(|entry| &entry.limits) else {
            return Ok(());
        };
        if let Some(rate) = limits.bytes_per_second {
            let burst = limits.bytes_burst.unwrap_or(rate);
            self.principal.bytes.has_some(rate, burst, now)?;
        }
        if let Some(rate) = limits.requests_per_second {
            let burst = limits.burst.unwrap_or(rate);
            self.principal.requests.take(rate, burst, now)?;
        }
        if let Some(rate) = limits.bytes_per_second {
            self.principal.bytes.charge(bytes as u64, rate, now);
        }
        Ok(())
    }

    /// Whether it has as many requests under way as it may, on all its connections together.
    #[inline]
    pub fn is_full(&self, rules: &Rules) -> bool {
        let max = rules.entry().and_then(|entry| entry.limits.in_flight);
        max.is_some_and(|max| self.principal.in_flight.load(Ordering::Relaxed) >= max)
    }

    /// A request of it is under way until the place is dropped. Connections of several threads may find
    /// room at the same moment, and so be a few over the limit.
    pub fn enter(&self) -> InFlight {
        self.principal.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.principal))
    }
}

/// What holds for a principal at one moment; nothing is allowed to one that is gone.
pub struct Rules(Guard<Option<Arc<Entry>>>);

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl Rules {
    #[inline]
    fn entry(&self) -> Option<&Entry> {
        self.0.as_deref()
    }

    /// The highest priority that the principal gets.
    #[inline]
    pub fn priority_ceiling(&self) -> u8 {
        self.entry().map_or(0, |entry| entry.max_priority)
    }
}

/// A request under way.
#[derive(Debug)]
pub struct InFlight(Arc<Principal>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
