//! The principals document: who there is, by which credentials, and what they may do.
//!
//! ```yaml
//! apiVersion: mcpd/v1
//! kind: Principals
//! principals:
//!   - name: tills                  # [a-z0-9._-]{1,63}, unique
//!     tokens:                      # any of them will do; `mcpd token new` makes one
//!       - {name: 2026-q4, sha256: "<64 hex digits>", expires: "2027-01-01T00:00:00Z"}
//!     jwt: [{subject: "till-*", claims: {tenant: acme}}]
//!     certificates: [{uri: "spiffe://prod/till/*"}, {dns: "*.tills.example"}, {email: "ops@example.org"}]
//!     anonymous: false             # true: whoever shows nothing; one entry at most
//!     client_ids: ["till-*"]       # CLIENT_IDs it may use; absent: any, or none
//!     allow: ["tills/${client_id}/#", "heartbeat"]
//!     deny: ["tills/+/admin/#"]    # wins over allow; what neither matches is denied
//!     limits: {connections: 100, in_flight: 1000, requests_per_second: 500, burst: 1000,
//!              bytes_per_second: 1000000, bytes_burst: 4000000}
//!     priority: {max: 7}
//! ```

mod client_id;
mod credentials;
mod pattern;

pub use client_id::ClientIdPattern;
pub(super) use credentials::{JwtMatch, SanPattern};
pub use pattern::{Effect, TopicPattern, Values};

use crate::router::document::reading::{self, Field, Fields, Report};
use std::fmt;
use std::time::SystemTime;

/// Largest document.
pub const MAX_BYTES: usize = 1 << 20;
/// Most entries: each token of each is compared with what a HELLO shows.
const MAX_ENTRIES: usize = 1000;
/// Most tokens of an entry: the one in use, and those it is changed for.
const MAX_TOKENS: usize = 16;
/// Greatest rate of bytes, and as many at once: more than a machine moves.
const MAX_BYTES_PER_SECOND: u64 = 1 << 40;
/// Most patterns in a list: a request is held against each.
const MAX_PATTERNS: usize = 256;

/// Who there is. Taken whole or refused whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    pub(super) entries: Vec<Entry>,
}

/// A principal of the document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) tokens: Vec<Token>,
    pub(super) jwt: Vec<JwtMatch>,
    pub(super) certificates: Vec<SanPattern>,
    pub(super) anonymous: bool,
    pub(super) client_ids: Option<Vec<ClientIdPattern>>,
    pub(super) allow: Vec<TopicPattern>,
    pub(super) deny: Vec<TopicPattern>,
    pub(super) limits: Limits,
    pub(super) max_priority: u8,
}

/// A token, of which only the hash is known.
#[derive(Clone, PartialEq)]
pub(super) struct Token {
    pub(super) sha256: [u8; 32],
    pub(super) expires: Option<SystemTime>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a principal may use at one time, on all its connections together; `None` is any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) connections: Option<u32>,
    pub(super) in_flight: Option<u32>,
    pub(super) requests_per_second: Option<u32>,
    pub(super) burst: Option<u32>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) bytes_burst: Option<u64>,
}

impl Entry {
    /// Whether a client of whom this is known may send to this topic.
    #[inline]
    pub(super) fn permits(&self, topic: &str, values: &Values<'_>) -> bool {
        let any = |patterns: &[TopicPattern], effect| {
            let mut patterns = patterns.iter();
            patterns.any(|one| one.matches(topic, values, effect))
        };
        any(&self.allow, Effect::Allow) && !any(&self.deny, Effect::Deny)
    }

    /// The pattern that decides it; none does where nothing is said of the topic.
    pub(super) fn rule(&self, topic: &str, values: &Values<'_>) -> Option<&TopicPattern> {
        let allows = |one: &&TopicPattern| one.matches(topic, values, Effect::Allow);
        let denies = |one: &&TopicPattern| one.matches(topic, values, Effect::Deny);
        let allow = self.allow.iter().find(allows)?;
        self.deny.iter().find(denies).or(Some(allow))
    }
}

impl Policy {
    /// Reads a document of YAML or JSON and at most 1 MiB.
    ///
    /// # Errors
    /// Every problem by line and key, without what a token's key holds.
    ///
    /// ```
    /// use mcpd::auth::Policy;
    ///
    /// let text = b"{apiVersion: mcpd/v1, kind: Principals, principals: [{name: all, anonymous: true, allow: ['#']}]}";
    /// assert!(Policy::parse(text).is_ok());
    /// let error = Policy::parse(b"{apiVersion: mcpd/v1, kind: Principals}").unwrap_err();
    /// assert!(error.contains("principals: is missing"));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Policy, String> {
        let read = reading::whole(text, MAX_BYTES, policy);
        let (policy, _) = read.map_err(|error| error.to_string())?;
        Ok(policy)
    }

    /// How many principals there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn policy(root: Field<'_>, report: &mut Report) -> Option<Policy> {
    let known = &["apiVersion", "kind", "revision", "principals"];
    let fields = Fields::of(root, known, report)?;
    fields.unknown(report);
    for (key, wanted) in [("apiVersion", "mcpd/v1"), ("kind", "Principals")] {
        if let Some(field) = fields.require(key, report)
            && reading::text(&field, report).is_some_and(|found| found != wanted)
        {
            reading::wrong(&field, &format!("is not {wanted}"), report);
        }
    }
    if let Some(field) = fields.get("revision") {
        reading::number(&field, 0..=u64::MAX, report);
    }
    let list = fields.require("principals", report)?;
    let items = reading::bounded(&list, MAX_ENTRIES, report)?;
    let mut policy = Policy::default();
    for item in items {
        let place = item.place();
        let Some(entry) = entry(item, report) else {
            continue;
        };
        if let Some(problem) = policy.clash(&entry) {
            reading::wrong_at(&place, &problem, report);
        }
        policy.entries.push(entry);
    }
    Some(policy)
}

impl Policy {
    /// What keeps `entry` from standing beside those before it.
    fn clash(&self, entry: &Entry) -> Option<String> {
        for other in &self.entries {
            let same = |token: &Token| other.tokens.iter().any(|one| one.sha256 == token.sha256);
            if other.name == entry.name {
                return Some("has the name of an earlier one".to_owned());
            } else if other.anonymous && entry.anonymous {
                return Some(format!("is anonymous as {:?} is; one may be", other.name));
            } else if entry.tokens.iter().any(same) {
                return Some(format!("has a token of {:?}", other.name));
            }
        }
        None
    }
}

fn entry(item: Field<'_>, report: &mut Report) -> Option<Entry> {
    let known = &[
        "name",
        "tokens",
        "jwt",
        "certificates",
        "anonymous",
        "client_ids",
        "allow",
        "deny",
        "limits",
        "priority",
    ];
    let place = item.place();
    let fields = Fields::of(item, known, report)?;
    fields.unknown(report);
    let name = fields.require("name", report);
    let name = name.and_then(|field| name_of(&field, report));
    let tokens = fields.get("tokens").map(|field| tokens(&field, report));
    let jwt = fields.get("jwt");
    let jwt = jwt.map(|field| credentials::jwts(&field, report));
    let certificates = fields.get("certificates");
    let certificates = certificates.map(|field| credentials::certificates(&field, report));
    let anonymous = fields.get("anonymous");
    let anonymous = anonymous.and_then(|field| reading::boolean(&field, report));
    let anonymous = anonymous.unwrap_or(false);
    let (tokens, jwt) = (tokens.unwrap_or_default(), jwt.unwrap_or_default());
    let certificates = certificates.unwrap_or_default();
    if tokens.is_empty() && jwt.is_empty() && certificates.is_empty() && !anonymous {
        let message = "has neither tokens nor jwt nor certificates nor `anonymous: true`";
        reading::wrong_at(&place, message, report);
    }
    let client_ids = fields.get("client_ids");
    let client_ids = client_ids.map(|field| list(&field, ClientIdPattern::parse, report));
    let mut patterns = |key: &str| {
        let field = fields.get(key);
        field.map(|field| list(&field, TopicPattern::parse, report))
    };
    let (allow, deny) = (patterns("allow"), patterns("deny"));
    Some(Entry {
        name: name?,
        tokens,
        jwt,
        certificates,
        anonymous,
        client_ids,
        allow: allow.unwrap_or_default(),
        deny: deny.unwrap_or_default(),
        limits: limits(&fields, report),
        max_priority: max_priority(&fields, report).unwrap_or(7),
    })
}

fn list<T>(
    field: &Field<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
    report: &mut Report,
) -> Vec<T> {
    let items = reading::bounded(field, MAX_PATTERNS, report).unwrap_or_default();
    let one = |item: Field<'_>| {
        let text = reading::text(&item, report)?;
        let parsed = parse(text);
        parsed
            .map_err(|why| reading::wrong(&item, &why, report))
            .ok()
    };
    items.into_iter().filter_map(one).collect()
}

fn name_of(field: &Field<'_>, report: &mut Report) -> Option<String> {
    let name = reading::text(field, report)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if (1..=63).contains(&name.len()) && name.bytes().all(plain) {
        return Some(name.to_owned());
    }
    reading::wrong(
        field,
        "is not a name; write 1 to 63 of a-z 0-9 . _ -",
        report,
    );
    None
}

fn tokens(field: &Field<'_>, report: &mut Report) -> Vec<Token> {
    let items = reading::bounded(field, MAX_TOKENS, report).unwrap_or_default();
    let tokens = items.into_iter().filter_map(|item| token(item, report));
    tokens.collect()
}

fn token(item: Field<'_>, report: &mut Report) -> Option<Token> {
    let fields = Fields::of(item, &["name", "sha256", "expires"], report)?;
    fields.unknown(report);
    let name = fields.require("name", report);
    let _ = name.and_then(|field| reading::secret_text(&field, report));
    let sha256 = fields.require("sha256", report);
    let sha256 = sha256.and_then(|field| reading::sha256(&field, report));
    let mut expires = None;
    if let Some(field) = fields.get("expires") {
        let text = reading::text(&field, report)?;
        expires = humantime::parse_rfc3339(text).ok();
        if expires.is_none() {
            let message = "is no time of day in UTC; write it as \"2027-01-01T00:00:00Z\"";
            reading::wrong(&field, message, report);
        }
    }
    Some(Token {
        sha256: sha256?,
        expires,
    })
}

fn limits(fields: &Fields<'_>, report: &mut Report) -> Limits {
    let known = &[
        "connections",
        "in_flight",
        "requests_per_second",
        "burst",
        "bytes_per_second",
        "bytes_burst",
    ];
    let field = fields.get("limits");
    let Some(fields) = field.and_then(|field| Fields::of(field, known, report)) else {
        return Limits::default();
    };
    fields.unknown(report);
    for (burst, rate) in [
        ("burst", "requests_per_second"),
        ("bytes_burst", "bytes_per_second"),
    ] {
        if let (Some(field), None) = (fields.get(burst), fields.get(rate)) {
            reading::wrong(&field, &format!("does nothing without {rate}"), report);
        }
    }
    let mut bytes = |key: &str| {
        let field = fields.get(key)?;
        reading::number(&field, 1..=MAX_BYTES_PER_SECOND, report)
    };
    let (bytes_per_second, bytes_burst) = (bytes("bytes_per_second"), bytes("bytes_burst"));
    let mut limit = |key: &str| {
        let field = fields.get(key)?;
        reading::number(&field, 1..=10_000_000_u32, report)
    };
    Limits {
        connections: limit("connections"),
        in_flight: limit("in_flight"),
        requests_per_second: limit("requests_per_second"),
        burst: limit("burst"),
        bytes_per_second,
        bytes_burst,
    }
}

fn max_priority(fields: &Fields<'_>, report: &mut Report) -> Option<u8> {
    let fields = Fields::of(fields.get("priority")?, &["max"], report)?;
    fields.unknown(report);
    let max = fields.require("max", report)?;
    reading::number(&max, 0..=7_u8, report)
}

#[cfg(test)]
mod properties;
