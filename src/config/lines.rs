//! On which line of a YAML file each key stands, so that a problem can say so.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

/// The line of every key, by its dotted path; lines count from 1. Text that is
/// not YAML gives the lines up to the error.
pub(super) fn of_yaml(text: &str) -> HashMap<String, usize> {
    let mut lines = Lines::default();
    // The parse that counts is the `config` crate's, which reports errors.
    let _ = Parser::new_from_str(text).load(&mut lines, false);
    lines.found
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
}

impl MarkedEventReceiver for Lines {
    fn on_event(&mut self, event: Event, mark: Marker) {
        match event {
            Event::Scalar(text, ..) => self.scalar(&text, mark.line()),
            Event::Alias(_) => self.value_done(),
            Event::MappingStart(..) => {
                let prefix = match self.open.last() {
                    Some(Open::Map(_, Some(path))) => path.clone(),
                    _ => String::new(),
                };
                self.open.push(Open::Map(prefix, None));
            }
            Event::SequenceStart(..) => self.open.push(Open::List),
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.value_done();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_on_their_lines() {
        let text = "# a comment\nserver_id: a\ndrain:\n  delay: 1s\n\n  spread: [1, {x: 2}]\n  \
                    flush: 3s\nlog: {format: json,\n  filter: info}\n";
        let lines = of_yaml(text);
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
        for text in [
            "",
            "{",
            "a: [",
            "? {a: b}\n: c\n",
            "- x\n- y: z\n",
            "\t: x",
            "&a *a",
        ] {
            of_yaml(text);
        }
    }
}
