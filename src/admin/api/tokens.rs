//! Who may do what: bearer tokens, of which only hashes are known.
//!
//! A token is 256 random bits, so its SHA-256 is as good as a slow password hash: there is nothing
//! to guess. Digests are compared in constant time, and always with all of them.

use crate::router::document::reading::{self, Field, Fields, Report};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// Most tokens; each is compared with what every request shows.
const MAX_TOKENS: usize = 100;
/// Longest token that is looked at.
const MAX_TOKEN_LEN: usize = 512;
/// Largest file of tokens.
pub const MAX_TOKENS_BYTES: usize = 64 << 10;
/// Longest name of a token.
const MAX_NAME_LEN: usize = 63;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Change routes.
    Routes,
    /// Change handlers.
    Handlers,
    /// Change who may do what.
    Auth,
    /// Drain, close connections, change logging and sampling.
    Operate,
}

impl Scope {
    /// Every scope with its name.
    pub const ALL: [(Scope, &'static str); 5] = [
        (Scope::Read, "read"),
        (Scope::Routes, "routes"),
        (Scope::Handlers, "handlers"),
        (Scope::Auth, "auth"),
        (Scope::Operate, "operate"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let named = Scope::ALL.iter().find(|(scope, _)| *scope == self);
        named.map_or("", |(_, name)| name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Some scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub fn all() -> Scopes {
        Scope::ALL.iter().map(|(scope, _)| *scope).collect()
    }

    /// Whether `scope` is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

#[derive(Clone, PartialEq)]
struct Token {
    name: String,
    sha256: [u8; 32],
    scopes: Scopes,
}

/// The tokens that are good for something. Lists are compared to see whether a file says something
/// else; what a client shows is compared by [`Tokens::find`], in constant time.
///
/// ```
/// use mcpd::admin::{Scope, Tokens};
///
/// let text = r#"tokens: [{name: ops, scopes: [read],
///   sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}]"#;
/// let tokens = Tokens::parse(text.as_bytes())?;
/// let (name, scopes) = tokens.find(b"test").ok_or("unknown")?;
/// assert_eq!(name, "ops");
/// assert!(scopes.has(Scope::Read) && !scopes.has(Scope::Routes));
/// assert!(tokens.find(b"guess").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// Reads `tokens: [{name, sha256, scopes}]`, or that list alone, of YAML or JSON and at most
    /// 64 KiB.
    ///
    /// # Errors
    /// Every problem by line and key, without what is written there: it might be a token.
    pub fn parse(text: &[u8]) -> Result<Tokens, String> {
        let read = reading::whole(text, MAX_TOKENS_BYTES, tokens);
        let (tokens, _) = read.map_err(|error| error.to_string())?;
        Ok(tokens)
    }

    /// These and those of `more`.
    ///
    /// # Errors
    /// A name or a hash that both have, or too many.
    pub fn join(mut self, more: Tokens) -> Result<Tokens, String> {
        for token in more.0 {
            if self.has_twin(&token) {
                let name = token.name;
                return Err(format!("the token {name:?} is configured twice"));
            }
            self.0.push(token);
        }
        match self.0.len() {
            0..=MAX_TOKENS => Ok(self),
            many => Err(format!("{many} tokens; at most {MAX_TOKENS} are taken")),
        }
    }

    fn has_twin(&self, token: &Token) -> bool {
        let same = |other: &Token| other.name == token.name || other.sha256 == token.sha256;
        self.0.iter().any(same)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose token this is and what it is good for. Takes as long for a wrong one as for a right
    /// one.
    pub fn find(&self, shown: &[u8]) -> Option<(&str, Scopes)> {
        if shown.len() > MAX_TOKEN_LEN {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(shown).into();
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.sha256.ct_eq(&digest)) {
                found = Some((token.name.as_str(), token.scopes));
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|token| &token.name))
            .finish()
    }
}

fn tokens(root: Field<'_>, report: &mut Report) -> Option<Tokens> {
    let list = match root.is_list() {
        true => root,
        false => Fields::of(root, &["tokens"], report).and_then(|fields| {
            fields.unknown(report);
            fields.require("tokens", report)
        })?,
    };
    let items = reading::items(&list, report)?;
    if items.len() > MAX_TOKENS {
        reading::wrong(&list, "are too many; at most 100 are taken", report);
        return None;
    }
    let mut tokens = Tokens::default();
    for item in items {
        let place = item.place();
        let Some(token) = token(item, report) else {
            continue;
        };
        if tokens.has_twin(&token) {
            reading::wrong_at(&place, "has the name or the hash of an earlier one", report);
        }
        tokens.0.push(token);
    }
    Some(tokens)
}

fn token(item: Field<'_>, report: &mut Report) -> Option<Token> {
    let fields = Fields::of(item, &["name", "sha256", "scopes"], report)?;
    fields.unknown(report);
    let name = fields.require("name", report);
    let name = name.and_then(|field| name_of(&field, report));
    let sha256 = fields.require("sha256", report);
    let sha256 = sha256.and_then(|field| reading::sha256(&field, report));
    let scopes = fields.require("scopes", report);
    let scopes = scopes.and_then(|field| scopes_of(&field, report));
    Some(Token {
        name: name?,
        sha256: sha256?,
        scopes: scopes?,
    })
}

fn name_of(field: &Field<'_>, report: &mut Report) -> Option<String> {
    let name = reading::secret_text(field, report)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
    if (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(plain) {
        return Some(name.to_owned());
    }
    let message = "is not a name; write 1 to 63 letters, digits or any of . _ - @";
    reading::wrong(field, message, report);
    None
}

fn scopes_of(field: &Field<'_>, report: &mut Report) -> Option<Scopes> {
    let mut scopes = Vec::new();
    for item in reading::items(field, report)? {
        let name = reading::secret_text(&item, report)?;
        match Scope::ALL.iter().find(|(_, known)| *known == name) {
            Some((scope, _)) => scopes.push(*scope),
            None => {
                let known = Scope::ALL.map(|(_, name)| name).join(", ");
                let message = format!("is no scope; there are: {known}");
                reading::wrong(&item, &message, report);
            }
        }
    }
    if scopes.is_empty() {
        reading::wrong(field, "are none; a token needs one", report);
        return None;
    }
    Some(scopes.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_list_alone_and_json_do_as_well() {
        for text in [
            format!("tokens:\n  - name: ops\n    sha256: {HASH}\n    scopes: [read, operate]\n"),
            format!("[{{name: ops, sha256: {HASH}, scopes: [read, operate]}}]"),
            format!(
                r#"{{"tokens":[{{"name":"ops","sha256":"{HASH}","scopes":["read","operate"]}}]}}"#
            ),
        ] {
            let tokens = Tokens::parse(text.as_bytes()).unwrap();
            let (name, scopes) = tokens.find(b"test").unwrap();
            assert_eq!(name, "ops");
            assert!(scopes.has(Scope::Operate) && !scopes.has(Scope::Auth));
        }
        assert!(Tokens::parse(b"tokens: []").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_and_never_repeated() {
        for (text, wanted) in [
            (
                "tokens: [{name: a, sha256: mcpd_s3cret, scopes: [read]}]",
                "tokens[0].sha256",
            ),
            (
                "tokens: [{name: 's3cret s3cret', sha256: '', scopes: [read]}]",
                "tokens[0].name",
            ),
            (
                "[{name: a, sha256: 123, scopes: [s3cret]}]",
                "[0].scopes[0]",
            ),
            (
                "tokens: [{name: a, scopes: [read]}]",
                "tokens[0].sha256: is missing",
            ),
            ("s3cret", "write a mapping with tokens"),
            ("", "empty"),
        ] {
            let error = Tokens::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let twice = format!(
            "[{{name: a, sha256: {HASH}, scopes: [read]}}, {{name: b, sha256: {HASH}, scopes: [read]}}]"
        );
        assert!(
            Tokens::parse(twice.as_bytes())
                .unwrap_err()
                .contains("earlier")
        );
    }
}
