//! Names of routes and handlers, and the ones made for routes that have none.

use super::RouteSpec;
use super::fields::Report;
use super::problem::Problem;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// Longest name, in bytes: what a Kubernetes label value takes.
pub const MAX_NAME_LEN: usize = 63;

/// Hex digits of the topic's SHA-256 that tell apart names which would look the same.
const SUFFIX_DIGITS: usize = 8;

/// Whether `text` is a name: `[a-z0-9._-]{1,63}`.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

/// The name of a route that has none, made of its topic alone: `/` becomes `.`, a level `+`
/// becomes `any`, a level `#` becomes `all`.
///
/// A topic that does not survive this as it is (other characters become `-`, upper case becomes
/// lower case, more than 63 bytes are cut, a `.` would read like a `/`) gets `-` and the first
/// eight hex digits of its SHA-256 appended, so that it does not share its name with another.
///
/// ```
/// use mcpd::router::document::derive_name;
///
/// assert_eq!(derive_name("orders/+/new"), "orders.any.new");
/// assert_eq!(derive_name("logs/#"), "logs.all");
/// assert_eq!(derive_name("Orders/new"), "orders.new-34fe4524");
/// ```
pub fn derive_name(topic: &str) -> String {
    let (slug, faithful) = slug(topic);
    if faithful && slug.len() <= MAX_NAME_LEN {
        slug
    } else {
        with_suffix(topic, &slug)
    }
}

/// The readable part, and whether it tells the topic apart from others.
fn slug(topic: &str) -> (String, bool) {
    let mut slug = String::with_capacity(topic.len() + 8);
    let mut faithful = true;
    for (i, level) in topic.split('/').enumerate() {
        if i > 0 {
            slug.push('.');
        }
        match level {
            "+" => slug.push_str("any"),
            "#" => slug.push_str("all"),
            _ => {
                for c in level.chars() {
                    let kept = matches!(c, 'a'..='z' | '0'..='9' | '_' | '-');
                    faithful &= kept;
                    slug.push(match c {
                        _ if kept || c == '.' => c,
                        'A'..='Z' => c.to_ascii_lowercase(),
                        _ => '-',
                    });
                }
            }
        }
    }
    (slug, faithful)
}

fn with_suffix(topic: &str, slug: &str) -> String {
    let digest = super::identity::hex(&Sha256::digest(topic.as_bytes()));
    // The slug is ASCII, so any cut is between characters.
    let room = MAX_NAME_LEN - 1 - SUFFIX_DIGITS;
    let head = slug.get(..room).unwrap_or(slug);
    let tail = digest.get(..SUFFIX_DIGITS).unwrap_or_default();
    format!("{head}-{tail}")
}

/// Names the routes that have no name yet (theirs is empty), and reports names that occur twice.
/// `positions` are the routes' places in the document's list.
///
/// A made name that another route has already, be it given or made (`a/any` beside `a/+`), gets
/// the suffix, too; which ones does not depend on the order of the routes.
pub(super) fn assign(routes: &mut [RouteSpec], positions: &[usize], report: &mut Report) {
    let mut users: HashMap<String, usize> = HashMap::new();
    let unnamed: Vec<usize> = (0..routes.len())
        .filter(|i| routes[*i].name.is_empty())
        .collect();
    for i in &unnamed {
        routes[*i].name = derive_name(routes[*i].pattern.as_str());
    }
    for route in routes.iter() {
        *users.entry(route.name.clone()).or_default() += 1;
    }
    let mut made = HashSet::new();
    for i in unnamed {
        let topic = routes[i].pattern.as_str();
        if users.get(&routes[i].name).is_some_and(|n| *n > 1) {
            routes[i].name = with_suffix(topic, &slug(topic).0);
        }
        made.insert(i);
    }
    refuse_twins(routes, positions, &made, report);
}

fn refuse_twins(
    routes: &[RouteSpec],
    positions: &[usize],
    made: &HashSet<usize>,
    report: &mut Report,
) {
    let mut first: HashMap<&str, u32> = HashMap::with_capacity(routes.len());
    for (i, route) in routes.iter().enumerate() {
        let Some(line) = first.insert(&route.name, route.line) else {
            continue;
        };
        let name = &route.name;
        let message = if made.contains(&i) {
            format!("the name made for this route, `{name}`, is taken at line {line}; give it one")
        } else {
            format!("the route at line {line} is named `{name}`, too; names are unique")
        };
        let at = positions.get(i).copied().unwrap_or(i);
        report.problem(Problem::new(
            route.line,
            format!("routes[{at}].name"),
            message,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpd_proto::topic::Pattern;
    use proptest::prelude::*;

    fn names(routes: &[(&str, &str)]) -> (Vec<String>, Report) {
        let mut specs: Vec<_> = routes
            .iter()
            .map(|(name, topic)| {
                let mut spec = RouteSpec::new(Pattern::parse(topic).unwrap(), "echo");
                spec.name = (*name).to_owned();
                spec
            })
            .collect();
        let mut report = Report::new(false);
        let positions: Vec<_> = (0..specs.len()).collect();
        assign(&mut specs, &positions, &mut report);
        (specs.into_iter().map(|s| s.name).collect(), report)
    }

    #[test]
    fn plain_topics_keep_their_look() {
        for (topic, name) in [
            ("echo", "echo"),
            ("a/b-c/d_1", "a.b-c.d_1"),
            ("a//b", "a..b"),
            ("+/b/#", "any.b.all"),
        ] {
            assert_eq!(derive_name(topic), name);
        }
    }

    #[test]
    fn changed_names_are_told_apart_by_a_suffix() {
        let topics = ["a.b", "A/b", "a/B", "é", "è", "a b", "a?b"];
        let names: HashSet<_> = topics.map(derive_name).into_iter().collect();
        assert_eq!(names.len(), topics.len());
        assert!(names.iter().all(|name| is_name(name)), "{names:?}");

        let (long, longer) = ("x".repeat(64), "x".repeat(65));
        assert_eq!(derive_name(&"x".repeat(63)).len(), 63);
        assert_eq!(derive_name(&long).len(), 63);
        assert_ne!(derive_name(&long), derive_name(&longer));
    }

    #[test]
    fn collisions_do_not_depend_on_the_order() {
        let (forward, report) = names(&[("", "a/+"), ("", "a/any"), ("b", "c"), ("", "b")]);
        assert!(report.problems.is_empty());
        let (mut backward, _) = names(&[("", "b"), ("b", "c"), ("", "a/any"), ("", "a/+")]);
        backward.reverse();
        assert_eq!(forward, backward);
        assert!(forward[0].starts_with("a.any-") && forward[1].starts_with("a.any-"));
        assert_ne!(forward[0], forward[1]);
        assert_eq!(forward[2], "b");
        assert!(forward[3].starts_with("b-"));
    }

    #[test]
    fn names_given_twice_are_refused() {
        let (_, report) = names(&[("a", "x"), ("a", "y")]);
        let text = report.problems.to_string();
        assert!(text.contains("routes[1].name: the route at line 0 is named `a`, too"));

        let taken = with_suffix("b", "b");
        let (_, report) = names(&[("b", "x"), (&taken, "y"), ("", "b")]);
        assert!(report.problems.to_string().contains("give it one"));
    }

    proptest! {
        #[test]
        fn every_pattern_has_a_valid_name(text in "\\PC{1,80}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(is_name(&derive_name(pattern.as_str())));
            }
        }
    }
}
