//! Files, variables and flags: which wins, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::{env, lines, load_all, yaml};
use crate::config::*;

#[test]
fn later_sources_win_and_every_value_knows_its_origin() {
    let text = "drain:\n  delay: 1s\n  spread: 2s\n  finish: 3s\n";
    let env = [
        ("MCPD__DRAIN__SPREAD", "20s"),
        ("MCPD__DRAIN__FINISH", "30s"),
        ("HOSTNAME", "pod-7"),
    ];
    let flags = [("drain.finish", "300s", "--finish")];
    let config = load_all(("mcpd.yaml", text), &env, &flags).unwrap();
    let seconds = |span: Duration| span.as_secs();
    assert_eq!(seconds(config.drain.delay), 1);
    assert_eq!(seconds(config.drain.spread), 20);
    assert_eq!(seconds(config.drain.finish), 300);
    assert_eq!(seconds(config.drain.flush), 5);
    assert_eq!(config.server_id, "pod-7");
    let origin = |key: &str| {
        let all = config.effective();
        let setting = all.iter().find(|setting| setting.key == key).unwrap();
        setting.origin.rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(origin("drain.delay"), "mcpd.yaml line 2");
    assert_eq!(origin("drain.spread"), "environment MCPD__DRAIN__SPREAD");
    assert_eq!(origin("drain.finish"), "flag --finish");
    assert_eq!(origin("drain.flush"), "default");
    assert_eq!(origin("server_id"), "environment HOSTNAME");
}

#[test]
fn a_file_that_says_nothing_is_no_mistake() {
    for text in ["", "---\n", "# all of it\n---\n# commented out\n...\n"] {
        let config = load_all(("mcpd.yaml", text), &[], &[]).unwrap();
        assert_eq!(config.drain, Config::default().drain);
    }
}

#[test]
fn every_problem_of_every_source_is_listed_at_once() {
    let text = "darin:\n  delay: 1s\nlimits:\n  max_payload: 12KiB\n  max_paylod: 1MiB\n  \
                require_hello: 3\nheartbeat:\n  interval: 200s\n";
    let env = [
        ("MCPD__DRAIN__DELAY", "10"),
        ("MCPD__NOPE", "1"),
        ("MCPD_PORT", "tcp://10.0.0.1:80"),
        ("MCPD_AUTH__PRINCIPALS", "principals.yaml"),
    ];
    let flags = [("data.listen", ":8080", "--listen")];
    assert_eq!(
        lines(load_all(("mcpd.yaml", text), &env, &flags)),
        [
            "darin (file mcpd.yaml line 1): is an unknown key; did you mean `drain`?",
            "limits.max_paylod (file mcpd.yaml line 5): is an unknown key; did you mean \
             `limits.max_payload`?",
            "environment MCPD_AUTH__PRINCIPALS: sets nothing; for auth.principals write \
             MCPD__AUTH__PRINCIPALS",
            "nope (environment MCPD__NOPE): is an unknown key; remove it, or see \
             docs/configuration.md for the keys",
            "data.listen = \":8080\" (flag --listen): has no address; write 0.0.0.0:8080 or \
             [::]:8080 for all of them",
            "limits.max_payload = \"12KiB\" (file mcpd.yaml line 4): is below the least allowed; \
             write 1MiB to 64MiB",
            "limits.require_hello = 3 (file mcpd.yaml line 6): is a number; write `true` or \
             `false`",
            "drain.delay = \"10\" (environment MCPD__DRAIN__DELAY): has no unit; write 10s for \
             seconds or 10ms for milliseconds",
            "heartbeat.max_interval = \"120s\" (default): is less than heartbeat.interval = \
             3m20s (file mcpd.yaml line 8); raise this or lower that",
        ]
    );
}

#[test]
fn toml_says_the_same_as_yaml() {
    let text = "server_id = \"a\"\n[drain]\ndelay = \"1s\"\n[handlers.\"a.b\"]\ntype = \"echo\"\n";
    let config = load_all(("mcpd.toml", text), &[], &[]).unwrap();
    let same = yaml("server_id: a\ndrain: {delay: 1s}\nhandlers: {a.b: {type: echo}}").unwrap();
    assert_eq!(config, same);
    assert_eq!(config.handlers["a.b"], HandlerConfig::Echo);
}

#[test]
fn an_unreadable_file_is_one_line_and_the_rest_is_still_checked() {
    let cases = [
        ("mcpd.yaml", "a: [", "is not valid YAML"),
        ("mcpd.yaml", "a: 1\na: 2\n", "is not valid YAML"),
        ("mcpd.yaml", "- a\n- b\n", "is not valid YAML"),
        (
            "mcpd.toml",
            "a = = 1",
            "is not valid TOML: TOML parse error at line 1",
        ),
        (
            "mcpd.json",
            "{}",
            "has an unknown extension; name it .yaml, .yml or .toml",
        ),
        ("mcpd", "", "has an unknown extension"),
    ];
    for (name, text, message) in cases {
        let lines = lines(load_all((name, text), &[("MCPD__X", "")], &[]));
        assert_eq!(lines.len(), 2, "{lines:?}");
        let start = format!("file {name}: {message}");
        assert!(lines[0].starts_with(&start), "{}", lines[0]);
        assert!(lines[1].starts_with("x (environment MCPD__X): "));
    }
    let toml = lines(load_all(("mcpd.toml", "a = = 1"), &[], &[]));
    assert!(!toml[0].contains(['|', '^']), "no drawing: {}", toml[0]);
    let missing = LoadOptions {
        file: Some(PathBuf::from("no-such-file.yaml")),
        ..LoadOptions::default()
    };
    let text = load(missing).unwrap_err().to_string();
    assert!(
        text.starts_with("file no-such-file.yaml: cannot be read: "),
        "{text}"
    );
    let huge = "# ".to_owned() + &"x".repeat(1 << 20);
    assert!(lines(yaml(&huge))[0].contains("larger than 1MiB"));
}

#[test]
fn a_mistake_in_the_file_is_not_hidden_by_the_environment() {
    let text = "data: 5\ndrain: {dely: 1s}\n";
    let env = [
        ("MCPD__DATA__LISTEN", "127.0.0.1:1"),
        ("MCPD__DRAIN__DELAY", "1s"),
    ];
    let lines = lines(load_all(("mcpd.yaml", text), &env, &[]));
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn odd_variable_names_are_problems_not_panics() {
    for name in [
        "MCPD__",
        "MCPD____",
        "MCPD__DATA__",
        "MCPD__DATA__LISTEN__X",
        "MCPD__A[0]",
        "MCPD__HANDLERS",
        "MCPD__HANDLERS__X",
        "MCPD__HANDLERS__X__TYPE__Y",
    ] {
        let errors = env(&[(name, "v")]).unwrap_err();
        assert_eq!(errors.problems.len(), 1, "{name}: {errors}");
        assert!(
            errors.to_string().contains(&format!("environment {name}")),
            "{errors}"
        );
    }
}

#[test]
fn only_our_variables_are_taken_from_the_process() {
    let options = LoadOptions::from_process(None, Vec::new());
    assert!(std::env::var_os("PATH").is_some());
    assert!(
        options
            .env
            .keys()
            .all(|name| name.starts_with("MCPD__") || name == "HOSTNAME")
    );
}

/// Text that is likely to upset parsers of numbers, units and addresses.
fn nasty() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9.eE+-]{0,40}[a-zA-Zµ ]{0,8}",
        "[\\[\\]0-9a-f:.%]{0,40}",
        "[a-z0-9:=,\\[\\]{}/\"]{0,40}",
    ]
}

proptest! {
    #[test]
    fn any_value_is_accepted_or_refused_on_one_line(index in 0..KEYS.len(), value in nasty()) {
        let key = KEYS[index].key.replace("<name>", "h");
        let flags = vec![Flag::new(key, value, "--x")];
        if let Err(errors) = load(LoadOptions { flags, ..LoadOptions::default() }) {
            let text = errors.to_string();
            prop_assert_eq!(text.lines().count(), errors.problems.len());
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
        }
    }

    #[test]
    fn any_variable_name_is_accepted_or_refused(name in "[A-Z_a-zé.\\[\\]\\-\n]{0,20}") {
        let env = [(format!("MCPD__{name}"), "1".to_owned())].into();
        if let Err(errors) = load(LoadOptions { env, ..LoadOptions::default() }) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.problems.len());
        }
    }

    #[test]
    fn any_yaml_file_is_accepted_or_refused(text in "[a-z:{}\\[\\],&*?!|>'\"# \n-]{0,60}") {
        if let Err(errors) = yaml(&text) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.problems.len());
        }
    }
}
