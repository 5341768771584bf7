//! Help, version, and arguments that are not right.

use crate::run::run;

const COMMANDS: &[&str] = &[
    "serve",
    "check",
    "send",
    "ping",
    "routes",
    "state",
    "drain",
    "connections",
    "handlers",
    "monitor",
    "log-filter",
    "sampling",
    "token",
    #[cfg(feature = "top")]
    "top",
    "completions",
];

#[test]
fn alone_it_shows_what_there_is() {
    let ran = run([] as [&str; 0]).expect(64);
    assert!(
        ran.stderr.contains("Usage: mcpd") && ran.stderr.contains("Exit codes:"),
        "{ran:?}"
    );
}

#[test]
fn help_and_version_are_answers() {
    for args in [&["--help"][..], &["help"], &["-h"]] {
        let ran = run(args).expect(0);
        for part in COMMANDS.iter().chain(&["Exit codes:", "Examples:"]) {
            assert!(ran.text().contains(part), "{part} in {args:?}");
        }
    }
    let version = run(["--version"]).expect(0);
    assert_eq!(
        version.text(),
        concat!("mcpd ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn every_option_says_its_default() {
    let nested = ["routes", "connections", "token"];
    let plain = COMMANDS.iter().filter(|command| !nested.contains(command));
    let subcommands = [
        "routes get",
        "routes apply",
        "routes set",
        "routes rm",
        "routes check",
        "routes diff",
        "connections",
        "connections close",
        "token new",
    ];
    for command in plain.chain(&subcommands) {
        let ran = run(command.split(' ').chain(["--help"])).expect(0);
        let text = ran.text();
        let (_, options) = text.split_once("\nOptions:\n").unwrap();
        let (options, examples) = options.split_once("\nExamples:\n").unwrap();
        assert!(examples.contains(&format!("mcpd {command}")), "{text}");
        // An option begins with its name; whatever follows until the next one belongs to it.
        let mut described: Vec<String> = Vec::new();
        for line in options.lines() {
            let indent = line.len() - line.trim_start().len();
            match indent < 8 && line.trim_start().starts_with('-') {
                true => described.push(line.to_owned()),
                false => described.last_mut().unwrap().push_str(line),
            }
        }
        for option in described
            .iter()
            .filter(|option| !option.contains("-h, --help"))
        {
            assert!(
                option.to_lowercase().contains("default"),
                "{command}: {option}"
            );
        }
        assert!(described.len() >= 2 || *command == "completions", "{text}");
    }
}

#[test]
fn wrong_usage_is_64_and_names_the_argument() {
    for (args, part) in [
        (&["sent"][..], "send"),
        (&["send"], "<TOPIC>"),
        (&["send", "a/#"], "belongs to patterns"),
        (&["send", "/a"], "first level"),
        (&["send", "a", "--priority", "8"], "0..=7"),
        (&["send", "a", "--qos", "3"], "0..=2"),
        (&["send", "a", "--timeout", "5"], "write 5s for seconds"),
        (&["send", "a", "--timeout", "0s"], "1ms to 49days"),
        (&["send", "a", "--timeout", "soon"], "units ms, s, m or h"),
        (&["send", "a", "--header", "k"], "KEY=VALUE"),
        (&["send", "a", "--header", "K=v"], "a-z 0-9"),
        (&["send", "a", "--content-type", "é"], "ASCII"),
        (&["send", "a", "--client-id", "a b"], "A-Z a-z 0-9"),
        (&["send", "a", "@"], "@@"),
        (&["ping", "--interval", "1ms"], "10ms"),
        (&["ping", "--count", "-1"], "'-1'"),
        (&["serve", "--port", "80"], "--port"),
        (&["routes", "get", "A"], "a-z 0-9"),
        (&["routes", "rm", ".."], "routes apply"),
        (&["routes", "rm"], "<NAME>"),
        (
            &["routes", "apply", "f", "--if-match", "7"],
            "7-0123456789abcdef",
        ),
        (
            &[
                "routes",
                "apply",
                "f",
                "--force",
                "--if-match",
                "7-0123456789abcdef",
            ],
            "--force",
        ),
        (
            &["routes", "set", "a", "-f", "x", "--topic", "t"],
            "--topic",
        ),
        (&["routes", "set", "a", "--rate-limit", "fast"], "1000/2000"),
        (
            &["routes", "set", "a", "--timeout", "5"],
            "write 5s for seconds",
        ),
        (&["connections", "--limit", "1001"], "1..=1000"),
        (&["connections", "close", "x"], "'x'"),
        (&["sampling", "--ratio", "2"], "0 to 1"),
        (&["sampling", "--route", "a"], "NAME=RATIO"),
        (&["state", "--admin-timeout", "5"], "write 5s for seconds"),
        (&["check", "file"], "file"),
    ] {
        let ran = run(args).expect(64);
        assert!(
            ran.stderr.contains(part),
            "{part:?} in {args:?}: {}",
            ran.stderr
        );
        assert!(ran.stdout.is_empty());
    }
}
