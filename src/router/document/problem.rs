//! What is wrong with a document, by line and key.

use std::fmt;

/// Most problems kept of one document; beyond it they are only counted. Nobody reads further, and
/// a wrong file may have one a line.
pub const MAX_PROBLEMS: usize = 100;

/// One problem: `line 12: routes[3].timeout: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, from 1; 0 for the document as a whole.
    pub line: u32,
    /// Path of the key, such as `routes[3].timeout`; empty for the document as a whole.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with the value of `key`.
    pub fn new(line: u32, key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            line,
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A bounded list of problems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    /// Adds one, or counts it once [`MAX_PROBLEMS`] are kept.
    pub fn push(&mut self, problem: Problem) {
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    /// The problems kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }

    /// How many there are, also those not kept.
    pub fn total(&self) -> usize {
        self.kept.len() + self.omitted
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// As a reader meets them, whatever order they were found in.
    pub(super) fn sort(&mut self) {
        self.kept.sort_by_key(|problem| problem.line);
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems {
            kept: vec![problem],
            omitted: 0,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.kept.iter().enumerate() {
            let divider = if i == 0 { "" } else { "\n" };
            write!(f, "{divider}{problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n… and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A document refused, with every problem; displayed one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problems}")]
pub struct DocumentError {
    /// What is wrong; never empty.
    pub problems: Problems,
}

impl From<Problem> for DocumentError {
    fn from(problem: Problem) -> DocumentError {
        DocumentError {
            problems: problem.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let mut problems = Problems::default();
        for line in 1..=MAX_PROBLEMS as u32 + 7 {
            problems.push(Problem::new(line, "a.b", "is wrong"));
        }
        assert_eq!(problems.total(), MAX_PROBLEMS + 7);
        let text = problems.to_string();
        assert!(text.starts_with("line 1: a.b: is wrong\nline 2: "));
        assert!(text.ends_with("line 100: a.b: is wrong\n… and 7 more"));
        assert_eq!(Problem::new(0, "", "empty").to_string(), "empty");
    }
}
