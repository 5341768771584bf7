//! What a user sees of configuration as a whole.

mod auth;
mod handlers;
mod keys;
mod sources;
mod tls;
mod values;

use super::*;

/// Loads `text` as a file of this name, with these variables and flags.
fn load_all(
    (name, text): (&str, &str),
    env: &[(&str, &str)],
    flags: &[(&str, &str, &str)],
) -> Result<Config, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    let result = load(LoadOptions {
        file: Some(path),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags
            .iter()
            .map(|(key, value, name)| Flag::new(*key, *value, *name))
            .collect(),
    });
    // The temporary directory's name would make the messages unpredictable.
    let prefix = format!("{}/", dir.path().display());
    result.map_err(|mut errors| {
        for problem in &mut errors.problems {
            problem.origin = problem.origin.replace(&prefix, "");
            problem.message = problem.message.replace(&prefix, "");
        }
        errors
    })
}

fn yaml(text: &str) -> Result<Config, ConfigErrors> {
    load_all(("mcpd.yaml", text), &[], &[])
}

fn lines(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result
        .unwrap_err()
        .to_string()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn env(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_all(("mcpd.yaml", ""), pairs, &[])
}
