//! The principals, for those who look after the server.

use super::Auth;
use super::document::{Entry, Limits, TopicPattern};

/// A principal that is in force, and what is being made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalView {
    /// Its name.
    pub name: String,
    /// How many tokens stand for it.
    pub tokens: usize,
    /// How many descriptions of JWTs do.
    pub jwt: usize,
    /// How many names of certificates do.
    pub certificates: usize,
    /// Whether everybody is it who shows nothing.
    pub anonymous: bool,
    /// The topics that it may send to.
    pub allow: Vec<String>,
    /// Those of them that it may not.
    pub deny: Vec<String>,
    /// The limits that it has, by their names in the document.
    pub limits: Vec<(&'static str, u64)>,
    /// The highest priority that it gets.
    pub max_priority: u8,
    /// Its open connections.
    pub connections: u32,
    /// Its requests under way.
    pub in_flight: u32,
}

impl Auth {
    /// Every principal, in the order of the document.
    pub fn principals_in_force(&self) -> Vec<PrincipalView> {
        let policy = self.policy.load_full().unwrap_or_default();
        let known = self.principals();
        let view = |entry: &Entry| {
            let usage = known.get(&entry.name).map(|principal| principal.usage());
            entry.view(usage.unwrap_or_default())
        };
        policy.entries.iter().map(view).collect()
    }
}

impl Entry {
    fn view(&self, (connections, in_flight): (u32, u32)) -> PrincipalView {
        let texts = |patterns: &[TopicPattern]| {
            let texts = patterns.iter().map(ToString::to_string);
            texts.collect()
        };
        PrincipalView {
            name: self.name.clone(),
            tokens: self.tokens.len(),
            jwt: self.jwt.len(),
            certificates: self.certificates.len(),
            anonymous: self.anonymous,
            allow: texts(&self.allow),
            deny: texts(&self.deny),
            limits: self.limits.named().collect(),
            max_priority: self.max_priority,
            connections,
            in_flight,
        }
    }
}

impl Limits {
    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let limits = [
            ("connections", self.connections.map(u64::from)),
            ("in_flight", self.in_flight.map(u64::from)),
            (
                "requests_per_second",
                self.requests_per_second.map(u64::from),
            ),
            ("burst", self.burst.map(u64::from)),
            ("bytes_per_second", self.bytes_per_second),
            ("bytes_burst", self.bytes_burst),
        ];
        let set = limits.into_iter();
        set.filter_map(|(name, limit)| Some((name, limit?)))
    }
}
