//! `mcpd send` where it works.

use crate::run::{at, mcpd, run, run_with, server_of_all_kinds};
use crate::support::{Server, scratch};
use std::os::unix::ffi::OsStrExt;

#[test]
fn bodies_come_from_the_command_line_standard_input_or_a_file() {
    let server = Server::start();
    let to = server.data.to_string();
    let dir = scratch();
    let file = dir.path().join("body");
    std::fs::write(&file, b"from\xffa file\n").unwrap();
    let file = format!("@{}", file.display());
    let send = |body: &str| {
        run(["send", "--to", &to, "echo", "--", body])
            .expect(0)
            .stdout
    };
    assert_eq!(send("hello"), b"hello");
    assert_eq!(send("--dashes"), b"--dashes");
    assert_eq!(send("@@ada"), b"@ada");
    assert_eq!(send(&file), b"from\xffa file\n");
    assert_eq!(run(at(&server, &["send", "echo"])).expect(0).stdout, b"");
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let ran = run_with(&bytes, &["send", "--to", &to, "echo", "-"]).expect(0);
    assert!(ran.stdout == bytes && ran.stderr.is_empty());
}

#[test]
fn the_address_comes_from_the_flag_before_the_environment() {
    let server = Server::start();
    let url = format!("mcp://{}", server.data);
    let run = |env: &str, args: &[&str]| {
        let output = mcpd(args).env("MCPD_TO", env).output().unwrap();
        (output.status.code(), output.stdout)
    };
    assert_eq!(run(&url, &["send", "echo", "a"]), (Some(0), b"a".to_vec()));
    let flag = ["send", "echo", "b", "--to", &url];
    assert_eq!(run("127.0.0.1:1", &flag), (Some(0), b"b".to_vec()));
    assert_eq!(run("127.0.0.1:1", &["send", "echo"]).0, Some(69));
}

#[test]
fn into_a_pipe_a_body_goes_as_it_is() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    let send = |topic| run(at(&server, &["send", topic])).expect(0).stdout;
    assert_eq!(send("json"), br#"{"b":1,"a":[]}"#);
    assert_eq!(send("bytes"), b"\x00\xff\n");
}

#[test]
fn json_tells_all_of_an_answer_under_keys_that_stay() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    let answer = run(at(&server, &["send", "json", "--json"]))
        .expect(0)
        .json();
    let mut keys: Vec<&str> = answer
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    let expected = [
        "body",
        "body_base64",
        "class",
        "code",
        "content_type",
        "elapsed_ms",
        "exit_code",
        "granted_qos",
        "headers",
        "kind",
        "ok",
        "permanent",
        "retry_after_ms",
        "route_revision",
        "sampled",
        "server",
        "server_id",
        "span_id",
        "status",
        "text",
        "topic",
        "trace_id",
    ];
    assert_eq!(keys, expected);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md"));
    let page = page.unwrap();
    for key in keys {
        assert!(
            page.contains(&format!("`{key}`")),
            "{key} is not documented"
        );
    }
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["topic"], "json");
    assert_eq!(answer["class"], "executed");
    assert_eq!(answer["server_id"], "test-server");
    assert_eq!(answer["server"], server.data.to_string());
    assert_eq!(answer["content_type"], "application/json");
    assert_eq!(answer["body"], r#"{"b":1,"a":[]}"#);
    assert!(answer["code"].is_null() && answer["elapsed_ms"].as_f64() > Some(0.0));

    let answer = run(at(&server, &["send", "bytes", "--json"]))
        .expect(0)
        .json();
    assert!(answer["body"].is_null());
    assert_eq!(answer["body_base64"], "AP8K");
}

#[test]
fn an_argument_that_is_not_text_is_refused_and_no_panic() {
    let topic = std::ffi::OsStr::from_bytes(b"\xff");
    let ran = run([std::ffi::OsStr::new("send"), topic]).expect(64);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}
