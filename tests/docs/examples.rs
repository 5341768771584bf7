//! The files of `examples/`: each is what a server takes, and says what it should.

use std::collections::BTreeSet;
use std::process::Command;

/// The configuration and the routes that belong together.
const PAIRS: [(&str, &str); 3] = [
    ("mcpd.yaml", "routes.yaml"),
    ("busy.yaml", "busy-routes.yaml"),
    ("handlers-mcpd.yaml", "handlers-routes.yaml"),
];
const TOKENS: &str = "tokens.yaml";
/// What the one with handlers of a document names.
const HANDLERS: &str = "handlers.yaml";

fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// How clients are known, and the files that it names.
const TRUST: &str = "trust.yaml";
const NAMED_BY_TRUST: [&str; 2] = ["principals.yaml", "jwks.json"];

/// What `mcpd check` says of them together with the tokens.
fn check(config: &str, routes: Option<&str>) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpd"));
    command
        .args(["check", "--json", "--verbose"])
        .args(["--config", &example(config)])
        .env("MCPD__ADMIN__TOKENS_FILE", example(TOKENS))
        // Files that it names are named from there.
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(routes) = routes {
        command.args(["--routes", &example(routes)]);
    }
    let run = command.output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(said["ok"], true, "{config}, {routes:?}: {said:#}");
    said
}

#[test]
fn every_example_is_taken_by_a_server() {
    for (config, routes) in PAIRS {
        check(config, Some(routes));
    }
    check(TRUST, None);
    let files = std::fs::read_dir(example("")).unwrap();
    // Programs have directories of their own, and are built with the tests.
    let files = files
        .map(Result::unwrap)
        .filter(|file| file.path().is_file());
    let files: BTreeSet<String> = files
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    let known = PAIRS.iter().flat_map(|(config, routes)| [*config, *routes]);
    let known = known.chain([TOKENS, HANDLERS, TRUST]).chain(NAMED_BY_TRUST);
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    assert_eq!(files, known, "an example that nobody looks at");
}

/// The page on routes sends readers there to see limits, so they must not be lost.
#[test]
fn the_busy_one_has_a_queue_of_its_own_and_no_warnings() {
    let said = check("busy.yaml", Some("busy-routes.yaml"));
    assert_eq!(
        said["warnings"].as_array().map(Vec::len),
        Some(0),
        "{said:#}"
    );
    let settings = said["settings"].as_array().unwrap();
    let value = |key: &str| {
        let setting = settings.iter().find(|setting| setting["key"] == key);
        setting.map(|setting| setting["value"].as_str().unwrap())
    };
    assert_eq!(value("handlers.press.concurrency"), Some("1"));
    assert_eq!(value("handlers.press.queue"), Some("2"));
}

/// The variables of the documents set something: with one underscore they would not.
#[test]
fn variables_are_spelt_with_both_underscores() {
    let mut wrong = Vec::new();
    for file in std::fs::read_dir("docs").unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let almost = words.filter(|word| {
            let path = word.strip_prefix("MCPD_");
            path.is_some_and(|path| !path.starts_with('_') && path.contains("__"))
        });
        // The one that docs/configuration.md shows as a mistake.
        let almost = almost.filter(|word| *word != "MCPD_DRAIN__DELAY");
        wrong.extend(almost.map(|word| format!("{}: {word}", file.display())));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// `make observe` runs it; that it is taken at all is seen sooner here.
#[test]
fn the_stack_of_the_dashboards_is_taken_by_a_server() {
    let stack = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/stack");
    for (config, routes) in [
        ("mcpd.yaml", "routes.yaml"),
        ("upstream.yaml", "upstream-routes.yaml"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcpd"));
        command.args(["check", "--config", config, "--routes", routes]);
        let run = command.current_dir(stack).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{config}, {routes}: {said}");
    }
}
