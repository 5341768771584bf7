//! Patterns: what a route claims.

use super::{Topic, TopicError, check_shape};
use std::cmp::Ordering;

/// A topic or a family of topics, as a route names it.
///
/// Patterns are ordered by precedence: of several that match a topic, the *smallest* takes it.
/// They are compared level by level from the left, literal before `+` before `#`; the first
/// difference decides.
///
/// ```
/// use mcpd_proto::topic::{Pattern, Topic};
///
/// let mut patterns = ["#", "a/#", "a/+", "+/b", "a/b"].map(|p| Pattern::parse(p).unwrap());
/// patterns.sort();
/// assert_eq!(patterns.each_ref().map(Pattern::as_str), ["a/b", "a/+", "a/#", "+/b", "#"]);
/// assert!(Pattern::parse("a/#")?.matches(Topic::parse(b"a")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    exact: bool,
}

impl Pattern {
    /// Checks a pattern; an exact topic is one too. Sizes are limited like those of a topic.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        check_shape(text.as_bytes())?;
        let mut exact = true;
        let mut levels = text.split('/').enumerate().peekable();
        while let Some((at, level)) = levels.next() {
            if !level.contains(['+', '#']) {
                continue;
            }
            exact = false;
            match level {
                "+" => {}
                "#" if levels.peek().is_none() => {}
                "#" => return Err(PatternError::HashNotLast { level: at + 1 }),
                _ => return Err(PatternError::WildcardInLevel { level: at + 1 }),
            }
        }
        Ok(Pattern {
            text: text.into(),
            exact,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no wildcard, so that it matches one topic only.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The levels from the left, wildcards included.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.text.split('/')
    }

    /// Whether a request on `topic` fits this pattern. This is the plain definition that the
    /// server's table of routes is tested against; it takes time in the length of both.
    pub fn matches(&self, topic: Topic<'_>) -> bool {
        let mut topic = topic.levels();
        for level in self.levels() {
            let fits = match level {
                "#" => return topic.all(|t| !t.starts_with('$')),
                "+" => topic.next().is_some_and(|t| !t.starts_with('$')),
                literal => topic.next() == Some(literal),
            };
            if !fits {
                return false;
            }
        }
        topic.next().is_none()
    }
}

/// One level, in the order of precedence.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Level<'a> {
    Literal(&'a str),
    Plus,
    Hash,
}

fn ranked(pattern: &Pattern) -> impl Iterator<Item = Level<'_>> {
    pattern.levels().map(|level| match level {
        "+" => Level::Plus,
        "#" => Level::Hash,
        literal => Level::Literal(literal),
    })
}

impl Ord for Pattern {
    /// Precedence first; patterns that cannot match the same topic are ordered by their text, and
    /// one that ends goes before one that goes on (`a` before `a/#`).
    fn cmp(&self, other: &Self) -> Ordering {
        ranked(self).cmp(ranked(other))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        Pattern::parse(text)
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It breaks a rule that topics have, too.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// `+` or `#` inside a longer level.
    #[error("`+` and `#` stand alone in their level, in level {level} they do not")]
    WildcardInLevel {
        /// Which level, from 1.
        level: usize,
    },
    /// `#` before the last level.
    #[error("`#` may only be the last level, here it is level {level}")]
    HashNotLast {
        /// Which level, from 1.
        level: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::parse(pattern)
            .unwrap()
            .matches(Topic::parse(topic.as_bytes()).unwrap())
    }

    #[test]
    fn plus_takes_exactly_one_level() {
        assert!(matches("a/+/c", "a/b/c"));
        assert!(matches("a/+/c", "a//c"));
        assert!(matches("a/+", "a/"));
        assert!(matches("+", "a"));
        assert!(!matches("a/+", "a"));
        assert!(!matches("a/+", "a/b/c"));
        assert!(!matches("+", "a/b"));
    }

    #[test]
    fn hash_takes_zero_or_more_levels() {
        for topic in ["a", "a/", "a/b", "a/b/c"] {
            assert!(matches("a/#", topic), "{topic}");
            assert!(matches("#", topic), "{topic}");
        }
        assert!(!matches("a/#", "ab"));
        assert!(!matches("a/+/#", "a"));
        assert!(matches("a/+/#", "a/b"));
    }

    #[test]
    fn wildcards_leave_dollar_levels_alone() {
        assert!(!matches("#", "$sys/load"));
        assert!(!matches("+/load", "$sys/load"));
        assert!(!matches("a/#", "a/b/$c"));
        assert!(!matches("a/+", "a/$b"));
        assert!(matches("$sys/#", "$sys/load"));
        assert!(matches("a/+", "a/b$"));
    }

    #[test]
    fn wildcards_stand_alone_and_hash_comes_last() {
        assert_eq!(
            Pattern::parse("a/b+"),
            Err(PatternError::WildcardInLevel { level: 2 })
        );
        assert_eq!(
            Pattern::parse("##"),
            Err(PatternError::WildcardInLevel { level: 1 })
        );
        assert_eq!(
            Pattern::parse("a/#/c"),
            Err(PatternError::HashNotLast { level: 2 })
        );
        assert_eq!(
            Pattern::parse("/+"),
            Err(PatternError::Topic(TopicError::EmptyFirstLevel))
        );
        assert!(Pattern::parse(&"+/".repeat(32)).is_err());
        assert!(Pattern::parse("a/\u{85}").is_err());
        assert!(Pattern::parse("a/b").unwrap().is_exact());
        assert!(!Pattern::parse("a/+").unwrap().is_exact());
    }

    #[test]
    fn the_first_difference_decides() {
        let sorted = [
            "a", "a/b", "a/b/+", "a/b/#", "a/+", "a/+/c", "a/#", "b", "+", "+/b/c", "+/+", "#",
        ];
        let mut patterns: Vec<_> = sorted.iter().map(|p| Pattern::parse(p).unwrap()).collect();
        patterns.reverse();
        patterns.sort();
        let texts: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(texts, sorted);
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop::sample::select(&["a", "b", "", "$x", "+", "#"][..])
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        prop::collection::vec(level(), 1..5)
            .prop_filter_map("not a pattern", |l| Pattern::parse(&l.join("/")).ok())
    }

    proptest! {
        #[test]
        fn precedence_is_a_total_order(a in pattern(), b in pattern(), c in pattern()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_refused_or_comes_back_whole(text in "[a$+#/\u{80}é]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(pattern.as_str(), text.as_str());
                let topic = Topic::parse(text.as_bytes());
                prop_assert_eq!(pattern.is_exact(), topic.is_ok());
                if let Ok(topic) = topic {
                    prop_assert!(pattern.matches(topic));
                }
            } else {
                prop_assert!(Topic::parse(text.as_bytes()).is_err());
            }
        }
    }
}
