//! Subjects made of topics: what means something to NATS and comes from a client means nothing.

use crate::handler::template::{MissingLevel, Template};
use mcpd_proto::topic::Topic;

/// The subject for a topic.
pub(super) fn subject(template: &Template, topic: Topic<'_>) -> Result<String, MissingLevel> {
    template.expand(topic, '.', escape)
}

/// Writes a level as (part of) one token of a subject: `.`, `*`, `>`, `$`, `%`, white space and what
/// is no ASCII letter, digit or common sign become `%` and two hex digits for each byte, an empty level
/// `%00`. So a level stays one token, no two levels become the same, no wildcard and none of NATS' own
/// subjects (`$JS`, `$SYS`, `_INBOX`) can be named by a client.
fn escape(level: &str, subject: &mut String) {
    if level.is_empty() {
        subject.push_str("%00");
        return;
    }
    for (at, byte) in level.bytes().enumerate() {
        let begins = at == 0 && subject.is_empty();
        if is_plain(byte) && !(begins && byte == b'_') {
            subject.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
            let digits = [digit(byte >> 4), digit(byte & 15)];
            subject.push('%');
            subject.extend(digits.map(|digit| digit.to_ascii_uppercase()));
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'$' | b'%')
}

/// Why a template makes no subjects; `None` if it does.
pub(super) fn problem(template: &Template) -> Option<&'static str> {
    let mut texts = template.texts();
    let bad = |text: &str| {
        text.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c))
    };
    if texts.any(bad) {
        return Some("has white space or a wildcard of NATS; a message goes to one subject");
    }
    // As long as no level can have a `.` of its own, what is empty stands in the template itself.
    let shown = template.to_string();
    let empty = shown.starts_with('.') || shown.ends_with('.') || shown.contains("..");
    let ranges = shown.replace("..}", "}");
    let empty = empty && (shown.starts_with('.') || ranges.ends_with('.') || ranges.contains(".."));
    empty.then_some("has an empty token; dots divide tokens")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(template: &str, topic: &str) -> String {
        let topic = Topic::parse(topic.as_bytes()).unwrap();
        subject(&Template::parse(template).unwrap(), topic).unwrap()
    }

    #[test]
    fn levels_become_tokens() {
        for (template, topic, subject) in [
            ("{topic}", "orders/eu/new", "orders.eu.new"),
            ("orders.{2}", "orders/eu/new", "orders.eu"),
            ("x.{2..}", "orders/eu/new", "x.eu.new"),
            ("x.{2}-{1}.y", "a/b", "x.b-a.y"),
        ] {
            assert_eq!(made(template, topic), subject);
        }
    }

    #[test]
    fn what_nats_would_understand_is_escaped() {
        for (level, token) in [
            ("a.b", "x.a%2Eb"),
            ("*", "x.%2A"),
            (">", "x.%3E"),
            ("a b", "x.a%20b"),
            ("%2E", "x.%252E"),
            ("$JS", "x.%24JS"),
            ("", "x.%00"),
            ("ä", "x.%C3%A4"),
            ("_INBOX", "x._INBOX"),
            ("a:b@c-d_e=f", "x.a:b@c-d_e=f"),
        ] {
            assert_eq!(made("x.{2}", &format!("t/{level}")), token);
        }
        assert_eq!(made("{1}.{2}", "_INBOX/_x"), "%5FINBOX._x");
        assert_eq!(made("{topic}", "_INBOX/a.b/"), "%5FINBOX.a%2Eb.%00");
    }

    #[test]
    fn no_two_levels_become_the_same_token() {
        let levels = [
            "", "%", "%00", ".", "%2E", "a.", "a%2E", "*", "+a", " ", "\u{a0}",
        ];
        let mut tokens: Vec<String> = levels
            .iter()
            .map(|level| {
                let mut token = "x.".to_owned();
                escape(level, &mut token);
                assert_eq!(token.matches('.').count(), 1);
                token
            })
            .collect();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), levels.len());
    }

    #[test]
    fn templates_that_make_no_subject_are_told() {
        let problem = |text: &str| problem(&Template::parse(text).unwrap());
        for good in ["a", "{topic}", "a.{2..}.b", "a.{2..}", "a-{1}.b"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [".a", "a.", "a..b", "{1}.", "a b", "a.*", "a.>", "{2..}."] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
