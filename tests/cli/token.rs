//! `mcpd token` and `mcpd completions`.

use crate::run::run;
use crate::support::scratch;
use std::process::Command;

#[test]
fn a_token_is_shown_once_and_its_hash_is_the_entry() {
    let new = ["token", "new", "--name", "ci", "--scopes", "read,routes"];
    let ran = run(new).expect(0);
    let token = ran.text().trim_end();
    assert_eq!(
        (token.len(), ran.text().lines().count()),
        (43, 1),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains(token), "{ran:?}");
    let json = run(new.into_iter().chain(["--json"])).expect(0).json();
    let other = json["token"].as_str().unwrap();
    assert_ne!(other, token);
    assert_eq!(json["entry"]["name"], "ci");
    assert_eq!(
        json["entry"]["scopes"],
        serde_json::json!(["read", "routes"])
    );
    let dir = scratch();
    let file = dir.path().join("token");
    for (token, said) in [
        (token, ran.stderr.clone()),
        (other, json["entry"]["sha256"].to_string()),
    ] {
        std::fs::write(&file, token).unwrap();
        let sum = Command::new("sha256sum").arg(&file).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert!(
            said.contains(&format!("\"{}\"", &sum[..64])),
            "{said}: {sum}"
        );
    }
}

/// Its entry fits into a principal as it is printed.
#[test]
fn without_scopes_it_is_a_clients_token() {
    let new = ["token", "new", "--name", "till-7"];
    let ran = run(new).expect(0);
    let (_, entry) = ran.stderr.split_once("gets:\n").unwrap();
    assert!(ran.stderr.contains("auth.principals"), "{ran:?}");
    let principal = format!(
        "apiVersion: mcpd/v1\nkind: Principals\nprincipals:\n- name: tills\n  {}",
        entry.replace('\n', "\n  ")
    );
    mcpd::auth::Policy::parse(principal.as_bytes()).unwrap();
    let json = run(new.into_iter().chain(["--json"])).expect(0).json();
    assert_eq!(json["entry"].as_object().unwrap().len(), 2, "{json}");
}

#[test]
fn a_token_for_nobody_or_nothing_is_64() {
    for args in [
        &["token", "new"][..],
        &["token", "new", "--scopes", "read"],
        &["token", "new", "--name", "a b", "--scopes", "read"],
        &["token", "new", "--name", "ci", "--scopes", "reed"],
        &["token", "new", "--name", "ci", "--scopes", ""],
    ] {
        let ran = run(args).expect(64);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

/// What bash offers after these words, the last of which is begun.
fn complete(words: &[&str]) -> Vec<String> {
    let dir = scratch();
    let script = dir.path().join("mcpd.bash");
    std::fs::write(&script, run(["completions", "bash"]).expect(0).stdout).unwrap();
    let last = words.len() - 1;
    // As bash calls it: the function is given the command, the word and the one before it.
    let ask = format!(
        "set -eu; source {script:?}; COMP_WORDS=({words}); COMP_CWORD={last}; \
         _mcpd mcpd {word:?} {before:?} || true; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words = words.join(" "),
        word = words[last],
        before = words[last - 1],
    );
    let ran = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .output()
        .unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && stderr.is_empty(), "{stderr}");
    let offered = String::from_utf8(ran.stdout).unwrap();
    offered.lines().map(str::to_owned).collect()
}

#[test]
fn a_real_bash_completes_commands_and_options() {
    assert_eq!(complete(&["mcpd", "rou"]), ["routes"]);
    let routes = complete(&["mcpd", "routes", "\"\""]);
    for command in ["get", "apply", "set", "rm", "check", "diff"] {
        assert!(routes.iter().any(|offer| offer == command), "{routes:?}");
    }
    assert_eq!(
        complete(&["mcpd", "routes", "apply", "--dry"]),
        ["--dry-run"]
    );
    assert_eq!(
        complete(&["mcpd", "send", "--trac"]),
        ["--trace", "--traceparent"]
    );
}

#[test]
fn every_shell_gets_a_script_and_none_holds_a_secret() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(["completions", shell]).expect(0);
        assert!(ran.text().contains("log-filter"), "{shell}");
        // Those that are here say whether they can read it.
        let check = match shell {
            "zsh" | "fish" => ["-n", "/dev/stdin"],
            _ => continue,
        };
        let child = Command::new(shell)
            .args(check)
            .stdin(std::process::Stdio::piped())
            .spawn();
        if let Ok(mut child) = child {
            use std::io::Write;
            child.stdin.take().unwrap().write_all(&ran.stdout).unwrap();
            assert!(child.wait().unwrap().success(), "{shell}");
        }
    }
    run(["completions", "tcsh"]).expect(64);
}
