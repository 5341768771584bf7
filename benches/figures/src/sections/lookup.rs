//! Looking a topic up in a big routing table, with caches warm and cold.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use mcpd::router::table::Table;
use mcpd_proto::topic::{Pattern, Topic};

use super::Plan;
use crate::micro::{Case, Costs};

const EXACT: u32 = 100_000;
const PATTERNS: u32 = 1_000;
/// Topics that are asked for again and again: few enough for the first-level cache.
const HOT: usize = 8;

/// Measures and prints.
pub(super) fn measure(plan: &Plan) -> Result<Costs> {
    // The cases outlive any borrow of this function, and the process ends after the sections.
    let table: &'static Table<u32> = Box::leak(Box::new(table()?));
    let mut cases = cases(table)?;
    let unit = "ns";
    let costs = Costs::measure("lookup", unit, &mut cases, plan.runs, plan.repeats)?;
    costs.print(
        "lookup: CPU per look-up among 100,000 exact topics and 1,000 patterns",
        "ns per topic",
        &[
            "hot: 8 topics again and again; random: 100,000 topics in random order, so that the",
            "table is out of the caches; the topic's own text is read in order, as from a socket",
        ],
    );
    Ok(costs)
}

fn exact(n: u32) -> String {
    format!("site{:03}/line{:02}/device{n:05}/state", n % 250, n % 40)
}

fn pattern(n: u32) -> String {
    match n % 2 {
        0 => format!("area{n:03}/+/alarm/#"),
        _ => format!("area{n:03}/+/temperature"),
    }
}

/// A topic that pattern `n % PATTERNS` takes.
fn matching(n: u32) -> String {
    let (area, unit) = (n % PATTERNS, n / PATTERNS);
    match area % 2 {
        0 => format!("area{area:03}/unit{unit:02}/alarm/fire"),
        _ => format!("area{area:03}/unit{unit:02}/temperature"),
    }
}

/// A topic without a route: every other one only turns out to be so after the walk to a pattern.
fn missing(n: u32) -> String {
    match n % 2 {
        0 => format!("site{:03}/line{:02}/device{n:05}/power", n % 250, n % 40),
        _ => format!("area{:03}/unit{:02}/humidity", n % PATTERNS, n / PATTERNS),
    }
}

fn table() -> Result<Table<u32>> {
    let exact = (0..EXACT).map(|n| (exact(n), n));
    let patterns = (0..PATTERNS).map(|n| (pattern(n), EXACT + n));
    let routes = exact.chain(patterns).map(|(text, route)| {
        let pattern = Pattern::parse(&text).with_context(|| format!("the pattern {text}"))?;
        Ok((pattern, route))
    });
    Ok(Table::build(routes.collect::<Result<Vec<_>>>()?)?)
}

fn cases(table: &'static Table<u32>) -> Result<Vec<Case>> {
    let exact = Topics::new(exact);
    let matching = Topics::new(matching);
    let missing = Topics::new(missing);
    ensure!(
        found(table, &exact) == exact.len(),
        "an exact topic without a route"
    );
    ensure!(
        found(table, &matching) == matching.len(),
        "a matching topic without a route"
    );
    ensure!(found(table, &missing) == 0, "a missing topic with a route");
    Ok(vec![
        look_up("hot exact", table, exact.first(HOT)).at_most(60.0),
        look_up("random exact", table, exact.clone()),
        look_up("hot pattern", table, matching.first(HOT)).at_most(300.0),
        look_up("random pattern", table, matching).at_most(300.0),
        look_up("hot miss", table, missing.first(HOT)),
        look_up("random miss", table, missing),
        parse("Topic::parse, on top of each", exact),
    ])
}

fn found(table: &Table<u32>, topics: &Topics) -> usize {
    let found = |range: &(u32, u32)| table.lookup(topics.text(*range)).is_some();
    topics.ranges.iter().filter(|range| found(range)).count()
}

fn look_up(name: &'static str, table: &'static Table<u32>, topics: Topics) -> Case {
    let mut next = 0;
    Case::new(name, move |repeats| {
        for _ in 0..repeats {
            let topic = topics.text(topics.ranges[next]);
            black_box(table.lookup(black_box(topic)).copied());
            next = (next + 1) % topics.len();
        }
        Ok(())
    })
}

fn parse(name: &'static str, topics: Topics) -> Case {
    let mut next = 0;
    Case::new(name, move |repeats| {
        for _ in 0..repeats {
            let topic = topics.text(topics.ranges[next]).as_bytes();
            black_box(Topic::parse(black_box(topic))?.as_str().as_ptr());
            next = (next + 1) % topics.len();
        }
        Ok(())
    })
}

/// Topics one behind the other in memory: reading them in order is as cheap as what a socket has
/// just delivered, whatever the table costs.
#[derive(Clone)]
struct Topics {
    text: String,
    ranges: Vec<(u32, u32)>,
}

impl Topics {
    /// `EXACT` topics in random order, the same one each time.
    fn new(topic: impl Fn(u32) -> String) -> Self {
        let mut order: Vec<u32> = (0..EXACT).collect();
        let mut state = 1u64;
        for at in (1..order.len()).rev() {
            // Knuth's MMIX generator; its high bits are random enough to shuffle.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let mut topics = Topics {
            text: String::new(),
            ranges: Vec::new(),
        };
        for n in order {
            let start = topics.text.len() as u32;
            topics.text += &topic(n);
            topics.ranges.push((start, topics.text.len() as u32));
        }
        topics
    }

    fn first(&self, count: usize) -> Self {
        Topics {
            text: self.text.clone(),
            ranges: self.ranges[..count].to_vec(),
        }
    }

    fn len(&self) -> usize {
        self.ranges.len()
    }

    #[inline(always)]
    fn text(&self, (start, end): (u32, u32)) -> &str {
        &self.text[start as usize..end as usize]
    }
}
