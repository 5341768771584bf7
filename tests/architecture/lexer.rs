//! Just enough of Rust's grammar to tell code from comments and strings.
//!
//! A text search would trip over the word `tokio` in a comment and miss `use std::{net}`. A
//! full parser would be a dependency for one test.

/// What the rules look at; numbers, lifetimes and character literals are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Ident(String),
    /// The text between the quotes, escapes left as written.
    Str(String),
    Punct(char),
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_punct(&self, wanted: char) -> bool {
        self.kind == Kind::Punct(wanted)
    }

    pub(crate) fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }
}

/// Splits a source text into tokens. Text that is not Rust gives nonsense, never a panic.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
        found: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.found
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) -> char {
        let c = self.peek(0);
        self.at += 1;
        self.line += usize::from(c == '\n');
        c
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.bump();
        }
    }

    fn at_end(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.found.push(Token { kind, line });
    }

    fn step(&mut self) {
        let c = self.peek(0);
        match (c, self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            _ if c.is_whitespace() => self.skip(1),
            _ if c.is_ascii_digit() => self.word_text(),
            _ if is_word(c) => self.word(),
            _ => {
                let line = self.line;
                self.bump();
                self.push(Kind::Punct(c), line);
            }
        }
    }

    fn line_comment(&mut self) {
        while !self.at_end() && self.peek(0) != '\n' {
            self.bump();
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while !self.at_end() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.skip(1);
        while !self.at_end() {
            match self.bump() {
                '"' => break,
                '\\' => {
                    text.push('\\');
                    text.push(self.bump());
                }
                c => text.push(c),
            }
        }
        self.push(Kind::Str(text), line);
    }

    /// `r"…"`, `r#"…"#` and so on, with the prefix already consumed.
    fn raw_string(&mut self) {
        let line = self.line;
        let mut hashes = 0;
        while self.peek(0) == '#' {
            self.skip(1);
            hashes += 1;
        }
        self.skip(1);
        let mut text = String::new();
        while !self.at_end() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#');
            if closes {
                self.skip(1 + hashes);
                break;
            }
            text.push(self.bump());
        }
        self.push(Kind::Str(text), line);
    }

    /// A lifetime or a character literal; neither interests a rule.
    fn quote(&mut self) {
        self.skip(1);
        if is_word(self.peek(0)) && self.peek(1) != '\'' {
            self.word_text();
            return;
        }
        if self.peek(0) == '\\' {
            self.skip(1);
        }
        self.skip(1);
        while !self.at_end() && self.bump() != '\'' {}
    }

    fn word_text(&mut self) {
        while is_word(self.peek(0)) {
            self.bump();
        }
    }

    fn word(&mut self) {
        let (start, line) = (self.at, self.line);
        self.word_text();
        let name: String = self.chars[start..self.at].iter().collect();
        let raw = matches!(name.as_str(), "r" | "br" | "cr");
        match (self.peek(0), self.peek(1)) {
            ('"', _) if raw => self.raw_string(),
            ('#', '"' | '#') if raw => self.raw_string(),
            ('"', _) if matches!(name.as_str(), "b" | "c") => self.string(),
            ('\'', _) if name == "b" => self.quote(),
            // A raw identifier: the word after the hash is the name.
            ('#', next) if name == "r" && is_word(next) => self.skip(1),
            _ => self.push(Kind::Ident(name), line),
        }
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[test]
fn comments_strings_and_literals_are_told_from_code() {
    let text = concat!(
        "a /* b /* c */ d */ e // f\n",
        "\"g \\\" h\" r#\"i \" j\"# b'k' 'l' '\\'' '\\u{1F}' &'m n r#type 1u8 ::o"
    );
    let kinds: Vec<String> = tokens(text)
        .into_iter()
        .map(|token| match token.kind {
            Kind::Ident(name) => name,
            Kind::Str(text) => format!("<{text}>"),
            Kind::Punct(c) => c.to_string(),
        })
        .collect();
    let expected = "a e <g \\\" h> <i \" j> & n type : : o";
    assert_eq!(kinds.join(" "), expected);
    assert_eq!(tokens(text).last().map(|token| token.line), Some(2));
}
