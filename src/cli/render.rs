//! Bodies and texts of a server, made fit for a terminal.

use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::fmt::Write;

/// Escaped bytes shown of a body that is no text; more helps nobody.
const MOST_ESCAPED: usize = 4 * 1024;

/// A body for a person: text with a newline at its end, JSON indented, anything else escaped.
pub(super) fn for_terminal(body: &[u8], content_type: Option<&str>) -> String {
    let mut shown = match std::str::from_utf8(body) {
        Ok(text) if is_json(text, content_type) => harmless(&indent(text)).into_owned(),
        Ok(text) => harmless(text).into_owned(),
        Err(_) => return escape(body),
    };
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    shown
}

/// Text whose control characters are written out: a server must not move the cursor, set the title
/// or type into the terminal of who asks it.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match harmful(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// [`harmless`] on one line, for messages that are lines.
pub(super) fn one_line(text: &str) -> String {
    harmless(&text.trim_end().replace('\n', " ")).into_owned()
}

fn escape(body: &[u8]) -> String {
    let shown = &body[..body.len().min(MOST_ESCAPED)];
    let mut out = String::with_capacity(shown.len() * 2);
    for chunk in shown.utf8_chunks() {
        out.push_str(&harmless(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    let len = body.len();
    let cut = if len > shown.len() { "…\n" } else { "\n" };
    let _ = writeln!(
        out,
        "{cut}({len} bytes, not all of them text; redirect standard output to keep them as they are)"
    );
    out
}

fn is_json(text: &str, content_type: Option<&str>) -> bool {
    let essence = content_type.map(|value| value.split(';').next().unwrap_or(value).trim());
    let named = match essence {
        Some(name) => name == "application/json" || name.ends_with("+json"),
        None => text.starts_with(['{', '[']),
    };
    named && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Indents valid JSON without touching what it says: parsed and printed anew, large numbers would
/// lose digits and objects their order.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = json.chars().peekable();
    let blank = |c: &char| matches!(c, ' ' | '\n' | '\r' | '\t');
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            _ if blank(&c) => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(blank).is_some() {}
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_with_one_newline_and_moves_no_cursor() {
        assert_eq!(for_terminal(b"hello", None), "hello\n");
        assert_eq!(for_terminal(b"a\n\tb\n", None), "a\n\tb\n");
        assert_eq!(for_terminal(b"", None), "");
        assert_eq!(for_terminal(b"\x1b]0;x\x07", None), "\\u{1b}]0;x\\u{7}\n");
        assert_eq!(one_line("a\nb\r\x1b[2J\n"), "a b\\r\\u{1b}[2J");
    }

    #[test]
    fn json_is_indented_and_says_the_same() {
        let body = br#"{ "z":[1, 18446744073709551616,{}],
            "a":"x, \"y\": {\\","e":[ ]}"#;
        let shown = for_terminal(body, Some("application/json; charset=utf-8"));
        let expected = r#"{
  "z": [
    1,
    18446744073709551616,
    {}
  ],
  "a": "x, \"y\": {\\",
  "e": []
}
"#;
        assert_eq!(shown, expected);
        assert_eq!(for_terminal(body, None), expected);
    }

    #[test]
    fn what_only_looks_like_json_stays_as_it_is() {
        for (body, content_type) in [
            ("{not json", None),
            ("[1,2]", Some("text/plain")),
            ("[1,", Some("application/json")),
        ] {
            let shown = for_terminal(body.as_bytes(), content_type);
            assert_eq!(shown, format!("{body}\n"));
        }
    }

    #[test]
    fn bytes_are_escaped_and_cut() {
        let shown = for_terminal(b"ab\xff\x00", None);
        assert!(shown.starts_with("ab\\xff\\u{0}\n(4 bytes, "), "{shown}");
        let shown = for_terminal(&[0xfe; 100_000], None);
        assert!(shown.len() < 20_000 && shown.contains("(100000 bytes, "));
    }
}
