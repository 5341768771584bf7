//! `docs/metrics.md`, made from the catalogue; and the catalogue against the sources.

use super::*;
use std::collections::BTreeSet;

/// The tables of `docs/metrics.md`.
fn reference_markdown() -> String {
    let mut out = String::new();
    for group in METRICS {
        let _ = write!(
            out,
            "\n### {}\n\n| name | type | labels | from the start | meaning |\n|---|---|---|---|---|\n",
            group.title
        );
        for metric in group.metrics {
            let kind = match metric.unit() {
                "" => metric.kind.name().to_owned(),
                unit => format!("{}, {unit}", metric.kind.name()),
            };
            let labels: Vec<String> = metric.labels.iter().map(shown).collect();
            let _ = writeln!(
                out,
                "| `{}` | {kind} | {} | {} | {} |",
                metric.name,
                labels.join("<br>"),
                if metric.from_start { "yes" } else { "no" },
                metric.help,
            );
        }
    }
    out
}

fn shown((label, values): &(&str, Values)) -> String {
    match values {
        Values::Bounded(words) => format!("`{label}`: {words}"),
        Values::OneOf(values) => {
            let values: Vec<String> = values().iter().map(|value| format!("`{value}`")).collect();
            format!("`{label}`: {}", values.join(", "))
        }
    }
}

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry");

#[test]
fn metrics_md_is_up_to_date() {
    let (source, part) = ("src/telemetry/catalog.rs", reference_markdown());
    crate::generated::expect_part("metrics.md", source, "metrics_md", &part);
}

#[test]
fn names_are_unique_and_say_what_they_are() {
    let mut seen = BTreeSet::new();
    for metric in all() {
        assert!(seen.insert(metric.name), "{} twice", metric.name);
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        let counter = metric.kind == MetricKind::Counter;
        assert_eq!(metric.name.ends_with("_total"), counter, "{}", metric.name);
        if metric.kind == MetricKind::Histogram {
            assert_eq!(metric.unit(), "seconds", "{}", metric.name);
        }
    }
}

/// What happens too rarely to be seen on a page is seen here.
#[test]
fn every_name_in_these_sources_has_its_line() {
    let known: BTreeSet<_> = all().map(|metric| metric.name).collect();
    let mut used = BTreeSet::new();
    let mut paths = vec![std::path::PathBuf::from(SOURCES)];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // The table itself, and what only reads the page.
        let nobody_counts = [
            "catalog.rs",
            "catalog/kubernetes.rs",
            "catalog/tests.rs",
            "watched.rs",
        ];
        if nobody_counts.iter().any(|part| path.ends_with(part)) {
            continue;
        }
        for part in text.split('"').filter(|part| part.starts_with("mcpd_")) {
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            if part.chars().all(word) {
                assert!(known.contains(part), "{path:?}: {part} has no line here");
                used.insert(part.to_owned());
            }
        }
    }
    let ours = known.iter().filter(|name| name.starts_with("mcpd_"));
    let unused: Vec<_> = ours.filter(|name| !used.contains(**name)).collect();
    assert!(unused.is_empty(), "nobody counts {unused:?}");
}
