//! Topics, which requests name, and patterns, which routes are declared with.
//!
//! A topic is UTF-8 of 1–255 bytes in at most 32 levels divided by `/`. A pattern is a topic in
//! which a whole level may be `+` (exactly one level, also an empty one) and the last may be `#`
//! (zero or more levels). Wildcards never match a level that starts with `$`.
//!
//! ```
//! use mcpd_proto::topic::{Pattern, Topic};
//!
//! let topic = Topic::parse(b"orders/eu/created")?;
//! let narrow = Pattern::parse("orders/+/created")?;
//! let wide = Pattern::parse("orders/#")?;
//! assert!(narrow.matches(topic) && wide.matches(topic));
//! assert!(narrow < wide, "the smaller pattern takes the request");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod pattern;

pub use pattern::{Pattern, PatternError};

/// Longest topic or pattern, in bytes: what a `u8` length could name, and plenty for a hierarchy.
pub const MAX_TOPIC_LEN: usize = 255;

/// Most levels of a topic or pattern: bounds the depth of every walk over a table of patterns.
pub const MAX_TOPIC_LEVELS: usize = 32;

/// The topic of a request, checked; borrows the bytes it was parsed from.
///
/// ```
/// use mcpd_proto::topic::Topic;
///
/// let topic = Topic::parse("订单/更新".as_bytes())?;
/// assert_eq!(topic.levels().collect::<Vec<_>>(), ["订单", "更新"]);
/// assert!(Topic::parse(b"orders/#").is_err());
/// # Ok::<(), mcpd_proto::topic::TopicError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks the bytes of a REQUEST's topic.
    ///
    /// A first level that starts with `$` is well-formed here: it is reserved for the server, see
    /// [`Topic::is_reserved`].
    ///
    /// # Errors
    /// The first rule that the bytes break; such a request is answered INVALID_REQUEST.
    pub fn parse(bytes: &'a [u8]) -> Result<Topic<'a>, TopicError> {
        let scan = Scan::of(bytes);
        if scan.suspicious || scan.slashes >= MAX_TOPIC_LEVELS as u8 || !fits(bytes) {
            return diagnose(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Topic(text)),
            Err(_) => diagnose(bytes),
        }
    }

    /// The whole topic.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels from the left, without their dividers; at least one, some may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether the first level starts with `$`, which is kept for the server's own topics.
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }
}

impl std::fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Why bytes are not a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// There are no bytes at all.
    #[error("a topic has at least one byte")]
    Empty,
    /// More than [`MAX_TOPIC_LEN`] bytes.
    #[error("a topic has at most {MAX_TOPIC_LEN} bytes, this one has {len}")]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// More than [`MAX_TOPIC_LEVELS`] levels.
    #[error("a topic has at most {MAX_TOPIC_LEVELS} levels, this one has {levels}")]
    TooManyLevels {
        /// Levels found.
        levels: usize,
    },
    /// Not UTF-8.
    #[error("a topic is UTF-8, this one is not from byte {offset} on")]
    NotUtf8 {
        /// Bytes that were still valid.
        offset: usize,
    },
    /// The first byte is the divider.
    #[error("the first level of a topic is not empty: leave the leading `/` out")]
    EmptyFirstLevel,
    /// A control character (Unicode category Cc).
    #[error("a topic has no control characters, this one has U+{code:04X} at byte {offset}")]
    Control {
        /// The character's code point.
        code: u32,
        /// Where it starts, in bytes.
        offset: usize,
    },
    /// `+` or `#`, which belong to patterns.
    #[error("`{wildcard}` at byte {offset} belongs to patterns; a request names one exact topic")]
    Wildcard {
        /// `+` or `#`.
        wildcard: char,
        /// Where it stands, in bytes.
        offset: usize,
    },
}

/// What one pass over the bytes tells.
struct Scan {
    /// A control character, a wildcard or a byte outside ASCII was seen: look closer.
    suspicious: bool,
    slashes: u8,
}

impl Scan {
    /// Plain comparisons without a branch: the compiler turns them into vector instructions,
    /// which a table of byte classes would prevent.
    fn of(bytes: &[u8]) -> Scan {
        let mut suspicious = false;
        let mut slashes = 0u8;
        // Longer input is refused anyway; the cut keeps the u8 counter from wrapping.
        for &byte in &bytes[..bytes.len().min(MAX_TOPIC_LEN)] {
            suspicious |= !(0x20..0x7F).contains(&byte) | (byte == b'+') | (byte == b'#');
            slashes += u8::from(byte == b'/');
        }
        Scan {
            suspicious,
            slashes,
        }
    }
}

fn fits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= MAX_TOPIC_LEN && bytes[0] != b'/'
}

/// The slow way: accepts what is outside ASCII and names the rule that anything else breaks.
#[cold]
#[inline(never)]
fn diagnose(bytes: &[u8]) -> Result<Topic<'_>, TopicError> {
    let text = check_shape(bytes)?;
    match text.char_indices().find(|(_, c)| matches!(c, '+' | '#')) {
        Some((offset, wildcard)) => Err(TopicError::Wildcard { wildcard, offset }),
        None => Ok(Topic(text)),
    }
}

/// Every rule that topics and patterns share.
fn check_shape(bytes: &[u8]) -> Result<&str, TopicError> {
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > MAX_TOPIC_LEN {
        return Err(TopicError::TooLong { len: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| TopicError::NotUtf8 {
        offset: e.valid_up_to(),
    })?;
    if text.starts_with('/') {
        return Err(TopicError::EmptyFirstLevel);
    }
    let levels = text.split('/').count();
    if levels > MAX_TOPIC_LEVELS {
        return Err(TopicError::TooManyLevels { levels });
    }
    // `char::is_control` is exactly the category Cc.
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((offset, c)) => Err(TopicError::Control {
            code: u32::from(c),
            offset,
        }),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limits_are_inclusive() {
        let longest = "t".repeat(255);
        assert_eq!(
            Topic::parse(longest.as_bytes()).unwrap().as_str(),
            longest.as_str()
        );
        let long = "t".repeat(256);
        assert_eq!(
            Topic::parse(long.as_bytes()),
            Err(TopicError::TooLong { len: 256 })
        );
        assert_eq!(Topic::parse(b""), Err(TopicError::Empty));

        let deepest = vec!["a"; 32].join("/");
        assert_eq!(
            Topic::parse(deepest.as_bytes()).unwrap().levels().count(),
            32
        );
        let deep = vec!["a"; 33].join("/");
        assert_eq!(
            Topic::parse(deep.as_bytes()),
            Err(TopicError::TooManyLevels { levels: 33 })
        );
        // More slashes than a byte counts.
        let slashes = format!("a{}", "/".repeat(300));
        assert!(Topic::parse(slashes.as_bytes()).is_err());
        let slashes = format!("a{}", "/".repeat(254));
        assert_eq!(
            Topic::parse(slashes.as_bytes()),
            Err(TopicError::TooManyLevels { levels: 255 })
        );
    }

    #[test]
    fn only_the_first_level_must_not_be_empty() {
        assert_eq!(Topic::parse(b"/a"), Err(TopicError::EmptyFirstLevel));
        let topic = Topic::parse(b"a//b/").unwrap();
        assert_eq!(topic.levels().collect::<Vec<_>>(), ["a", "", "b", ""]);
    }

    #[test]
    fn every_control_character_is_refused_and_named() {
        for code in (0..0x20).chain(0x7F..=0x9F) {
            let text = format!("a/{}", char::from_u32(code).unwrap());
            assert_eq!(
                Topic::parse(text.as_bytes()),
                Err(TopicError::Control { code, offset: 2 })
            );
        }
        assert!(Topic::parse("a/\u{A0}".as_bytes()).is_ok());
        assert!(Topic::parse(b"with space ~").is_ok());
    }

    #[test]
    fn wildcards_and_broken_utf8_are_refused() {
        assert_eq!(
            Topic::parse(b"a/+/c"),
            Err(TopicError::Wildcard {
                wildcard: '+',
                offset: 2
            })
        );
        assert!(Topic::parse(b"a#").is_err());
        assert_eq!(
            Topic::parse(b"ab\xFF"),
            Err(TopicError::NotUtf8 { offset: 2 })
        );
        assert!(Topic::parse(b"\xC3").is_err());
    }

    #[test]
    fn dollar_topics_are_well_formed_but_reserved() {
        assert!(Topic::parse(b"$sys/load").unwrap().is_reserved());
        assert!(!Topic::parse(b"a/$b").unwrap().is_reserved());
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_rules(bytes in topic_like_bytes()) {
            let rules = diagnose(&bytes);
            prop_assert_eq!(Topic::parse(&bytes), rules);
        }
    }

    fn topic_like_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            8 => 0x20u8..0x7F,
            3 => Just(b'/'),
            1 => prop::sample::select(&b"+#\x00\x1F\x7F\x80\x85\xC2\xFF"[..]),
        ];
        prop_oneof![
            prop::collection::vec(byte.clone(), 0..40),
            prop::collection::vec(byte, 250..260),
            ".{0,20}".prop_map(String::into_bytes),
        ]
    }
}
