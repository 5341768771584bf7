//! Topic patterns of principals: those of routes, with placeholders in their levels.

use mcpd_proto::topic::Pattern;
use std::fmt;

const PLACEHOLDERS: &str = "there are ${client_id}, ${principal} and ${subject}";

/// What placeholders stand for, for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values<'a> {
    /// `${principal}`: the name of the entry.
    pub principal: &'a str,
    /// `${subject}`: who a JWT or a certificate is about; tokens of a document are about nobody.
    pub subject: Option<&'a str>,
    /// `${client_id}`: CLIENT_ID of the HELLO, if there was one.
    pub client_id: Option<&'a str>,
}

/// A piece of a text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    ClientId,
    Principal,
    Subject,
}

impl Piece {
    /// What it stands for; `None` for a placeholder without a value.
    #[inline]
    fn value<'a>(&'a self, values: &Values<'a>) -> Option<&'a str> {
        let value = match self {
            Piece::Text(text) => return Some(text),
            Piece::ClientId => values.client_id?,
            Piece::Principal => values.principal,
            Piece::Subject => values.subject?,
        };
        // An empty value would make two patterns of different meaning the same.
        (!value.is_empty()).then_some(value)
    }
}

/// A text with placeholders. It is never put together: a text is held against it piece by piece, so that
/// whatever a value holds, it means nothing but itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// Reads a text with `${client_id}`, `${principal}` and `${subject}`.
    ///
    /// # Errors
    /// Any other `${…}`.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| format!("has a `${{` without its `}}`; {PLACEHOLDERS}"))?;
            pieces.push(match name {
                "client_id" => Piece::ClientId,
                "principal" => Piece::Principal,
                "subject" => Piece::Subject,
                _ => return Err(format!("has a placeholder that is none; {PLACEHOLDERS}")),
            });
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Template(pieces))
    }

    /// Whether it has no placeholder.
    fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn starts_with_text(&self) -> bool {
        matches!(self.0.first(), Some(Piece::Text(_)))
    }

    fn has_values(&self, values: &Values<'_>) -> bool {
        self.0.iter().all(|piece| piece.value(values).is_some())
    }

    /// What is left of `text` behind this. `None` if it does not begin so, or a value is missing.
    #[inline]
    pub(super) fn strip<'t>(&self, text: &'t str, values: &Values<'_>) -> Option<&'t str> {
        let mut rest = text;
        for piece in &self.0 {
            rest = rest.strip_prefix(piece.value(values)?)?;
        }
        Some(rest)
    }
}

/// Whether a pattern gives or takes. It matters where a placeholder has no value: then a pattern that gives
/// gives nothing, and one that takes takes whatever stands in that level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is under `allow`.
    Allow,
    /// It is under `deny`.
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    Filled(Template),
    Plus,
}

/// A topic pattern with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    text: Box<str>,
    levels: Vec<Level>,
    /// Whether `#` follows the levels.
    open: bool,
    exact: bool,
}

impl TopicPattern {
    /// Reads a pattern; sizes are limited like those of a topic.
    ///
    /// # Errors
    /// The first rule that it breaks.
    ///
    /// ```
    /// use mcpd::auth::{Effect, TopicPattern, Values};
    ///
    /// let own = TopicPattern::parse("devices/dev-${client_id}/#")?;
    /// let values = Values { principal: "sensors", subject: None, client_id: Some("7") };
    /// assert!(own.matches("devices/dev-7/temperature", &values, Effect::Allow));
    /// assert!(!own.matches("devices/dev-8/temperature", &values, Effect::Allow));
    /// # Ok::<(), String>(())
    /// ```
    pub fn parse(text: &str) -> Result<TopicPattern, String> {
        // The rules of patterns hold for whatever the placeholders may stand for.
        let shape = text
            .replace("${client_id}", "x")
            .replace("${principal}", "x")
            .replace("${subject}", "x");
        if text.len() > mcpd_proto::topic::MAX_TOPIC_LEN {
            let max = mcpd_proto::topic::MAX_TOPIC_LEN;
            return Err(format!("a pattern has at most {max} bytes"));
        }
        if shape.contains("${") {
            Template::parse(&shape)?;
        }
        let pattern = Pattern::parse(&shape).map_err(|error| error.to_string())?;
        let mut levels = Vec::new();
        let mut open = false;
        for level in text.split('/') {
            match level {
                "+" => levels.push(Level::Plus),
                "#" => open = true,
                _ => {
                    let template = Template::parse(level)?;
                    levels.push(match template.literal() {
                        Some(literal) => Level::Literal(literal.into()),
                        None => Level::Filled(template),
                    });
                }
            }
        }
        let literal = |level: &Level| matches!(level, Level::Literal(_));
        Ok(TopicPattern {
            text: text.into(),
            exact: pattern.is_exact() && levels.iter().all(literal),
            levels,
            open,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has neither wildcards nor placeholders, so that it matches one topic only.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether a request on `topic` fits this pattern. Wildcards never match a level that starts with
    /// `$`; nor does, under `allow`, a placeholder that a level begins with.
    #[inline]
    pub fn matches(&self, topic: &str, values: &Values<'_>, effect: Effect) -> bool {
        if self.exact {
            return *self.text == *topic;
        }
        let mut rest = Some(topic);
        for level in &self.levels {
            let Some(behind) = rest.and_then(|rest| level.strip(rest, values, effect)) else {
                return false;
            };
            rest = behind;
        }
        rest.is_none_or(|rest| self.open && !has_reserved_level(rest))
    }
}

impl Level {
    /// What follows this level in a topic, `Some(None)` behind its last one; `None` if it does not fit.
    #[inline]
    fn strip<'t>(
        &self,
        topic: &'t str,
        values: &Values<'_>,
        effect: Effect,
    ) -> Option<Option<&'t str>> {
        if let Level::Literal(literal) = self {
            // No need to search for where the topic's level ends.
            let behind = topic.strip_prefix(&**literal)?;
            return match behind.as_bytes().first() {
                None => Some(None),
                Some(b'/') => Some(behind.get(1..)),
                Some(_) => None,
            };
        }
        let end = topic.bytes().position(|byte| byte == b'/');
        let (found, behind) = match end.and_then(|end| topic.split_at_checked(end)) {
            Some((found, behind)) => (found, behind.get(1..)),
            None => (topic, None),
        };
        self.fits(found, values, effect).then_some(behind)
    }

    fn fits(&self, found: &str, values: &Values<'_>, effect: Effect) -> bool {
        match self {
            Level::Literal(literal) => **literal == *found,
            Level::Plus => !found.starts_with('$'),
            Level::Filled(template) => match effect {
                Effect::Allow if found.starts_with('$') && !template.starts_with_text() => false,
                Effect::Deny if !template.has_values(values) => true,
                _ => template.strip(found, values) == Some(""),
            },
        }
    }
}

/// Whether any level starts with `$`; hardly a topic has one at all.
#[inline]
fn has_reserved_level(levels: &str) -> bool {
    levels.as_bytes().contains(&b'$') && levels.split('/').any(|level| level.starts_with('$'))
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
