//! The routing table: built once, never changed, looked up for every request.
//!
//! An exact topic costs one hash. Only when that misses are the patterns tried: a trie whose edges
//! carry small numbers instead of text, because every level of the topic is hashed to its number
//! once and from there on compared as an integer, however often backtracking comes past it.
//!
//! Hostile topics can make a look-up miss, not slow: the hashes are seeded per process, the keys
//! are the operator's and never the peer's, and a miss ends at the first gap of a map that no
//! request can fill. A walk visits each node of the trie at most once.

use foldhash::fast::RandomState;
use mcpd_proto::topic::{MAX_TOPIC_LEVELS, Pattern};
use std::collections::{BTreeMap, HashMap};

/// "No such node, label or route" in the trie's numbers.
const NONE: u32 = u32::MAX;

/// Routes of type `R` by topic and pattern.
///
/// ```
/// use mcpd::router::table::Table;
/// use mcpd_proto::topic::Pattern;
///
/// let routes = [("orders/#", "any order"), ("orders/new", "new orders")];
/// let routes = routes.map(|(p, r)| (Pattern::parse(p).unwrap(), r));
/// let table = Table::build(routes)?;
/// assert_eq!(table.lookup("orders/new"), Some(&"new orders"));
/// assert_eq!(table.lookup("orders/eu/7"), Some(&"any order"));
/// assert_eq!(table.lookup("users"), None);
/// # Ok::<(), mcpd::router::table::TableError>(())
/// ```
#[derive(Debug)]
pub struct Table<R> {
    exact: HashMap<Box<str>, R, RandomState>,
    patterns: Vec<(Pattern, R)>,
    trie: Trie,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Table {
            exact: HashMap::default(),
            patterns: Vec::new(),
            trie: Trie::default(),
        }
    }
}

impl<R> Table<R> {
    /// Builds the table of `routes`, in any order.
    ///
    /// # Errors
    /// Two routes have the same pattern, or there are 2³² − 1 patterns or more.
    pub fn build(routes: impl IntoIterator<Item = (Pattern, R)>) -> Result<Table<R>, TableError> {
        let mut exact = HashMap::default();
        let mut patterns = Vec::new();
        let mut trie = Growing::default();
        for (pattern, route) in routes {
            let taken = if pattern.is_exact() {
                exact.insert(pattern.as_str().into(), route).is_some()
            } else {
                let taken = !trie.insert(&pattern, number(patterns.len())?)?;
                patterns.push((pattern.clone(), route));
                taken
            };
            if taken {
                return Err(TableError::Duplicate(pattern));
            }
        }
        exact.shrink_to_fit();
        Ok(Table {
            exact,
            patterns,
            trie: trie.freeze()?,
        })
    }

    /// The route that takes a request on `topic`: of all that match, the one whose pattern is the
    /// smallest by [`Pattern`]'s order. Allocates nothing.
    ///
    /// `topic` is the text of a checked topic; any other text finds no route, or one of a pattern
    /// that would match it.
    #[inline]
    pub fn lookup(&self, topic: &str) -> Option<&R> {
        if let Some(route) = self.exact.get(topic) {
            return Some(route);
        }
        if self.patterns.is_empty() {
            return None;
        }
        let found = self.trie.find(topic)?;
        self.patterns.get(found as usize).map(|(_, route)| route)
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.patterns.len()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All routes with the text of their patterns, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &R)> {
        let exact = self.exact.iter().map(|(topic, route)| (&**topic, route));
        let patterns = self.patterns.iter().map(|(p, route)| (p.as_str(), route));
        exact.chain(patterns)
    }
}

/// Why routes do not make a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A pattern occurs twice.
    #[error("two routes have the topic `{0}`; remove one")]
    Duplicate(Pattern),
    /// More patterns or levels than the trie numbers.
    #[error("a table has fewer than 4294967295 patterns and levels")]
    TooManyPatterns,
}

fn number(count: usize) -> Result<u32, TableError> {
    match u32::try_from(count) {
        Ok(n) if n != NONE => Ok(n),
        _ => Err(TableError::TooManyPatterns),
    }
}

/// The patterns, frozen into three flat arrays.
#[derive(Debug, Default)]
struct Trie {
    /// The number of every literal level that occurs in a pattern.
    labels: HashMap<Box<str>, u32, RandomState>,
    /// The root is the first one.
    nodes: Vec<Node>,
    /// Literal children, (label, node): each node owns a run of them, sorted by label.
    edges: Vec<(u32, u32)>,
    /// Levels of the longest pattern: no label is needed below.
    depth: usize,
}

#[derive(Debug)]
struct Node {
    first_edge: u32,
    edge_count: u32,
    /// The child for `+`.
    plus: u32,
    /// The route of the pattern that ends here.
    here: u32,
    /// The route of the pattern that goes on with `#` from here.
    rest: u32,
}

/// A topic as the trie sees it.
struct Levels {
    labels: [u32; MAX_TOPIC_LEVELS],
    count: usize,
    /// One bit per level that starts with `$`, which wildcards leave alone.
    dollars: u32,
}

impl Trie {
    fn find(&self, topic: &str) -> Option<u32> {
        let levels = self.levels(topic)?;
        self.walk(0, 0, &levels)
    }

    fn levels(&self, topic: &str) -> Option<Levels> {
        let mut levels = Levels {
            labels: [NONE; MAX_TOPIC_LEVELS],
            count: 0,
            dollars: 0,
        };
        for text in topic.split('/') {
            let at = levels.count;
            let label = levels.labels.get_mut(at)?;
            if at < self.depth {
                *label = self.labels.get(text).copied().unwrap_or(NONE);
            }
            levels.dollars |= u32::from(text.starts_with('$')) << at;
            levels.count += 1;
        }
        Some(levels)
    }

    /// Tries a node's children in the order of precedence and comes back when one leads nowhere.
    /// Recursion is bounded by `MAX_TOPIC_LEVELS`.
    fn walk(&self, node: u32, depth: usize, levels: &Levels) -> Option<u32> {
        let node = self.nodes.get(node as usize)?;
        if depth == levels.count {
            return some(node.here).or(some(node.rest));
        }
        if let Some(child) = self.literal_child(node, levels.labels[depth])
            && let Some(found) = self.walk(child, depth + 1, levels)
        {
            return Some(found);
        }
        let dollars_ahead = levels.dollars >> depth;
        if node.plus != NONE
            && dollars_ahead & 1 == 0
            && let Some(found) = self.walk(node.plus, depth + 1, levels)
        {
            return Some(found);
        }
        some(node.rest).filter(|_| dollars_ahead == 0)
    }

    fn literal_child(&self, node: &Node, label: u32) -> Option<u32> {
        if label == NONE || node.edge_count == 0 {
            return None;
        }
        let first = node.first_edge as usize;
        let edges = self.edges.get(first..first + node.edge_count as usize)?;
        let at = edges.binary_search_by_key(&label, |edge| edge.0).ok()?;
        edges.get(at).map(|edge| edge.1)
    }
}

fn some(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}

/// The trie while patterns are still being added.
#[derive(Default)]
struct Growing {
    labels: HashMap<Box<str>, u32, RandomState>,
    nodes: Vec<GrowingNode>,
    depth: usize,
}

#[derive(Default)]
struct GrowingNode {
    children: BTreeMap<u32, u32>,
    plus: Option<u32>,
    here: Option<u32>,
    rest: Option<u32>,
}

impl Growing {
    /// False if the pattern is there already.
    fn insert(&mut self, pattern: &Pattern, route: u32) -> Result<bool, TableError> {
        if self.nodes.is_empty() {
            self.nodes.push(GrowingNode::default());
        }
        let mut at = 0usize;
        let mut depth = 0;
        for level in pattern.levels() {
            if level == "#" {
                let old = self.nodes[at].rest.replace(route);
                return Ok(old.is_none());
            }
            at = self.child(at, level)? as usize;
            depth += 1;
            self.depth = self.depth.max(depth);
        }
        Ok(self.nodes[at].here.replace(route).is_none())
    }

    fn child(&mut self, at: usize, level: &str) -> Result<u32, TableError> {
        let fresh = number(self.nodes.len())?;
        let child = if level == "+" {
            *self.nodes[at].plus.get_or_insert(fresh)
        } else {
            let label = self.label(level)?;
            *self.nodes[at].children.entry(label).or_insert(fresh)
        };
        if child == fresh {
            self.nodes.push(GrowingNode::default());
        }
        Ok(child)
    }

    fn label(&mut self, level: &str) -> Result<u32, TableError> {
        let fresh = number(self.labels.len())?;
        if let Some(label) = self.labels.get(level) {
            return Ok(*label);
        }
        self.labels.insert(level.into(), fresh);
        Ok(fresh)
    }

    fn freeze(self) -> Result<Trie, TableError> {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut edges = Vec::new();
        for node in &self.nodes {
            nodes.push(Node {
                first_edge: number(edges.len())?,
                edge_count: number(node.children.len())?,
                plus: node.plus.unwrap_or(NONE),
                here: node.here.unwrap_or(NONE),
                rest: node.rest.unwrap_or(NONE),
            });
            edges.extend(node.children.iter().map(|(label, child)| (*label, *child)));
        }
        let mut labels = self.labels;
        labels.shrink_to_fit();
        Ok(Trie {
            labels,
            nodes,
            edges,
            depth: self.depth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpd_proto::topic::Topic;
    use proptest::prelude::*;

    fn table(patterns: &[&'static str]) -> Table<&'static str> {
        let routes = patterns.iter().map(|p| (Pattern::parse(p).unwrap(), *p));
        Table::build(routes).unwrap()
    }

    #[test]
    fn exact_before_plus_before_hash_with_backtracking() {
        let table = table(&["a/b", "a/+/c", "a/b/#", "a/b/d/e", "+/b/x", "#"]);
        assert_eq!(table.lookup("a/b"), Some(&"a/b"));
        assert_eq!(table.lookup("a/b/c"), Some(&"a/b/#"));
        assert_eq!(table.lookup("a/z/c"), Some(&"a/+/c"));
        assert_eq!(table.lookup("a/b/d/f"), Some(&"a/b/#"));
        // The literal and the `+` child of `a` lead nowhere: back up to the root.
        assert_eq!(table.lookup("a/z/d"), Some(&"#"));
        assert_eq!(table.lookup("z/b/x"), Some(&"+/b/x"));
        assert_eq!(table.len(), 6);
    }

    #[test]
    fn no_route_is_no_route() {
        assert_eq!(Table::<()>::default().lookup("a"), None);
        let table = table(&["a/+", "b"]);
        for topic in ["a", "b/c", "c", "", "a/b/c", "$a/b", "a/$b"] {
            assert_eq!(table.lookup(topic), None, "{topic}");
        }
        let deep = "a/".repeat(100);
        assert_eq!(table.lookup(&deep), None);
    }

    #[test]
    fn a_pattern_may_be_there_once() {
        for twice in ["a/b", "a/+", "a/#", "#"] {
            let twice = Pattern::parse(twice).unwrap();
            let routes = [(twice.clone(), 1), (twice.clone(), 2)];
            assert_eq!(
                Table::build(routes).unwrap_err(),
                TableError::Duplicate(twice)
            );
        }
    }

    #[test]
    fn many_patterns_share_their_levels() {
        let names: Vec<String> = (0..2000).map(|i| format!("shop{i}/+/orders/#")).collect();
        let routes = names.iter().enumerate();
        let table =
            Table::build(routes.map(|(i, name)| (Pattern::parse(name).unwrap(), i))).unwrap();
        for i in 0..2000 {
            let topic = format!("shop{i}/eu/orders/7");
            assert_eq!(table.lookup(&topic), Some(&i));
        }
        assert_eq!(table.lookup("shop2000/eu/orders/7"), None);
        assert_eq!(table.iter().count(), 2000);
    }

    fn path(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(levels), 1..6).prop_map(|l| l.join("/"))
    }

    proptest! {
        #[test]
        fn lookup_is_the_smallest_matching_pattern(
            patterns in prop::collection::btree_set(path(&["a", "b", "", "$x", "+", "+", "#"]), 0..24),
            topics in prop::collection::vec(path(&["a", "b", "", "$x", "c"]), 1..32),
        ) {
            let patterns: Vec<_> =
                patterns.iter().filter_map(|p| Pattern::parse(p).ok()).collect();
            let table = Table::build(patterns.iter().map(|p| (p.clone(), p.clone()))).unwrap();
            for topic in &topics {
                let Ok(topic) = Topic::parse(topic.as_bytes()) else { continue };
                let best = patterns.iter().filter(|p| p.matches(topic)).min();
                prop_assert_eq!(table.lookup(topic.as_str()), best, "{}", topic);
            }
        }
    }
}
