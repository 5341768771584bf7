//! YAML into a tree of nodes that know their lines.
//!
//! The parser's events are pulled one by one, so that depth and size are checked before anything
//! is built, and nesting costs no stack. What makes a document other than it looks (anchors,
//! aliases, tags, a second document, a key twice) is refused.

use super::problem::{Problem, Problems};
use std::collections::HashSet;
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

/// Deepest nesting. The format itself needs 4; unknown keys may hold more.
pub(crate) const MAX_DEPTH: usize = 32;

/// Most values in one document, eight bytes of a full-sized one for each: bounds the memory of
/// the tree to a small multiple of the text.
pub(crate) const MAX_NODES: usize = 1_000_000;

/// Longest key, in bytes; YAML itself stops at 1,024 characters.
pub(crate) const MAX_KEY_LEN: usize = 256;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) line: u32,
    pub(crate) key: String,
    pub(crate) value: Node,
}

/// What a scalar means by the core schema of YAML 1.2.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning<'a> {
    Null,
    Bool(bool),
    Integer(&'a str),
    Float(&'a str),
    Text(&'a str),
}

pub(crate) fn meaning(text: &str, plain: bool) -> Meaning<'_> {
    if !plain {
        return Meaning::Text(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "true" | "True" | "TRUE" => Meaning::Bool(true),
        "false" | "False" | "FALSE" => Meaning::Bool(false),
        _ if is_integer(text) => Meaning::Integer(text),
        _ if is_float(text) => Meaning::Float(text),
        _ => Meaning::Text(text),
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, is: fn(char) -> bool| !digits.is_empty() && digits.chars().all(is);
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, |c| c.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |c| matches!(c, '0'..='7'));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    all(digits, |c| c.is_ascii_digit())
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return true;
    }
    let number = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    text.bytes().all(number) && text.parse::<f64>().is_ok()
}

/// Reads the one document that `text` holds. Keys that occur twice are added to `problems`.
pub(super) fn read(text: &str, problems: &mut Problems) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    check_characters(text)?;
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::new(problems);
    loop {
        let (event, mark) = parser.next_token().map_err(|e| not_yaml(&e))?;
        if event == Event::StreamEnd {
            break;
        }
        builder.take(event, line_of(&mark))?;
    }
    builder.root.ok_or_else(|| {
        let message =
            "the document is empty; one without entries has an empty list, as `routes: []`";
        Problem::new(0, "", message)
    })
}

/// YAML has no control characters but tab and line ends. The parser takes NUL for the end of the
/// text, so a file that a crash has filled up with zeros would pass as a shorter one.
fn check_characters(text: &str) -> Result<(), Problem> {
    for (i, line) in text.split('\n').enumerate() {
        let bad = |c: &char| c.is_control() && !matches!(c, '\t' | '\r' | '\u{85}');
        if let Some(c) = line.chars().find(bad) {
            let code = u32::from(c);
            let message = format!("the control character U+{code:04X} is not allowed in YAML");
            return Err(Problem::new(number(i + 1), "", message));
        }
    }
    Ok(())
}

fn not_yaml(error: &ScanError) -> Problem {
    let mark = error.marker();
    let message = format!("not YAML: {} (column {})", error.info(), mark.col() + 1);
    Problem::new(line_of(mark), "", message)
}

fn line_of(mark: &Marker) -> u32 {
    number(mark.line())
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// A collection that is still open.
enum Open {
    Sequence {
        line: u32,
        items: Vec<Node>,
    },
    Mapping {
        line: u32,
        entries: Vec<Entry>,
        seen: HashSet<String>,
        key: Option<(u32, String)>,
    },
}

struct Builder<'p> {
    problems: &'p mut Problems,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
}

impl<'p> Builder<'p> {
    fn new(problems: &'p mut Problems) -> Builder<'p> {
        Builder {
            problems,
            open: Vec::new(),
            root: None,
            documents: 0,
            nodes: 0,
        }
    }

    fn take(&mut self, event: Event, line: u32) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart => self.start_document(line),
            Event::Alias(_) => Err(self.problem(line, "aliases are not allowed; write it out")),
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_node(anchor, tag.as_ref(), line)?;
                self.scalar(text, style == TScalarStyle::Plain, line)
            }
            Event::SequenceStart(anchor, tag) => {
                let items = Vec::new();
                self.start(Open::Sequence { line, items }, anchor, tag, line)
            }
            Event::MappingStart(anchor, tag) => {
                let mapping = Open::Mapping {
                    line,
                    entries: Vec::new(),
                    seen: HashSet::new(),
                    key: None,
                };
                self.start(mapping, anchor, tag, line)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                match self.open.pop() {
                    Some(Open::Sequence { line, items }) => {
                        self.place(line, Value::Sequence(items));
                    }
                    Some(Open::Mapping { line, entries, .. }) => {
                        self.place(line, Value::Mapping(entries));
                    }
                    None => {}
                }
                Ok(())
            }
        }
    }

    fn start_document(&mut self, line: u32) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents > 1 {
            let message = "a second document starts here; put all routes into one";
            return Err(Problem::new(line, "", message));
        }
        Ok(())
    }

    fn start(
        &mut self,
        collection: Open,
        anchor: usize,
        tag: Option<Tag>,
        line: u32,
    ) -> Result<(), Problem> {
        self.plain_node(anchor, tag.as_ref(), line)?;
        if self.open.len() == MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.problem(line, message));
        }
        if matches!(self.open.last(), Some(Open::Mapping { key: None, .. })) {
            return Err(self.problem(line, "a key is a single word here, not a list or mapping"));
        }
        self.open.push(collection);
        Ok(())
    }

    /// Counts a node and refuses what it may not be decorated with.
    fn plain_node(&mut self, anchor: usize, tag: Option<&Tag>, line: u32) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one document");
            return Err(self.problem(line, message));
        }
        if anchor > 0 {
            return Err(self.problem(line, "anchors (`&name`) are not allowed; write it out"));
        }
        if let Some(tag) = tag {
            let message = format!("tags (`{}{}`) are not allowed", tag.handle, tag.suffix);
            return Err(self.problem(line, message));
        }
        Ok(())
    }

    fn scalar(&mut self, text: String, plain: bool, line: u32) -> Result<(), Problem> {
        let Some(Open::Mapping { key, seen, .. }) = self.open.last_mut() else {
            self.place(line, Value::Scalar { text, plain });
            return Ok(());
        };
        if key.is_some() {
            self.place(line, Value::Scalar { text, plain });
            return Ok(());
        }
        if text.len() > MAX_KEY_LEN {
            let message = format!("a key is at most {MAX_KEY_LEN} bytes long");
            return Err(self.problem(line, message));
        }
        let fresh = seen.insert(text.clone());
        *key = Some((line, text));
        if !fresh {
            let problem = self.problem(line, "this key is there twice; remove one");
            self.problems.push(problem);
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, line: u32, value: Value) {
        let node = Node { line, value };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => {
                if let Some((line, key)) = key.take() {
                    let value = node;
                    entries.push(Entry { line, key, value });
                }
            }
        }
    }

    /// A problem at the place that is being read.
    fn problem(&self, line: u32, message: impl Into<String>) -> Problem {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::Sequence { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Mapping { key: None, .. } => {}
                Open::Mapping { key: Some(key), .. } => {
                    let dot = if path.is_empty() { "" } else { "." };
                    path.push_str(&format!("{dot}{}", key.1.escape_debug()));
                }
            }
        }
        Problem::new(line, path, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let mut problems = Problems::default();
        match read(text, &mut problems) {
            Err(problem) => problem.to_string(),
            Ok(_) => problems.to_string(),
        }
    }

    #[test]
    fn nodes_know_their_lines() {
        let mut problems = Problems::default();
        let root = read("a: 1\nb:\n  - x\n  - {c: d}\n", &mut problems).unwrap();
        let Value::Mapping(entries) = root.value else {
            panic!("a mapping")
        };
        assert_eq!((entries[1].line, entries[1].key.as_str()), (2, "b"));
        let Value::Sequence(items) = &entries[1].value.value else {
            panic!("a sequence")
        };
        assert_eq!((items[0].line, items[1].line), (3, 4));
        assert!(problems.is_empty());
    }

    #[test]
    fn what_hides_its_size_is_refused() {
        assert_eq!(
            refused("a: &x [1]\nb: *x\n"),
            "line 1: a: anchors (`&name`) are not allowed; write it out"
        );
        assert!(refused("a: !!str 1\n").contains("tags (`"));
        assert!(refused("a: 1\n---\nb: 2\n").contains("line 2: a second document"));
        assert!(
            refused("a:\n  b: 1\n  b: 2\n").starts_with("line 3: a.b: this key is there twice")
        );
        assert!(refused("? [a]\n: b\n").contains("a key is a single word"));
        assert!(refused("").contains("empty"));
        assert!(refused("# only a comment\n").contains("empty"));
        assert!(refused("a: 1\n\0\0\0").contains("line 2: the control character U+0000"));
        assert!(refused(&format!("{}: 1", "k".repeat(300))).contains("at most 256 bytes"));
    }

    #[test]
    fn depth_is_limited_in_every_style() {
        for deep in ["- ", "{a: ", "["] {
            let text = refused(&deep.repeat(40));
            assert!(text.contains("nested deeper than 32"), "{deep}: {text}");
        }
        // The parser looks ahead in flow style and has a limit of its own.
        for deep in ["- ", "? ", "{a: ", "["] {
            let text = refused(&deep.repeat(100_000));
            assert!(text.starts_with("line 1: "), "{deep}: {text}");
        }
        assert!(refused(&format!("{}{}", "[".repeat(32), "]".repeat(32))).is_empty());
    }

    #[test]
    fn a_document_of_countless_tiny_values_is_refused() {
        let text = "[".to_owned() + &"~,".repeat(MAX_NODES) + "]";
        assert!(refused(&text).contains("more than 1000000 values"));
    }

    #[test]
    fn scalars_mean_what_yaml_1_2_says() {
        let is = |text| meaning(text, true);
        assert_eq!(is("~"), Meaning::Null);
        assert_eq!(is("True"), Meaning::Bool(true));
        assert_eq!(is("yes"), Meaning::Text("yes"));
        assert_eq!(meaning("true", false), Meaning::Text("true"));
        for integer in ["0", "-7", "+7", "0x1F", "0o17", "007"] {
            assert_eq!(is(integer), Meaning::Integer(integer));
        }
        for float in ["1.5", "1e3", ".5", "-.inf", ".nan"] {
            assert_eq!(is(float), Meaning::Float(float));
        }
        for text in ["1.2.3", "e", ".", "-", "0x", "inf", "nan", "1:30", "1_000"] {
            assert_eq!(is(text), Meaning::Text(text));
        }
    }
}
