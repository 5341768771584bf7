//! The first look at a YAML file: is it safe to read, and on which line does each key stand, so that a
//! problem can say so.
//!
//! The parse that counts, the `config` crate's, builds the whole tree by recursion and writes every
//! alias out. A few KiB could overflow its stack or fill the memory, even of a server that runs and
//! only loads its configuration again. Here events are pulled one by one, and nesting costs no stack.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser};

/// Deepest nesting. Configuration needs 3; unknown keys, which get a line of their own, may have more.
const MAX_DEPTH: usize = 32;

/// The line of every key, by its dotted path; lines count from 1. Text that is not YAML gives the
/// lines up to the error, which is left to the parse that counts.
///
/// # Errors
/// What makes the text unsafe to read.
pub(super) fn of_yaml(text: &str) -> Result<HashMap<String, usize>, String> {
    check_characters(text)?;
    let mut lines = Lines::default();
    let mut parser = Parser::new_from_str(text);
    while let Ok((event, mark)) = parser.next_token() {
        if event == Event::StreamEnd {
            break;
        }
        lines.take(event, mark.line())?;
    }
    Ok(lines.found)
}

/// YAML has no control characters but tab and line ends. The parser takes NUL for the end of the
/// text, so a file that a crash has filled up with zeros would pass as a shorter one.
fn check_characters(text: &str) -> Result<(), String> {
    let bad = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    for (i, line) in text.split('\n').enumerate() {
        if let Some(c) = line.chars().find(bad) {
            let (line, code) = (i + 1, u32::from(c));
            return Err(format!(
                "has the control character U+{code:04X} on line {line}; remove it"
            ));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Lines {
    open: Vec<Open>,
    found: HashMap<String, usize>,
}

/// A collection that has begun and not ended.
enum Open {
    /// A mapping under this path, and the path of the key whose value is next.
    Map(String, Option<String>),
    List,
}

impl Lines {
    /// A key or a value that is not a collection.
    fn scalar(&mut self, text: &str, line: usize) {
        match self.open.last_mut() {
            Some(Open::Map(prefix, key @ None)) => {
                let path = match prefix.as_str() {
                    "" => text.to_owned(),
                    prefix => format!("{prefix}.{text}"),
                };
                self.found.insert(path.clone(), line);
                *key = Some(path);
            }
            _ => self.value_done(),
        }
    }

    fn value_done(&mut self) {
        if let Some(Open::Map(_, key)) = self.open.last_mut() {
            *key = None;
        }
    }

    fn start(&mut self, open: Open, line: usize) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!(
                "is nested deeper than {MAX_DEPTH} levels on line {line}"
            ));
        }
        self.open.push(open);
        Ok(())
    }

    fn take(&mut self, event: Event, line: usize) -> Result<(), String> {
        match event {
            Event::Scalar(text, ..) => self.scalar(&text, line),
            Event::Alias(_) => {
                return Err(format!(
                    "has an alias (`*name`) on line {line}; write it out"
                ));
            }
            Event::MappingStart(..) => {
                let prefix = match self.open.last() {
                    Some(Open::Map(_, Some(path))) => path.clone(),
                    _ => String::new(),
                };
                self.start(Open::Map(prefix, None), line)?;
            }
            Event::SequenceStart(..) => self.start(Open::List, line)?,
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.value_done();
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_on_their_lines() {
        let text = "# a comment\nserver_id: a\ndrain:\n  delay: 1s\n\n  spread: [1, {x: 2}]\n  \
                    flush: 3s\nlog: {format: json,\n  filter: info}\n";
        let lines = of_yaml(text).unwrap();
        let line = |path: &str| lines.get(path).copied();
        assert_eq!(line("server_id"), Some(2));
        assert_eq!(line("drain"), Some(3));
        assert_eq!(line("drain.delay"), Some(4));
        assert_eq!(line("drain.spread"), Some(6));
        assert_eq!(line("drain.flush"), Some(7));
        assert_eq!(line("log.format"), Some(8));
        assert_eq!(line("log.filter"), Some(9));
        assert_eq!(line("drain.x"), None);
    }

    #[test]
    fn broken_text_is_no_reason_to_panic() {
        for text in ["", "{", "a: [", "? {a: b}\n: c\n", "- x\n- y: z\n", "\t: x"] {
            assert!(of_yaml(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn what_would_cost_stack_or_memory_is_refused() {
        // The parser looks ahead in flow style and has a limit of its own.
        for (deep, times) in [("- ", 10_000), ("? ", 10_000), ("{a: ", 40), ("[", 40)] {
            let error = of_yaml(&format!("a: 1\nx:\n  {}", deep.repeat(times))).unwrap_err();
            assert_eq!(error, "is nested deeper than 32 levels on line 3", "{deep}");
        }
        let error = of_yaml("a: &x [1]\nb: [*x, *x]\n").unwrap_err();
        assert_eq!(error, "has an alias (`*name`) on line 2; write it out");
        let error = of_yaml("a: 1\nb: 2\0c: 3\n").unwrap_err();
        assert!(error.contains("U+0000 on line 2"), "{error}");
    }
}
