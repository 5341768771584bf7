//! Keeps the directions of dependency by reading the sources.
//!
//! The compiler lets any module import any other. These rules are what makes a part testable
//! alone and a change stay where it is made, so they are checked like a type.

mod lexer;
mod rules;
mod source;
mod tests_of_the_test;

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use rules::{MANIFEST_RULES, MAX_LINES, RULES};
use source::Source;

/// Every tracked place for Rust code; those that do not exist are skipped.
const ROOTS: &[&str] = &["src", "crates", "tests", "benches", "fuzz/fuzz_targets"];

#[test]
fn dependencies_point_the_right_way() -> io::Result<()> {
    let mut wrong = arrows(&repository()?);
    for rule in MANIFEST_RULES {
        let text = fs::read_to_string(root().join(rule.manifest)).unwrap_or_default();
        wrong.extend(rule.violations(&text));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    Ok(())
}

#[test]
fn files_stay_small_enough_to_read() -> io::Result<()> {
    let wrong = too_long(&repository()?);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_file_is_part_of_a_crate() -> io::Result<()> {
    let wrong = orphans(&repository()?);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn repository() -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for dir in ROOTS {
        read_below(&root().join(dir), &mut sources)?;
    }
    // Sources that are not found would pass every rule.
    let empty = || io::Error::other(format!("no sources in {}", root().display()));
    (!sources.is_empty()).then_some(sources).ok_or_else(empty)
}

fn read_below(dir: &Path, sources: &mut Vec<Source>) -> io::Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            read_below(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root()).unwrap_or(&path);
            let file = file.to_string_lossy().replace('\\', "/");
            let context = |error| io::Error::other(format!("{file}: {error}"));
            let text = fs::read_to_string(&path).map_err(context)?;
            sources.push(Source::parse(&file, &text));
        }
    }
    Ok(())
}

/// Test code may do what it likes.
fn arrows(sources: &[Source]) -> Vec<String> {
    let test_only: BTreeSet<String> = sources.iter().flat_map(test_module_files).collect();
    sources
        .iter()
        .filter(|source| !source.is_test() && !test_only.contains(&source.file))
        .flat_map(|source| RULES.iter().flat_map(|rule| rule.violations(source)))
        .collect()
}

fn too_long(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.lines > MAX_LINES);
    long.map(|Source { file, lines, .. }| {
        format!("{file} has {lines} lines; split it by idea, the limit is {MAX_LINES}")
    })
    .collect()
}

/// What binaries include by `#[path]`, which is not followed here.
const INCLUDED_BY_PATH: [&str; 2] = [
    "tests/support/mod.rs",
    "crates/mcpd-client/tests/support/laps.rs",
];

/// A file that no `mod` names is never compiled: its rules and its tests hold for nobody.
fn orphans(sources: &[Source]) -> Vec<String> {
    let declared: BTreeSet<String> = sources.iter().flat_map(module_files).collect();
    sources
        .iter()
        .filter(|source| !is_crate_root(&source.file) && !declared.contains(&source.file))
        .filter(|source| !INCLUDED_BY_PATH.contains(&source.file.as_str()))
        .map(|Source { file, .. }| format!("{file} is compiled by nobody: no `mod` names it"))
        .collect()
}

/// What cargo finds without a `mod`: `main.rs`, `lib.rs`, `build.rs`, and the files that stand
/// directly in `bin`, `tests`, `benches`, `examples` and `fuzz_targets`.
fn is_crate_root(file: &str) -> bool {
    let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
    let place = dir.rsplit('/').next().unwrap_or(dir);
    let by_name = matches!(name, "main.rs" | "lib.rs" | "build.rs");
    // `src/conn/tests/` is a module like any other.
    let is_module = dir.contains("src/") && place != "bin";
    let places = ["bin", "tests", "benches", "examples", "fuzz_targets"];
    by_name || (places.contains(&place) && !is_module)
}

fn module_files(source: &Source) -> Vec<String> {
    let mut files = candidates(source, &source.modules);
    files.extend(test_module_files(source));
    files
}

fn test_module_files(source: &Source) -> Vec<String> {
    candidates(source, &source.test_modules)
}

fn candidates(source: &Source, modules: &[String]) -> Vec<String> {
    // A file directly in `tests` is a crate root, and looks for modules beside itself.
    let beside = is_crate_root(&source.file).then(|| source.file.rsplit_once('/'));
    let dir = match beside.flatten() {
        Some((dir, _)) => dir.to_owned(),
        None => source.children_dir(),
    };
    let of = |name: &String| [format!("{dir}/{name}.rs"), format!("{dir}/{name}/mod.rs")];
    modules.iter().flat_map(of).collect()
}
