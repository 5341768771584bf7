//! What can be wrong with a configuration, one line each.

use std::fmt;

/// The sort of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A file cannot be read or is not YAML or TOML.
    File,
    /// No such key or section.
    UnknownKey,
    /// The value is of another type than the key's.
    WrongType,
    /// The type is right, the value makes no sense: a missing unit, an unknown
    /// word, an address without a port.
    BadValue,
    /// Understood, but outside the limits.
    OutOfRange,
    /// Values that are fine by themselves and not together.
    Contradiction,
}

/// One thing that is wrong. Its text is one line that names the key, the
/// value, where the value came from and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key; empty when a whole file is meant.
    pub key: String,
    /// The value as found, shortened; `None` when it says nothing.
    pub value: Option<String>,
    /// `file mcpd.yaml line 3`, `environment MCPD__DRAIN__DELAY`,
    /// `flag --listen` or `default`.
    pub origin: String,
    /// The sort of problem.
    pub kind: ProblemKind,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.value) {
            ("", _) => write!(f, "{}: {}", self.origin, self.message),
            (key, None) => write!(f, "{key} ({}): {}", self.origin, self.message),
            (key, Some(value)) => {
                write!(f, "{key} = {value} ({}): {}", self.origin, self.message)
            }
        }
    }
}

/// Everything that is wrong with a configuration; never empty. Displays as one
/// line per problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The problems: files first, then keys, then contradictions.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The best of `candidates` for what somebody meant by `typed`, if any is
/// near enough to be worth saying.
pub(super) fn nearest<'a>(
    typed: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the letters wrong is a guess, not a suggestion.
    let allowed = (typed.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::osa_distance(typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Puts text on one line of bounded length, for messages. Line breaks and
/// control characters would let a value forge a second problem.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_absent() {
        let words = ["delay", "spread", "finish", "flush"];
        let near = |typed| nearest(typed, words.into_iter());
        assert_eq!(near("dealy"), Some("delay"));
        assert_eq!(near("finnish"), Some("finish"));
        assert_eq!(near("timeout"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn values_cannot_break_the_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(one_line(&"x".repeat(200)).chars().count(), 81);
    }
}
