//! What holds for patterns and names whatever they are.

use super::*;
use mcpd_proto::topic::{Pattern, Topic};
use proptest::prelude::*;

/// A level of a topic or pattern: few letters, so that they meet.
fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just(String::new()),
        1 => Just("$a".to_owned()),
        1 => Just("..".to_owned()),
        1 => Just("${client_id}".to_owned()),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    let topics = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    topics.prop_filter("a topic", |text| Topic::parse(text.as_bytes()).is_ok())
}

/// A pattern, with `H` where a placeholder may go.
fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![4 => "[ab]{1,2}", 2 => Just("+".to_owned()), 3 => "a?Hb?"];
    let levels = prop::collection::vec(part, 1..4);
    (levels, any::<bool>()).prop_map(|(levels, open)| {
        let tail = if open { "/#" } else { "" };
        levels.join("/") + tail
    })
}

/// What a client might call itself, were there no rules.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        2 => "[ab/+#$.{}*]{0,4}",
        1 => Just("${client_id}".to_owned()),
        1 => ".{0,3}",
    ]
}

fn values(id: &str) -> Values<'_> {
    Values {
        principal: "p",
        subject: None,
        client_id: Some(id),
    }
}

fn filled(pattern: &str) -> TopicPattern {
    TopicPattern::parse(&pattern.replace('H', "${client_id}")).unwrap()
}

proptest! {
    /// Filled with a plain word it is the pattern that one would have written.
    #[test]
    fn a_plain_value_is_as_good_as_written(text in pattern(), topic in topic(), id in "[ab]{1,2}") {
        let written = text.replace('H', &id);
        let expected = Pattern::parse(&written).unwrap();
        let parsed = Topic::parse(topic.as_bytes()).unwrap();
        let matches = filled(&text).matches(&topic, &values(&id), Effect::Allow);
        prop_assert_eq!(matches, expected.matches(parsed), "{} on {}", written, topic);
    }

    /// Whatever it is, it stands for itself in one level.
    #[test]
    fn no_value_is_more_than_the_text_of_its_level(text in pattern(), topic in topic(), id in value()) {
        let pattern = filled(&text);
        if pattern.matches(&topic, &values(&id), Effect::Allow) {
            let levels: Vec<&str> = topic.split('/').collect();
            for (at, part) in text.split('/').enumerate().filter(|(_, part)| part.contains('H')) {
                prop_assert_eq!(levels[at], part.replace('H', &id), "{} on {}", text, topic);
            }
        }
    }

    /// What is denied to somebody without a name is all that could be denied to one with a name.
    #[test]
    fn without_a_value_a_denial_reaches_as_far_as_with_any(text in pattern(), topic in topic(), id in value()) {
        let (pattern, nobody) = (filled(&text), Values { client_id: None, ..values("") });
        let with = pattern.matches(&topic, &values(&id), Effect::Deny);
        prop_assert!(!with || pattern.matches(&topic, &nobody, Effect::Deny));
        let placeholder = text.contains('H');
        prop_assert!(!placeholder || !pattern.matches(&topic, &nobody, Effect::Allow));
    }

    /// Reading anything at all comes to an end without a panic.
    #[test]
    fn any_text_is_a_pattern_or_is_not(text in ".{0,40}") {
        let _ = TopicPattern::parse(&text);
        let _ = ClientIdPattern::parse(&text);
        let _ = Policy::parse(text.as_bytes());
    }

    /// A name that fits begins with what is written, and is it to the end without a `*`.
    #[test]
    fn a_client_id_begins_with_what_is_written(text in "[ab]{1,2}\\*?", id in value()) {
        let fits = ClientIdPattern::parse(&text).unwrap().matches(&id, "p", None);
        let expected = match text.strip_suffix('*') {
            Some(start) => id.starts_with(start),
            None => id == text,
        };
        prop_assert_eq!(fits, expected);
    }
}
