//! The reference part of `docs/configuration.md`, generated from the table. A test writes it or finds
//! it out of date; the program has no use for it.

use std::fmt::Write;

use super::keys::{self, KeyDoc, Kind};
use super::value::{show_duration, show_size, wants};

/// The reference of all keys as Markdown: one table per section.
fn reference_markdown() -> String {
    let mut out = String::new();
    let mut section = None;
    for doc in keys::KEYS {
        let (parent, field) = doc.key.rsplit_once('.').unwrap_or(("", doc.key));
        if section != Some(parent) {
            section = Some(parent);
            let title = match parent {
                "" => "Top level".to_owned(),
                parent => format!("`{parent}`"),
            };
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "\n### {title}\n\n| key | default | value | reload | meaning |\n|---|---|---|---|---|\n"
            );
        }
        let _ = writeln!(
            out,
            "| `{field}` | {} | {} | {} | {} |",
            doc.default
                .map_or("unset".to_owned(), |text| format!("`{text}`")),
            limits(doc.kind),
            if doc.reload { "yes" } else { "restart" },
            meaning(doc),
        );
    }
    out
}

fn meaning(doc: &KeyDoc) -> String {
    match doc.handler {
        Some(handler) => format!("(`{handler}`) {}", doc.help),
        None => doc.help.to_owned(),
    }
}

fn limits(kind: Kind) -> String {
    let range = match kind {
        Kind::Text { max, .. } => format!(", 1 to {max} bytes"),
        Kind::Body { max } => format!(", up to {}", show_size(max as u64)),
        Kind::Count { min, max } => format!(", {min} to {max}"),
        Kind::Factor { min, max } => {
            format!(", {} to {}", min as f64 / 100.0, max as f64 / 100.0)
        }
        Kind::Size { min, max } => format!(", {} to {}", show_size(min), show_size(max)),
        Kind::Duration { min, max, off } => format!(
            ", {} to {}{}",
            show_duration(min),
            show_duration(max),
            if off { ", or `0s`" } else { "" }
        ),
        _ => String::new(),
    };
    let what = match kind {
        Kind::Size { .. } => "size".to_owned(),
        Kind::Duration { .. } => "duration".to_owned(),
        Kind::Count { .. } | Kind::Factor { .. } => "number".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Filter => "log filter".to_owned(),
        Kind::Url { max } => format!("URL of http or https, up to {max} bytes"),
        kind => wants(kind),
    };
    format!("{what}{range}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, load};
    use crate::generated;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

    #[test]
    fn configuration_md_is_up_to_date() {
        let test = "configuration_md";
        let part = reference_markdown();
        generated::expect_part("configuration.md", "the table of keys", test, &part);
    }

    #[test]
    fn the_examples_in_the_documentation_load() {
        let text = std::fs::read_to_string(PATH).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut seen = 0;
        for format in ["yaml", "toml"] {
            for block in text.split(&format!("```{format}\n")).skip(1) {
                let example = block.split("```").next().unwrap();
                let path = dir.path().join(format!("example{seen}.{format}"));
                std::fs::write(&path, example).unwrap();
                let file = Some(path);
                let options = LoadOptions {
                    file,
                    ..LoadOptions::default()
                };
                load(options).unwrap_or_else(|errors| panic!("{errors}\nin:\n{example}"));
                seen += 1;
            }
        }
        assert!(seen >= 2, "the documentation has an example of each format");
    }

    #[test]
    fn a_cell_of_the_table_stays_a_cell() {
        for line in reference_markdown().lines().filter(|l| l.starts_with("| ")) {
            assert_eq!(line.matches('|').count(), 6, "{line}");
        }
    }
}
