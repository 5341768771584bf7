//! JSON writes a character outside the basic plane as two escapes, a surrogate pair, which YAML does
//! not know. Everything else of JSON is YAML.

use std::borrow::Cow;

/// Bytes of `\ud83d\ude00`.
const PAIR: usize = 12;

/// A JSON text with its surrogate pairs replaced by the characters they stand for; any other text as
/// it is. Lines stay where they are.
pub(super) fn join(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with('{') || !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let (mut joined, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        joined.push_str(before);
        // A backslash and what it escapes stay together, so that `\\u` is not taken for `\u`.
        let (character, len) = match pair(escape) {
            Some(character) => (Some(character), PAIR),
            None => (None, escape.chars().take(2).map(char::len_utf8).sum()),
        };
        match character {
            Some(character) => joined.push(character),
            None => joined.push_str(&escape[..len]),
        }
        rest = &escape[len..];
    }
    joined.push_str(rest);
    Cow::Owned(joined)
}

fn pair(escape: &str) -> Option<char> {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let units = [unit(0)?, unit(6)?];
    let is_high = (0xd800..0xdc00).contains(&units[0]);
    let mut decoded = char::decode_utf16(units);
    decoded.next().filter(|_| is_high)?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_characters_and_nothing_else_changes() {
        assert_eq!(join(r#"{"a": "x\ud83d\ude00y"}"#), "{\"a\": \"x😀y\"}");
        for same in [
            r#"{"a": "\u00e9\n\\ud83d\\ude00"}"#,
            r#"{"a": "\ud83d"}"#,
            r#"{"a": "\ud83d\u0041"}"#,
            r#"{"a": "\"#,
            "a: \"\\ud83d\\ude00\"",
        ] {
            assert_eq!(join(same), same);
        }
    }
}
