//! Another topic, made of the levels that a route's pattern has matched.

use mcpd_proto::topic::{MAX_TOPIC_LEN, MAX_TOPIC_LEVELS, Pattern};
use std::fmt;

/// A template of a topic. `{1}` is the level that the first `+` of the pattern took, `{2}` that of the
/// second, and a level `{#}` the levels that `#` took, which may be none.
///
/// ```
/// use mcpd::router::document::Rewrite;
/// use mcpd_proto::topic::Pattern;
///
/// let pattern = Pattern::parse("orders/+/new/#")?;
/// let rewrite = Rewrite::parse("v2/{1}-new/{#}", &pattern)?;
/// assert_eq!(rewrite.fill("orders/eu/new/7/a").as_deref(), Some("v2/eu-new/7/a"));
/// assert_eq!(rewrite.fill("orders/eu/new").as_deref(), Some("v2/eu-new"));
/// assert!(Rewrite::parse("v2/{2}", &pattern).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    text: Box<str>,
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Of(Vec<Piece>),
    /// All levels of the topic from this one on.
    Rest(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// This level of the topic.
    Level(usize),
}

/// What the placeholders of one pattern stand for.
struct Taken {
    /// Where the `+` are, in order.
    plus: Vec<usize>,
    /// Where the `#` is.
    rest: Option<usize>,
}

impl Taken {
    fn by(pattern: &Pattern) -> Taken {
        let wild = |wildcard| {
            let levels = pattern.levels().enumerate();
            let found = levels.filter(move |(_, level)| *level == wildcard);
            found.map(|(at, _)| at)
        };
        Taken {
            plus: wild("+").collect(),
            rest: wild("#").next(),
        }
    }

    fn number(&self, name: &str) -> Result<usize, String> {
        let number: Option<usize> = name.parse().ok();
        let number = number.filter(|number| number.to_string() == name);
        let Some(number) = number else {
            return Err(format!(
                "`{{{}}}` is no placeholder; there are {{1}}, {{2}}, … for the levels that `+` took, and a \
                 level {{#}} for those that `#` took",
                name.escape_debug()
            ));
        };
        let at = number.checked_sub(1).and_then(|at| self.plus.get(at));
        at.copied().ok_or_else(|| {
            let count = self.plus.len();
            format!("`{{{number}}}` stands for nothing: the topic has {count} levels `+`")
        })
    }
}

impl Rewrite {
    /// Reads a template for topics that `pattern` matches.
    ///
    /// # Errors
    /// Why it makes no topic, whatever the levels are.
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Rewrite, String> {
        let taken = Taken::by(pattern);
        let levels = text.split('/').map(|level| read_level(level, &taken));
        let rewrite = Rewrite {
            text: text.into(),
            levels: levels.collect::<Result<_, _>>()?,
        };
        rewrite.check()?;
        Ok(rewrite)
    }

    /// Whether it makes a topic if each placeholder stands for an `x`.
    fn check(&self) -> Result<(), String> {
        let levels = self.levels.iter().map(|level| match level {
            Level::Rest(_) => "x".to_owned(),
            Level::Of(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Level(_) => "x",
                })
                .collect(),
        });
        let shape = levels.collect::<Vec<String>>().join("/");
        match Pattern::parse(&shape) {
            Ok(_) if shape.starts_with('$') => {
                Err("topics that start with `$` are kept for the server itself".to_owned())
            }
            Ok(pattern) if pattern.is_exact() => Ok(()),
            Ok(_) => Err("`+` and `#` belong to patterns; write {1} or {#}".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text that it makes of a topic that its pattern matches; `None` if that would be longer than
    /// a topic may be. Whether it is a valid topic is for the caller to see: levels may be empty, or many.
    pub fn fill(&self, topic: &str) -> Option<String> {
        let mut taken = [""; MAX_TOPIC_LEVELS];
        let mut count = 0;
        for level in topic.split('/') {
            *taken.get_mut(count)? = level;
            count += 1;
        }
        let taken = taken.get(..count)?;
        let mut made = String::with_capacity(MAX_TOPIC_LEN);
        let mut first = true;
        for level in &self.levels {
            match level {
                Level::Rest(at) => {
                    for level in taken.get(*at..)? {
                        divide(&mut made, &mut first);
                        push(&mut made, level)?;
                    }
                }
                Level::Of(pieces) => {
                    divide(&mut made, &mut first);
                    for piece in pieces {
                        push(
                            &mut made,
                            match piece {
                                Piece::Text(text) => text,
                                Piece::Level(at) => taken.get(*at)?,
                            },
                        )?;
                    }
                }
            }
        }
        (made.len() <= MAX_TOPIC_LEN).then_some(made)
    }
}

fn divide(made: &mut String, first: &mut bool) {
    if !std::mem::replace(first, false) {
        made.push('/');
    }
}

fn push(made: &mut String, text: &str) -> Option<()> {
    (made.len() + text.len() <= MAX_TOPIC_LEN).then(|| made.push_str(text))
}

fn read_level(level: &str, taken: &Taken) -> Result<Level, String> {
    if level == "{#}" {
        let none = || "`{#}` stands for nothing: the topic does not end with `#`".to_owned();
        return taken.rest.map(Level::Rest).ok_or_else(none);
    }
    let mut pieces = Vec::new();
    let mut rest = level;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or("has a `{` without its `}`")?;
        if name == "#" {
            return Err("`{#}` is a level by itself: it may stand for several".to_owned());
        }
        push_text(&mut pieces, before)?;
        pieces.push(Piece::Level(taken.number(name)?));
        rest = behind;
    }
    push_text(&mut pieces, rest)?;
    Ok(Level::Of(pieces))
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("has a `}` without its `{`".to_owned());
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(())
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpd_proto::topic::Topic;
    use proptest::prelude::*;

    fn rewrite(template: &str, pattern: &str) -> Result<Rewrite, String> {
        Rewrite::parse(template, &Pattern::parse(pattern).unwrap())
    }

    #[test]
    fn placeholders_are_the_levels_that_wildcards_took() {
        for (pattern, template, topic, made) in [
            ("a", "b/c", "a", "b/c"),
            ("a/+/+", "{2}/x{1}y/{2}", "a/1/2", "2/x1y/2"),
            ("+/b/#", "{#}/{1}", "a/b/c/d", "c/d/a"),
            ("a/#", "z/{#}/z", "a", "z/z"),
            ("a/#", "{#}", "a/b", "b"),
            // What a level holds means nothing but itself.
            ("a/+", "b/{1}", "a/{1}", "b/{1}"),
        ] {
            let rewrite = rewrite(template, pattern).unwrap();
            assert_eq!(rewrite.fill(topic).as_deref(), Some(made), "{template}");
        }
    }

    #[test]
    fn what_makes_no_topic_is_refused() {
        for (pattern, template, why) in [
            ("a/+", "b/{2}", "`{2}` stands for nothing"),
            ("a/+", "b/{0}", "`{0}` stands for nothing"),
            ("a/+", "b/{01}", "is no placeholder"),
            ("a/+", "b/{x}", "is no placeholder"),
            ("a/+", "b/{#}", "does not end with `#`"),
            ("a/#", "b/x{#}", "a level by itself"),
            ("a/+", "b/{1", "without its `}`"),
            ("a/+", "b/1}", "without its `{`"),
            ("a/+", "b/+", "belong to patterns"),
            ("a/+", "$b/{1}", "kept for the server"),
            ("a/+", "/{1}", "leading `/`"),
            ("a/+", "", "at least one byte"),
        ] {
            let refused = rewrite(template, pattern).unwrap_err();
            assert!(refused.contains(why), "{template}: {refused}");
        }
    }

    #[test]
    fn what_would_be_too_long_is_not_made() {
        let rewrite = rewrite("{1}/{1}", "+").unwrap();
        assert_eq!(
            rewrite.fill(&"x".repeat(127)).map(|made| made.len()),
            Some(255)
        );
        assert_eq!(rewrite.fill(&"x".repeat(128)), None);
    }

    proptest! {
        #[test]
        fn whatever_is_matched_makes_a_topic_or_is_seen_not_to(
            template in "([a-c$é]|\\{[1-3]\\}|/|/\\{#\\}){0,12}",
            topic in "([a-b$é]{0,2}/){0,6}[a-b$é]{0,2}",
        ) {
            let pattern = Pattern::parse("+/+/#").unwrap();
            if let (Ok(rewrite), Ok(topic)) =
                (Rewrite::parse(&template, &pattern), Topic::parse(topic.as_bytes()))
                && pattern.matches(topic)
                && let Some(made) = rewrite.fill(topic.as_str())
                && let Err(error) = Topic::parse(made.as_bytes())
            {
                use mcpd_proto::topic::TopicError as E;
                let known = matches!(
                    error,
                    E::Empty | E::EmptyFirstLevel | E::TooManyLevels { .. }
                );
                prop_assert!(known, "{error}");
            }
        }
    }
}
