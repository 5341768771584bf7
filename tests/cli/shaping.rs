//! `mcpd routes set` for routes that lead to more than one handler.

use crate::routes::Bench;

/// Flags for what a canary release needs; the rest is in files.
#[test]
fn traffic_is_shaped_by_flags() {
    let bench = Bench::new();
    let set = |more: &[&str]| bench.run(&[&["routes", "set", "orders"], more].concat());
    let ran = set(&["--split", "echo=90,discard=10"]).expect(0);
    assert!(
        ran.text().starts_with(
            "~ orders  handler: echo → none, split: none → \
             [{handler: echo, weight: 90}, {handler: discard, weight: 10}]\n"
        ),
        "{ran:?}"
    );
    set(&[
        "--sticky",
        "header:session",
        "--mirror",
        "monitor=10",
        "--rewrite",
        "v2/{#}",
    ])
    .expect(0);
    let shaped = "name: orders\ntopic: \"orders/#\"\nsplit:\n  - {handler: echo, weight: 90}\n  \
                  - {handler: discard, weight: 10}\nsticky: {header: session}\n\
                  rewrite: \"v2/{#}\"\nmirror: {handler: monitor, percent: 10}\ntimeout: \"5s\"\n\
                  rate_limit: {per_second: 10, burst: 10}\n";
    let one = bench.run(&["routes", "get", "orders"]).expect(0);
    assert_eq!(one.text(), shaped);
    // What is shown is what a file may say, and what a document is held against.
    let file = bench.document(shaped);
    let ran = set(&["-f", &file]).expect(0);
    assert!(ran.text().starts_with("nothing to change"), "{ran:?}");
    let all = bench.run(&["routes", "get"]).expect(0);
    assert!(
        all.text()
            .contains("requires: [\"split\", \"mirror\", \"rewrite\"]\n"),
        "{all:?}"
    );
    let file = bench.document(&all.text().replace("weight: 90", "weight: 0"));
    let ran = bench.run(&["routes", "diff", &file]).expect(0);
    assert!(ran.text().contains("weight: 0}"), "{ran:?}");
    bench.run(&["routes", "check", &file]).expect(0);
    bench.run(&["routes", "apply", &file]).expect(0);

    let ran = set(&[
        "--sticky",
        "none",
        "--mirror",
        "none",
        "--rewrite",
        "none",
        "--handler",
        "echo",
    ]);
    assert!(ran.expect(0).text().contains("handler: none → echo"));
    let one = bench.run(&["routes", "get", "orders"]).expect(0);
    let plain = "name: orders\ntopic: \"orders/#\"\nhandler: echo\ntimeout: \"5s\"\n\
                 rate_limit: {per_second: 10, burst: 10}\n";
    assert_eq!(one.text(), plain);

    for (wrong, why) in [
        (["--split", "echo"], "write handlers and weights"),
        (
            ["--sticky", "header"],
            "write client_id, header:KEY or none",
        ),
        (["--mirror", "echo"], "write a handler and a percentage"),
    ] {
        let ran = set(&wrong).expect(64);
        assert!(ran.stderr.contains(why), "{ran:?}");
    }
    set(&["--split", "echo=1", "--handler", "echo"]).expect(64);
    let ran = set(&["--split", "echo=1,ecco=1"]).expect(65);
    assert!(
        ran.stderr
            .contains("error: split[1].handler: there is no handler"),
        "{ran:?}"
    );
    let ran = set(&["--split", "echo=0"]).expect(65);
    assert!(ran.stderr.contains("has only weights of 0"), "{ran:?}");
}

#[test]
fn matches_and_faults_are_given_as_a_document_has_them() {
    let bench = Bench::new();
    let set = |more: &[&str]| bench.run(&[&["routes", "set", "orders"], more].concat());
    let matches = "[{header: {tenant: acme, plan: 'pro-*'}, handler: discard}, {client_id: 7, handler: echo}]";
    let refused = set(&["--match", matches]).expect(65);
    assert!(
        refused.stderr.contains("match[1].client_id: "),
        "{refused:?}"
    );
    let ran = set(&["--match", &matches.replace("7", "'7'")]).expect(0);
    assert!(ran.text().starts_with("~ orders  match: "), "{ran:?}");
    let one = bench.run(&["routes", "get", "orders"]).expect(0);
    assert!(
        one.text().contains(
            "match:\n  - {handler: discard, header: {plan: \"pro-*\", tenant: acme}}\n  \
             - {client_id: \"7\", handler: echo}\n"
        ),
        "{one:?}"
    );

    // A server that does real work has no faults; that it was asked for one is the server's word.
    let refused = set(&["--fault", "{percent: 5, error: OVERLOADED}"]).expect(65);
    assert!(
        refused.stderr.contains("routes.allow_faults"),
        "{refused:?}"
    );
    let ran = set(&["--match", "none", "--fault", "none"]).expect(0);
    assert!(ran.text().contains("→ none"), "{ran:?}");
    let one = bench.run(&["routes", "get", "orders"]).expect(0);
    assert!(!one.text().contains("match"), "{one:?}");

    for wrong in [["--match", "[{"], ["--fault", "&a b"], ["--match", ""]] {
        let ran = set(&wrong).expect(64);
        assert!(ran.stderr.contains(wrong[0]), "{ran:?}");
    }
    set(&["--match", "none", "-f", "-"]).expect(64);
}
