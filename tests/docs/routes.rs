//! The documents that `docs/routes.md` shows are what a server takes, without a word of warning.

use std::process::Command;

const PAGE: &str = include_str!("../../docs/routes.md");

/// Every handler that the page's routes name.
const HANDLERS: [&str; 6] = ["slow", "stable", "canary", "shadow", "beta", "edge"];

/// The blocks of YAML that are whole documents.
fn documents() -> Vec<&'static str> {
    let blocks = PAGE.split("```yaml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks
        .filter(|block| block.starts_with("apiVersion:"))
        .collect()
}

#[test]
fn every_document_of_the_page_is_taken_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let documents = documents();
    assert_eq!(documents.len(), 6, "a document that nobody looks at");
    for (n, text) in documents.into_iter().enumerate() {
        let path = dir.path().join(format!("{n}.yaml"));
        std::fs::write(&path, text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_mcpd"));
        check.args(["check", "--json", "--routes"]).arg(&path);
        for handler in HANDLERS {
            let key = format!("MCPD__HANDLERS__{}__TYPE", handler.to_uppercase());
            check.env(key, "echo");
        }
        check.env("MCPD__ROUTES__ALLOW_FAULTS", "true");
        // Of timeouts, it has something to say otherwise.
        check.env("MCPD__DRAIN__FINISH", "60s");
        let run = check.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(said["ok"], true, "{text}\n{said:#}");
        let warnings = said["warnings"].as_array().map(Vec::len);
        assert_eq!(warnings, Some(0), "{text}\n{said:#}");
    }
}

/// The codes that the page's table names are those that a fault may have.
#[test]
fn every_code_of_a_fault_is_explained() {
    let (_, faults) = PAGE.split_once("\n### Faults\n").unwrap();
    let faults = faults.split("\n### ").next().unwrap();
    let rows = faults.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows = rows.take_while(|line| line.starts_with("| "));
    let codes: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(str::trim)
        .collect();
    let known = mcpd::router::document::FAULT_CODES.map(|code| code.name().unwrap());
    assert_eq!(codes, known);
}
