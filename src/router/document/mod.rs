//! The route document: the one format in which routes are written, everywhere.
//!
//! ```yaml
//! apiVersion: mcpd/v1
//! kind: RouteTable
//! revision: 7                # counted up by every write of mcpd; 0 if absent
//! requires: []               # features that a reader must have
//! routes:
//!   - name: orders           # [a-z0-9._-]{1,63}, unique; made from the topic if absent
//!     topic: "orders/+/new"  # a topic or pattern, unique
//!     handler: echo          # [a-z0-9._-]{1,63}; or `split`
//!     qos: 0                 # 0, 1 or 2
//!     timeout: 30s           # 1ms to 1h
//!     ordered: false
//!     rate_limit: {per_second: 1000, burst: 2000, algorithm: token_bucket}  # absent: none
//!     priority: {min: 0, max: 7}
//! ```
//!
//! `split`, `sticky`, `match`, `rewrite`, `mirror` and `fault` shape the traffic of a route; none of them
//! has a default. The defaults are the ones shown. JSON is accepted as the part of YAML that it is. Scalars are
//! those of YAML 1.2's core schema; anchors, aliases and tags are refused, so that a document is
//! as large as it looks.
//!
//! A document is taken whole or refused whole, with every problem named by line and key. Unknown
//! keys are kept, written again and warned of; [`ParseOptions::strict`] refuses them. Comments and
//! the order of keys are lost when a document is written.

mod emit;
mod fields;
mod identity;
mod names;
mod parse;
mod problem;
mod shaping;
mod surrogates;
#[cfg(test)]
mod tests;
mod yaml;

/// What reads other small documents as strictly as this one.
pub(crate) mod reading {
    pub(crate) use super::fields::{
        Field, Fields, Report, anything, boolean, entries, items, text, whole as number,
    };
    use super::problem::{DocumentError, Problem, Problems};
    use super::yaml::{Meaning, Value, meaning};

    /// Reads `bytes` of YAML or JSON, and hands what they hold to `read`; unknown keys are problems.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn whole<T>(
        bytes: &[u8],
        max_bytes: usize,
        read: impl FnOnce(Field<'_>, &mut Report) -> Option<T>,
    ) -> Result<(T, Problems), DocumentError> {
        let options = super::ParseOptions {
            strict: true,
            max_bytes,
        };
        super::parse::read_with(bytes, &options, read)
    }

    /// Notes that the value of `field` is wrong.
    pub(crate) fn wrong(field: &Field<'_>, message: &str, report: &mut Report) {
        wrong_at(&field.place(), message, report);
    }

    /// Notes that what is at this line and path is wrong.
    pub(crate) fn wrong_at((line, path): &(u32, String), message: &str, report: &mut Report) {
        report.problem(Problem::new(*line, path.as_str(), message));
    }

    /// A scalar as it is written, whatever YAML takes it for.
    pub(crate) fn written<'n>(field: &Field<'n>, report: &mut Report) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => {
                wrong(
                    field,
                    "is a list or a mapping; write a single value",
                    report,
                );
                None
            }
        }
    }

    /// A text that no message may repeat.
    pub(crate) fn secret_text<'n>(field: &Field<'n>, report: &mut Report) -> Option<&'n str> {
        if let Value::Scalar { text, plain } = &field.node.value
            && let Meaning::Text(text) = meaning(text, *plain)
        {
            return Some(text);
        }
        wrong(field, "is not a text; write one, in quotes", report);
        None
    }

    /// A SHA-256 in hex, which no message may repeat: it might be the secret itself.
    pub(crate) fn sha256(field: &Field<'_>, report: &mut Report) -> Option<[u8; 32]> {
        let digits = secret_text(field, report)?;
        let decoded = unhex(digits);
        if decoded.is_none() {
            let message = "is not a SHA-256 of 64 hex digits; `mcpd token new` makes a token and prints \
                           what belongs here";
            wrong(field, message, report);
        }
        decoded
    }

    fn unhex(digits: &str) -> Option<[u8; 32]> {
        let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
        }
        Some(bytes)
    }
}

pub use identity::{ETag, ETagError};
pub use names::{MAX_NAME_LEN, derive_name, is_name};
pub use problem::{DocumentError, MAX_PROBLEMS, Problem, Problems};
pub use shaping::{
    FAULT_CODES, FaultSpec, Glob, MAX_MATCH_HEADERS, MAX_MATCHES, MAX_SHARES, MAX_WEIGHT,
    MatchSpec, MirrorSpec, Rewrite, Share, Split, Sticky, Target,
};

use mcpd_proto::topic::Pattern;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The `apiVersion` that this build reads and writes.
pub const API_VERSION: &str = "mcpd/v1";

/// The `kind` of a route document.
pub const KIND: &str = "RouteTable";

/// What `requires` may name: features of the document that this build has.
pub const FEATURES: &[&str] = &[
    "fault",
    "leaky_bucket",
    "match",
    "mirror",
    "rate_per",
    "rewrite",
    "split",
];

/// Default of [`ParseOptions::max_bytes`], 8 MiB: 100,000 routes fit, and reading a wrong file
/// costs little.
pub const DEFAULT_MAX_DOCUMENT_BYTES: usize = 8 << 20;

/// Timeout of a route that states none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeouts that a route may state.
pub const TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// Rates that a route may state, in requests per second.
pub const RATE_RANGE: RangeInclusive<u32> = 1..=10_000_000;

/// Keys that this build does not know, with their values.
pub type UnknownKeys = serde_json::Map<String, serde_json::Value>;

/// A valid route document.
///
/// ```
/// use mcpd::router::document::{Document, ParseOptions};
///
/// let text = "
/// apiVersion: mcpd/v1
/// kind: RouteTable
/// routes:
///   - topic: orders/+/new
///     handler: echo
///     timeout: 5s
/// ";
/// let loaded = Document::parse(text.as_bytes(), &ParseOptions::default())?;
/// let route = &loaded.document.routes[0];
/// assert_eq!(route.name, "orders.any.new");
/// assert_eq!(route.timeout.as_secs(), 5);
///
/// let broken = text.replace("5s", "5");
/// let error = Document::parse(broken.as_bytes(), &ParseOptions::default()).unwrap_err();
/// assert!(error.to_string().contains("line 7: routes[0].timeout: "));
/// # Ok::<(), mcpd::router::document::DocumentError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Counted up by every write of mcpd.
    pub revision: u64,
    /// Features that a reader must have.
    pub requires: Vec<String>,
    /// The routes, in the order of the document; the order means nothing.
    pub routes: Vec<RouteSpec>,
    /// Unknown keys beside these.
    pub unknown: UnknownKeys,
}

impl Document {
    /// Reads a document of YAML or JSON.
    ///
    /// # Errors
    /// Every problem that the document has, of which the first [`MAX_PROBLEMS`] are kept. A text
    /// that is not YAML at all has only that one problem.
    pub fn parse(bytes: &[u8], options: &ParseOptions) -> Result<Loaded, DocumentError> {
        parse::document(bytes, options)
    }
}

impl RouteSpec {
    /// Reads one route as it stands in the list of a document, named `name` unless it says so
    /// itself. Gives what should be said about it, too.
    ///
    /// # Errors
    /// Every problem that it has; that its name is another one is one of them.
    pub fn parse(
        bytes: &[u8],
        name: &str,
        options: &ParseOptions,
    ) -> Result<(RouteSpec, Problems), DocumentError> {
        parse::one_route(bytes, name, options)
    }

    /// Whether both mean the same, wherever they stand.
    pub fn says_the_same(&self, other: &RouteSpec) -> bool {
        let line = self.line;
        *self
            == RouteSpec {
                line,
                ..other.clone()
            }
    }
}

/// One route, checked by itself; whether its handler exists and can give what it asks for is for
/// the caller to judge, with `line` for the message.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSpec {
    /// Unique name: the metric label and the admin path key.
    pub name: String,
    /// What it claims.
    pub pattern: Pattern,
    /// Where it leads.
    pub target: Target,
    /// Requests that lead elsewhere; the first that holds decides.
    pub matches: Vec<MatchSpec>,
    /// The topic that handlers see instead of the client's.
    pub rewrite: Option<Rewrite>,
    /// Copies to another handler.
    pub mirror: Option<MirrorSpec>,
    /// Harm on purpose.
    pub fault: Option<FaultSpec>,
    /// Quality of service, 0 to 2.
    pub qos: u8,
    /// How long a request may take that brings no timeout of its own.
    pub timeout: Duration,
    /// Whether requests of one connection to one topic run one at a time.
    pub ordered: bool,
    /// Limit of the rate of requests; none if absent.
    pub rate_limit: Option<RateLimitSpec>,
    /// Priorities that requests are clamped to.
    pub priority: PriorityBounds,
    /// Where it begins in the document, from 1; 0 if it was not read from one.
    pub line: u32,
    /// Unknown keys of the route.
    pub unknown: UnknownKeys,
    /// Unknown keys of its `rate_limit`.
    pub unknown_rate_limit: UnknownKeys,
    /// Unknown keys of its `priority`.
    pub unknown_priority: UnknownKeys,
}

impl RouteSpec {
    /// A route with the defaults for everything else, named after its pattern.
    pub fn new(pattern: Pattern, handler: impl Into<String>) -> RouteSpec {
        RouteSpec {
            name: derive_name(pattern.as_str()),
            pattern,
            target: Target::Handler(handler.into()),
            matches: Vec::new(),
            rewrite: None,
            mirror: None,
            fault: None,
            qos: 0,
            timeout: DEFAULT_TIMEOUT,
            ordered: false,
            rate_limit: None,
            priority: PriorityBounds::default(),
            line: 0,
            unknown: UnknownKeys::new(),
            unknown_rate_limit: UnknownKeys::new(),
            unknown_priority: UnknownKeys::new(),
        }
    }
}

/// A bound on the rate of the requests of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitSpec {
    /// Requests a second, within [`RATE_RANGE`].
    pub per_second: u32,
    /// Requests that the bucket holds, at least 1.
    pub burst: u32,
    /// What the bucket does with them.
    pub algorithm: RateAlgorithm,
    /// Whose bucket it is.
    pub per: RatePer,
}

/// Whether clients share a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RatePer {
    /// All of the route's.
    #[default]
    Route,
    /// Those of one CLIENT_ID.
    ClientId,
    /// Those of one principal.
    Principal,
}

impl RatePer {
    /// Every one with its name in documents.
    pub const ALL: [(RatePer, &str); 3] = [
        (RatePer::Route, "route"),
        (RatePer::ClientId, "client_id"),
        (RatePer::Principal, "principal"),
    ];
}

/// What happens to requests that come faster than their rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateAlgorithm {
    /// Up to a burst of them run at once, the others are refused.
    #[default]
    TokenBucket,
    /// Up to a burst of them wait, so that they run evenly; the others are refused.
    LeakyBucket,
}

impl RateAlgorithm {
    /// Every algorithm with its name in documents.
    pub const ALL: [(RateAlgorithm, &str); 2] = [
        (RateAlgorithm::TokenBucket, "token_bucket"),
        (RateAlgorithm::LeakyBucket, "leaky_bucket"),
    ];
}

/// Priorities that requests of a route are clamped to, 0 to 7, `min` ≤ `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityBounds {
    /// Lowest.
    pub min: u8,
    /// Highest.
    pub max: u8,
}

impl Default for PriorityBounds {
    fn default() -> Self {
        PriorityBounds { min: 0, max: 7 }
    }
}

/// How to read a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Whether unknown keys are problems instead of warnings.
    pub strict: bool,
    /// Largest document, in bytes.
    pub max_bytes: usize,
}

impl Default for ParseOptions {
    fn default() -> Self {
        ParseOptions {
            strict: false,
            max_bytes: DEFAULT_MAX_DOCUMENT_BYTES,
        }
    }
}

/// A document with what should be said about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The document.
    pub document: Document,
    /// What is valid but probably not meant, such as unknown keys.
    pub warnings: Problems,
}
