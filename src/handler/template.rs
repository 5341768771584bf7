//! Names of upstreams made of a topic's levels: topics of a next hop, subjects of NATS.

use mcpd_proto::topic::{MAX_TOPIC_LEVELS, Topic};
use std::fmt;

/// A text in which `{topic}` stands for the whole topic, `{2}` for its second level and `{2..}` for
/// the second and all that follow. `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// One level, counted from 0.
    Level(usize),
    /// This level, counted from 0, and those behind it.
    From(usize),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("has a `{0}` without its other half; write `{0}{0}` for a brace")]
    Brace(char),
    #[error(
        "has `{{{0}}}`, which stands for nothing; write {{topic}}, {{1}} to {{{MAX_TOPIC_LEVELS}}}, or \
         {{2..}} for a level and all that follow"
    )]
    Unknown(String),
    #[error("is empty; give it a text, such as {{topic}}")]
    Empty,
}

/// The topic is shorter than the template needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the topic has no level {0}, which the name upstream is made of")]
pub(crate) struct MissingLevel(usize);

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Brace('}'));
            }
            let Some((name, behind)) = behind.split_once('}') else {
                return Err(TemplateError::Brace('{'));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(placeholder(name)?);
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        match parts.is_empty() {
            true => Err(TemplateError::Empty),
            false => Ok(Template { parts }),
        }
    }

    /// The name for a topic. `level` writes one of its levels, `divider` goes between levels.
    pub(crate) fn expand(
        &self,
        topic: Topic<'_>,
        divider: char,
        level: impl Fn(&str, &mut String),
    ) -> Result<String, MissingLevel> {
        let mut name = String::with_capacity(topic.as_str().len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Level(at) => {
                    let found = topic.levels().nth(*at);
                    level(found.ok_or(MissingLevel(at + 1))?, &mut name);
                }
                Part::From(at) => {
                    let mut levels = topic.levels().skip(*at);
                    level(levels.next().ok_or(MissingLevel(at + 1))?, &mut name);
                    for next in levels {
                        name.push(divider);
                        level(next, &mut name);
                    }
                }
            }
        }
        Ok(name)
    }

    /// The texts between its placeholders.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Level(_) | Part::From(_) => None,
        })
    }
}

fn placeholder(name: &str) -> Result<Part, TemplateError> {
    if name == "topic" {
        return Ok(Part::From(0));
    }
    let unknown = || TemplateError::Unknown(name.to_owned());
    let (digits, from) = match name.strip_suffix("..") {
        Some(digits) => (digits, true),
        None => (name, false),
    };
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
    let level = digits.parse().ok().filter(|_| plain);
    match level {
        Some(level @ 1..=MAX_TOPIC_LEVELS) if from => Ok(Part::From(level - 1)),
        Some(level @ 1..=MAX_TOPIC_LEVELS) => Ok(Part::Level(level - 1)),
        _ => Err(unknown()),
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Level(at) => write!(f, "{{{}}}", at + 1),
            Part::From(0) => f.write_str("{topic}"),
            Part::From(at) => write!(f, "{{{}..}}", at + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, topic: &str) -> Result<String, MissingLevel> {
        let topic = Topic::parse(topic.as_bytes()).unwrap();
        let plain = |level: &str, name: &mut String| name.push_str(level);
        Template::parse(template).unwrap().expand(topic, '/', plain)
    }

    #[test]
    fn placeholders_stand_for_levels() {
        for (template, name) in [
            ("{topic}", "orders/eu//7"),
            ("eu/{1}", "eu/orders"),
            ("{2}.{1}-{4}", "eu.orders-7"),
            ("x/{2..}", "x/eu//7"),
            ("{3}", ""),
            ("a{{b}}{2}", "a{b}eu"),
            ("fixed", "fixed"),
        ] {
            assert_eq!(
                expand(template, "orders/eu//7").unwrap(),
                name,
                "{template}"
            );
            assert_eq!(Template::parse(template).unwrap().to_string(), template);
        }
    }

    #[test]
    fn a_topic_too_short_is_told_which_level_it_lacks() {
        assert_eq!(expand("{1}/{3}", "a/b"), Err(MissingLevel(3)));
        assert_eq!(expand("{3..}", "a/b"), Err(MissingLevel(3)));
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for wrong in [
            "{0}", "{33}", "{+1}", "{01}", "{x}", "{}", "{1...}", "{..}", "{2 }",
        ] {
            let refused = Template::parse(wrong).unwrap_err();
            assert!(matches!(refused, TemplateError::Unknown(_)), "{wrong}");
        }
        assert_eq!(Template::parse("a{1"), Err(TemplateError::Brace('{')));
        assert_eq!(Template::parse("a}1"), Err(TemplateError::Brace('}')));
        assert_eq!(Template::parse(""), Err(TemplateError::Empty));
    }
}
