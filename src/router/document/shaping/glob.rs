//! Texts that stand for others.

use std::fmt;

/// A text that others are held against: the same bytes, or, where it has one `*`, any bytes in its place.
///
/// ```
/// use mcpd::router::document::Glob;
///
/// let edge = Glob::parse("edge-*")?;
/// assert!(edge.matches(b"edge-7") && edge.matches(b"edge-"));
/// assert!(!edge.matches(b"core-7"));
/// assert!(Glob::parse("*-*").is_err());
/// # Ok::<(), &'static str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    /// Where the `*` is. With a single one, no text makes the comparison slow.
    star: Option<usize>,
}

impl Glob {
    /// Reads a text with at most one `*`.
    ///
    /// # Errors
    /// It has more of them.
    pub fn parse(text: &str) -> Result<Glob, &'static str> {
        let mut stars = text.match_indices('*').map(|(at, _)| at);
        let star = stars.next();
        match stars.next() {
            None => Ok(Glob {
                text: text.into(),
                star,
            }),
            Some(_) => Err("has more than one `*`; write one, for any text in its place"),
        }
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `found` fits. Allocates nothing.
    #[inline]
    pub fn matches(&self, found: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let Some(star) = self.star else {
            return text == found;
        };
        let (before, after) = (&text[..star], &text[star + 1..]);
        let rest = found.strip_prefix(before);
        rest.is_some_and(|rest| rest.ends_with(after))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_everything_else_is_itself() {
        for (glob, found, fits) in [
            ("acme", "acme", true),
            ("acme", "Acme", false),
            ("acme", "acme2", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("*z", "xyz", true),
            ("a*z", "az", true),
            ("a*z", "a*z", true),
            // The parts may not overlap.
            ("ab*ba", "aba", false),
            ("a.c", "abc", false),
            ("", "", true),
        ] {
            let parsed = Glob::parse(glob).unwrap();
            assert_eq!(parsed.matches(found.as_bytes()), fits, "{glob} {found}");
        }
        assert!(Glob::parse("a**").is_err());
    }
}
