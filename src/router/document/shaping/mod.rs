//! What a route may do beyond leading to one handler: split, match, mirror, rewrite, fault.

mod emit;
mod glob;
mod read;
mod rewrite;
#[cfg(test)]
mod tests;

pub(super) use emit::{MATCH, SPLIT, fields, target};
pub use glob::Glob;
pub(super) use read::{shape, target as read_target};
pub use rewrite::Rewrite;

use super::{Document, RatePer, RouteSpec};
use mcpd_proto::ErrorCode;
use std::time::Duration;

/// Most shares of a split: more would be a balancer, which is a matter of the handler.
pub const MAX_SHARES: usize = 16;

/// Highest weight of a share. Shares hold exactly over as many requests as the weights add up to.
pub const MAX_WEIGHT: u32 = 10_000;

/// Most entries under `match`: each costs every request of the route a comparison.
pub const MAX_MATCHES: usize = 32;

/// Most HEADERs that one entry under `match` asks for.
pub const MAX_MATCH_HEADERS: usize = 8;

/// Codes that a fault may answer with. What refuses or never ran is class 0x02; what is said to have
/// run, or to be unknown, is said of a handler that did run.
pub const FAULT_CODES: [ErrorCode; 9] = [
    ErrorCode::OVERLOADED,
    ErrorCode::RATE_LIMITED,
    ErrorCode::CIRCUIT_OPEN,
    ErrorCode::EXPIRED,
    ErrorCode::UPSTREAM_UNAVAILABLE,
    ErrorCode::DEADLINE_EXCEEDED,
    ErrorCode::UPSTREAM_LOST,
    ErrorCode::INTERNAL,
    ErrorCode::HANDLER_ERROR,
];

/// Where a route leads unless one of its matches decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// To this handler.
    Handler(String),
    /// To several, by weight.
    Split(Split),
}

/// Handlers that share the requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// 1 to [`MAX_SHARES`] of different handlers, with at least one weight above 0.
    pub shares: Vec<Share>,
    /// What keeps a client with its handler; `None` has the shares exact instead.
    pub sticky: Option<Sticky>,
}

/// One handler's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of the handler.
    pub handler: String,
    /// 0 to [`MAX_WEIGHT`]; 0 is nothing.
    pub weight: u32,
}

/// By what requests stay with one handler of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By the client's CLIENT_ID.
    ClientId,
    /// By the value of this HEADER.
    Header(String),
}

/// Requests that another handler takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchSpec {
    /// HEADERs that a request must have, by key.
    pub headers: Vec<(String, Glob)>,
    /// What its CLIENT_ID must be.
    pub client_id: Option<Glob>,
    /// What the name of its principal must be.
    pub principal: Option<Glob>,
    /// Name of the handler that takes it if all of this holds.
    pub handler: String,
}

/// Copies of requests that go to another handler, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSpec {
    /// Name of the handler.
    pub handler: String,
    /// How many of a hundred requests.
    pub percent: u8,
}

/// Harm that is done on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// To how many of a hundred requests.
    pub percent: u8,
    /// How long they are held back.
    pub delay: Option<Duration>,
    /// What they are answered with, one of [`FAULT_CODES`].
    pub error: Option<ErrorCode>,
}

impl Target {
    /// Handlers with the keys that name them.
    fn handlers(&self) -> Vec<(String, &str)> {
        match self {
            Target::Handler(name) => vec![("handler".to_owned(), name)],
            Target::Split(split) => {
                let shares = split.shares.iter().enumerate();
                shares
                    .map(|(at, share)| (format!("split[{at}].handler"), share.handler.as_str()))
                    .collect()
            }
        }
    }
}

impl RouteSpec {
    /// Every handler that the route leads to, with the key that names it: by itself, by its split, its
    /// matches and its mirror.
    pub fn handlers(&self) -> Vec<(String, &str)> {
        let mut named = self.choices();
        let mirror = self.mirror.iter();
        named.extend(mirror.map(|mirror| ("mirror.handler".to_owned(), &*mirror.handler)));
        named
    }

    /// Those that may answer: all but its mirror.
    pub fn choices(&self) -> Vec<(String, &str)> {
        let mut named = self.target.handlers();
        let matches = self.matches.iter().enumerate();
        named.extend(matches.map(|(at, rule)| (format!("match[{at}].handler"), &*rule.handler)));
        named
    }

    /// Features of the document that this route uses, of those that a reader may not know.
    fn features(&self) -> impl Iterator<Item = &'static str> {
        let used = [
            (self.fault.is_some(), "fault"),
            (!self.matches.is_empty(), "match"),
            (self.mirror.is_some(), "mirror"),
            (
                self.rate_limit
                    .is_some_and(|limit| limit.per != RatePer::Route),
                "rate_per",
            ),
            (self.rewrite.is_some(), "rewrite"),
            (matches!(self.target, Target::Split(_)), "split"),
        ];
        used.into_iter()
            .filter(|(used, _)| *used)
            .map(|(_, name)| name)
    }
}

impl Document {
    /// Features that its routes use and it does not require yet, in the order of the alphabet.
    fn unsaid(&self) -> Vec<&'static str> {
        let mut features: Vec<_> = self.routes.iter().flat_map(RouteSpec::features).collect();
        features.sort_unstable();
        features.dedup();
        features.retain(|feature| !self.requires.iter().any(|said| said == feature));
        features
    }

    /// What a reader must have, said or not.
    pub(super) fn all_requires(&self) -> Vec<&str> {
        let said = self.requires.iter().map(String::as_str);
        said.chain(self.unsaid()).collect()
    }

    /// Has the document require what its routes use, so that whoever reads it and does not know that
    /// refuses it. Gives what was missing.
    pub fn require_used(&mut self) -> Vec<&'static str> {
        let unsaid = self.unsaid();
        self.requires
            .extend(unsaid.iter().map(|name| (*name).to_owned()));
        unsaid
    }
}
