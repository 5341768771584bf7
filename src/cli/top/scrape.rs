//! Pure: a page in Prometheus' text format, as far as somebody wants to know.
//!
//! What is not wanted is not kept, what is no sample is skipped and counted, and a page
//! of any content takes bounded memory. It never fails: a part of a page is better than none.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Most series that are kept of a page. A server with as many routes as have series of their own has
/// a tenth of them.
const MAX_SERIES: usize = 100_000;
/// Most labels of a series; mcpd's have three.
const MAX_LABELS: usize = 16;

/// What tells the series of a family apart.
pub(super) type Labels = BTreeMap<String, String>;

/// The wanted families of a page.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: HashMap<&'static str, BTreeMap<Labels, f64>>,
    /// Samples that could not be read, or that there was no room for.
    pub(super) skipped: usize,
}

impl Page {
    /// Reads all lines. Of a series that is there twice, the last counts.
    pub(super) fn parse(text: &str, wanted: &[&'static str]) -> Page {
        let wanted: HashMap<&str, &'static str> =
            wanted.iter().map(|name| (*name, *name)).collect();
        let (mut page, mut kept) = (Page::default(), 0);
        for line in text.lines().map(str::trim) {
            let name = line.split(['{', ' ', '\t']).next().unwrap_or_default();
            let Some(name) = wanted.get(name) else {
                continue;
            };
            match sample(&line[name.len()..]) {
                Some((labels, value)) if kept < MAX_SERIES => {
                    page.families.entry(name).or_default().insert(labels, value);
                    kept += 1;
                }
                _ => page.skipped += 1,
            }
        }
        page
    }

    /// The series of a family; none if it is not there.
    pub(super) fn series(&self, name: &'static str) -> impl Iterator<Item = (&Labels, f64)> {
        let family = self.families.get(name).into_iter().flatten();
        family.map(|(labels, value)| (labels, *value))
    }

    /// The value of one series.
    pub(super) fn value(&self, name: &str, labels: &Labels) -> Option<f64> {
        self.families.get(name)?.get(labels).copied()
    }

    /// The sum over a family; `None` if it is not there.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        let family = self.families.get(name)?;
        Some(family.values().sum())
    }

    /// What a label says on the first series of a family.
    pub(super) fn label(&self, name: &str, label: &str) -> Option<&str> {
        let (labels, _) = self.families.get(name)?.first_key_value()?;
        labels.get(label).map(String::as_str)
    }
}

/// Labels and value of a line behind its name. A time behind the value is of no interest.
fn sample(rest: &str) -> Option<(Labels, f64)> {
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    // Nothing that is counted or measured here is infinite.
    value.is_finite().then_some((labels, value))
}

/// `name="value",…}`: the labels, and what is behind the brace.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = quoted(behind.trim_start().strip_prefix('"')?)?;
        if labels.len() == MAX_LABELS {
            return None;
        }
        labels.insert(name.trim().to_owned(), value.into_owned());
        rest = behind.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// A value up to its closing quote, and what is behind that.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Option<(Vec<(String, String)>, f64)> {
        let page = Page::parse(text, &["a", "b"]);
        let (labels, value) = page.series("a").next()?;
        let labels = labels.iter().map(|(k, v)| (k.clone(), v.clone()));
        Some((labels.collect(), value))
    }

    #[test]
    fn samples_with_and_without_labels() {
        assert_eq!(
            one("# HELP a b\n# TYPE a counter\na 1.5\n"),
            Some((vec![], 1.5))
        );
        let label = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            one(r#"a{ y = "1,2}=", x="q\"\\\n" , } 3e2 1543182234"#),
            Some((vec![label("x", "q\"\\\n"), label("y", "1,2}=")], 300.0))
        );
        assert_eq!(one("a{} 7"), Some((vec![], 7.0)));
        assert_eq!(one("ab 7\nc 1"), None);
    }

    #[test]
    fn what_is_no_sample_is_skipped_and_counted() {
        for text in [
            "a",
            "a x",
            "a{ 1",
            "a{x} 1",
            "a{x=1} 1",
            "a{x=\"} 1",
            "a{x=\"\\",
            "a NaN",
            "a +Inf",
        ] {
            let page = Page::parse(&format!("b 1\n{text}"), &["a", "b"]);
            assert_eq!(
                (page.skipped, page.sum("a"), page.sum("b")),
                (1, None, Some(1.0)),
                "{text}"
            );
        }
    }

    #[test]
    fn series_and_labels_are_bounded() {
        let lines: String = (0..MAX_SERIES + 5)
            .map(|n| format!("a{{x=\"{n}\"}} 1\n"))
            .collect();
        let page = Page::parse(&lines, &["a"]);
        assert_eq!((page.series("a").count(), page.skipped), (MAX_SERIES, 5));
        let labels: String = (0..=MAX_LABELS).map(|n| format!("l{n}=\"\",")).collect();
        assert_eq!(Page::parse(&format!("a{{{labels}}} 1"), &["a"]).skipped, 1);
    }

    proptest! {
        #[test]
        fn no_page_is_too_strange(text in "([ab{}\"=,\\\\ \\PC]|a\\{x=\"|[0-9.e+-]|\n){0,200}") {
            Page::parse(&text, &["a", "b", ""]);
        }
    }
}
