//! One source file as the rules see it: the paths it names, its strings, its modules.

use crate::lexer::{Kind, Token, tokens};

/// Something that stands on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A file, without the items that only tests see.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root of the repository, with forward slashes.
    pub(crate) file: String,
    pub(crate) lines: usize,
    /// Every path in an import or in the code, from the crate's root where it is our own. A
    /// method called without arguments reads `.name()`.
    pub(crate) paths: Vec<Found>,
    pub(crate) strings: Vec<Found>,
    /// `mod name;`
    pub(crate) modules: Vec<String>,
    /// `#[cfg(test)] mod name;`
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn parse(file: &str, text: &str) -> Self {
        let all = tokens(text);
        let (code, test_modules) = without_tests(&all);
        let mut source = Source {
            file: file.to_owned(),
            lines: text.lines().count(),
            paths: Vec::new(),
            strings: Vec::new(),
            modules: declared_modules(&code),
            test_modules,
        };
        Walk {
            code: &code,
            at: 0,
            nesting: Vec::new(),
            depth: 0,
        }
        .run(&mut source);
        source
    }

    /// The path without `.rs` and `mod.rs`: what a rule's scope is compared with.
    pub(crate) fn stem(&self) -> &str {
        let stem = self.file.strip_suffix(".rs").unwrap_or(&self.file);
        stem.strip_suffix("/mod").unwrap_or(stem)
    }

    /// Whether the file is test code by its place alone.
    pub(crate) fn is_test(&self) -> bool {
        let outside_src = !self.file.starts_with("src/") && !self.file.contains("/src/");
        outside_src || self.file.ends_with("/tests.rs") || self.file.contains("/tests/")
    }

    /// The directory in which `mod name;` of this file looks for `name.rs`.
    pub(crate) fn children_dir(&self) -> String {
        let stem = self.stem();
        let is_root = matches!(stem.rsplit('/').next(), Some("lib" | "main"));
        match stem.rsplit_once('/') {
            Some((dir, _)) if is_root => dir.to_owned(),
            _ => stem.to_owned(),
        }
    }

    /// `src/conn/driver.rs` is `crate::conn::driver`.
    fn module_path(&self) -> Vec<String> {
        let dir = self.children_dir();
        let inside = match dir.rsplit_once("src/") {
            Some((_, inside)) => inside,
            None => "",
        };
        let names = inside.split('/').filter(|name| !name.is_empty());
        ["crate"]
            .into_iter()
            .chain(names)
            .map(str::to_owned)
            .collect()
    }

    /// Writes `self::`, `super::`, child modules and our own crate's name as `crate::…`.
    fn absolute(&self, nested: &[String], path: &[String]) -> Vec<String> {
        let mut here = self.module_path();
        here.extend(nested.iter().cloned());
        let own_crate = self.file.starts_with("src/").then_some("mcpd");
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("self") if path.len() > 1 => rest = &path[1..],
            Some("super") => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    here.pop();
                    rest = &rest[1..];
                }
            }
            Some(name) if path.len() > 1 && Some(name) == own_crate => {
                here.truncate(1);
                rest = &path[1..];
            }
            Some(name) if path.len() > 1 && self.modules.iter().any(|child| child == name) => {}
            _ => return path.to_vec(),
        }
        here.extend(rest.iter().cloned());
        here
    }
}

/// Drops every item under `#[cfg(test)]`; also says which modules in files of their own those are.
fn without_tests(all: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut code, mut test_modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < all.len() {
        if !starts_test_item(&all[at..]) {
            code.push(all[at].clone());
            at += 1;
            continue;
        }
        let end = at + item_len(&all[at..]);
        test_modules.extend(declared_modules(&all[at..end]));
        at = end;
    }
    (code, test_modules)
}

/// `#[cfg(test)]` or `#[cfg(all(test, …))]`; `any` and `not` are also built without tests.
fn starts_test_item(code: &[Token]) -> bool {
    let puncts = [(0, '#'), (1, '['), (3, '(')];
    let is_cfg = puncts
        .iter()
        .all(|&(n, wanted)| code.get(n).is_some_and(|token| token.is_punct(wanted)))
        && code[2].ident() == Some("cfg");
    let word = |n: usize| code.get(n).and_then(Token::ident);
    is_cfg && (word(4) == Some("test") || (word(4) == Some("all") && word(6) == Some("test")))
}

/// How many tokens an item has, its attributes included: up to a `;` or a closed `{…}`.
fn item_len(code: &[Token]) -> usize {
    let mut depth = 0_i32;
    for (n, token) in code.iter().enumerate() {
        match token.kind {
            Kind::Punct('(' | '[' | '{') => depth += 1,
            Kind::Punct(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        let ends = match token.kind {
            Kind::Punct(';') => depth == 0,
            Kind::Punct('}') => depth <= 0,
            _ => false,
        };
        if ends {
            return n + 1;
        }
    }
    code.len()
}

fn declared_modules(code: &[Token]) -> Vec<String> {
    code.windows(3)
        .filter(|window| window[0].ident() == Some("mod") && window[2].is_punct(';'))
        .filter_map(|window| window[1].ident().map(str::to_owned))
        .collect()
}

/// One pass over the code, with the inline modules that are open.
struct Walk<'a> {
    code: &'a [Token],
    at: usize,
    nesting: Vec<(String, usize)>,
    depth: usize,
}

impl Walk<'_> {
    fn run(mut self, source: &mut Source) {
        while let Some(token) = self.code.get(self.at) {
            match &token.kind {
                Kind::Str(text) => source.strings.push(Found {
                    line: token.line,
                    text: text.clone(),
                }),
                Kind::Punct('{') => self.depth += 1,
                Kind::Punct('}') => {
                    self.nesting.retain(|(_, opened)| *opened < self.depth);
                    self.depth = self.depth.saturating_sub(1);
                }
                Kind::Punct(_) => {}
                Kind::Ident(word) if word == "use" => {
                    self.at += 1;
                    self.use_tree(&[], source);
                    continue;
                }
                Kind::Ident(word) if word == "mod" => self.note_inline_module(),
                Kind::Ident(_) => {
                    self.expression(source);
                    continue;
                }
            }
            self.at += 1;
        }
    }

    fn is_punct(&self, at: usize, wanted: char) -> bool {
        self.code.get(at).is_some_and(|t| t.is_punct(wanted))
    }

    fn note_inline_module(&mut self) {
        let name = self.code.get(self.at + 1).and_then(Token::ident);
        if let (Some(name), true) = (name, self.is_punct(self.at + 2, '{')) {
            self.nesting.push((name.to_owned(), self.depth + 1));
        }
    }

    /// `a::b::c`, leaving out a `::<…>` and what follows it.
    fn segments(&mut self) -> Vec<String> {
        let mut segments = Vec::new();
        while let Some(name) = self.code.get(self.at).and_then(Token::ident) {
            segments.push(name.to_owned());
            self.at += 1;
            let next_is_name = self.code.get(self.at + 2).and_then(Token::ident);
            let joined = self.is_punct(self.at, ':') && self.is_punct(self.at + 1, ':');
            if !joined || next_is_name.is_none() {
                break;
            }
            self.at += 2;
        }
        segments
    }

    fn expression(&mut self, source: &mut Source) {
        let line = self.code[self.at].line;
        let dots = (1..=2).filter(|n| self.at >= *n && self.is_punct(self.at - n, '.'));
        // One dot is a field or a method; two are a range, with a path behind them.
        let after_dot = dots.collect::<Vec<_>>() == [1];
        let segments = self.segments();
        if !after_dot {
            self.note(line, &segments, source);
        } else if self.is_punct(self.at, '(') && self.is_punct(self.at + 1, ')') {
            let text = format!(".{}()", segments.join("::"));
            source.paths.push(Found { line, text });
        }
    }

    /// An import with its braces written out; stops behind it.
    fn use_tree(&mut self, prefix: &[String], source: &mut Source) {
        let line = self.code.get(self.at).map_or(0, |token| token.line);
        let mut path = prefix.to_vec();
        loop {
            let before = self.at;
            if self.code.get(self.at).and_then(Token::ident) == Some("as") {
                break;
            }
            path.extend(self.segments());
            while self.is_punct(self.at, ':') || self.is_punct(self.at, '*') {
                self.at += 1;
            }
            if self.is_punct(self.at, '{') {
                self.at += 1;
                while self.at < self.code.len() && !self.is_punct(self.at, '}') {
                    let before = self.at;
                    self.use_tree(&path, source);
                    // A macro may hold what is no import; never stand still on it.
                    let stuck = self.at == before;
                    self.at += usize::from(stuck || self.is_punct(self.at, ','));
                }
                self.at += 1;
                return;
            }
            if self.at == before {
                break;
            }
        }
        // `self` in braces is the path in front of them.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        self.note(line, &path, source);
        let stop = |walk: &Self| [',', ';', '}'].iter().any(|c| walk.is_punct(walk.at, *c));
        while self.at < self.code.len() && !stop(self) {
            self.at += 1;
        }
    }

    fn note(&self, line: usize, segments: &[String], source: &mut Source) {
        let nested: Vec<String> = self.nesting.iter().map(|(name, _)| name.clone()).collect();
        let text = source.absolute(&nested, segments).join("::");
        source.paths.push(Found { line, text });
    }
}
