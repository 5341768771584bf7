//! Runs what `docs/operations.md` shows: each `$ command` of its console blocks, one after the other,
//! against real servers. Numbers, hashes, times and the width of columns may differ from the page; `…`
//! stands for anything. `UPDATE_DOCS=1` writes what was seen into the page, but for what `…` covers.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
const OPEN: &str = "```console\n";
/// Nothing on the page takes this long, in seconds.
const PATIENCE: &str = "60";

/// A shell of which only the files, the last exit code and the servers outlive a command.
struct Shell {
    dir: tempfile::TempDir,
    servers: Vec<Child>,
    data: String,
    sidecar: String,
    last: i32,
}

impl Shell {
    fn new() -> Shell {
        let dir = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .args(["-r", EXAMPLES])
            .arg(dir.path())
            .status();
        assert!(copied.unwrap().success());
        Shell {
            dir,
            servers: Vec::new(),
            data: "127.0.0.1:8080".to_owned(),
            sidecar: "127.0.0.1:8081".to_owned(),
            last: 0,
        }
    }

    /// What the command prints, both outputs in their order.
    fn run(&mut self, command: &str) -> String {
        match command.strip_suffix('&') {
            Some(server) => self.start(server),
            None => self.finish(command),
        }
    }

    fn command(&self, script: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_mcpd")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("timeout");
        command
            .args([PATIENCE, "bash", "-c", script])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", program.display()))
            .env("MCPD_TO", &self.data)
            .env("MCPD_ADMIN", format!("http://{}", self.sidecar))
            .env("HOSTNAME", "")
            .stdin(Stdio::null());
        command
    }

    fn finish(&mut self, command: &str) -> String {
        let command = command.replace("127.0.0.1:8081", &self.sidecar);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut run = self.command(&format!("(exit {}); {command}", self.last));
        run.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = run.spawn().unwrap();
        // The parent's ends of the pipe, or reading would never end.
        drop(run);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        self.last = child.wait().unwrap().code().unwrap_or(-1);
        assert_ne!(self.last, 124, "no end: {command}\n{said}");
        said.replace(&self.data, "127.0.0.1:8080")
            .replace(&self.sidecar, "127.0.0.1:8081")
    }

    /// A server on free ports; gives the lines that say where it listens.
    fn start(&mut self, command: &str) -> String {
        let mut run = self.command(&command.replacen("mcpd serve", "exec mcpd serve", 1));
        run.env("MCPD__DATA__LISTEN", "127.0.0.1:0")
            .env("MCPD__SIDECAR__LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped());
        let mut child = run.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |of: &str| {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("it ends: {command}"))
                .unwrap();
            line.strip_prefix(of)
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        };
        self.sidecar = address("sidecar listening on ");
        self.data = address("data listening on ");
        self.servers.push(child);
        "sidecar listening on 127.0.0.1:8081\ndata listening on 127.0.0.1:8080\n".to_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // `timeout` leads the group that they are in; it would wait for a drain otherwise.
            let group = format!("-{}", server.id());
            let mut kill = Command::new("kill");
            let _ = kill
                .args(["-KILL", "--", &group])
                .stderr(Stdio::null())
                .status();
            let _ = server.wait();
        }
    }
}

/// A line without what differs from run to run.
fn normal(line: &str) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for c in line.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() {
            run.push(c);
            continue;
        }
        let hex = run.len() >= 8 && run.bytes().all(|b| b.is_ascii_hexdigit());
        match hex {
            true => out.push('#'),
            false => out.push_str(&without_digits(&run)),
        }
        run.clear();
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    // 0.1 and 12 are numbers both, and so are 1m05s and 65s.
    while out.contains("#.#") || out.contains("#m#") {
        out = out.replace("#.#", "#").replace("#m#", "#");
    }
    out.trim().to_owned()
}

fn without_digits(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}

/// Whether the line is as the page has it, where `…` is anything.
fn fits(expected: &str, line: &str) -> bool {
    let (expected, line) = (normal(expected), normal(line));
    let mut parts = expected.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part.trim()) else {
            return false;
        };
        rest = &rest[at + part.trim().len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|part| part.trim().is_empty())
}

/// Line by line; one that is `…` alone stands for any number of lines.
fn agrees(expected: &[&str], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skip| agrees(rest, &lines[skip..])),
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, more)| fits(first, line) && agrees(rest, more)),
    }
}

/// The commands of a block, each with what the page says it prints.
fn commands(block: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => panic!("a block begins with a command, not with {line:?}"),
        }
    }
    commands
}

#[test]
fn a_day_with_mcpd_goes_as_the_page_says() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let (mut shell, mut fresh, mut wrong) = (Shell::new(), String::new(), Vec::new());
    let mut parts = page.split(OPEN);
    fresh.push_str(parts.next().unwrap());
    for part in parts {
        let (block, rest) = part.split_once("\n```").expect("an end");
        fresh.push_str(OPEN);
        for (command, expected) in commands(block) {
            let said = shell.run(command);
            let lines: Vec<&str> = said.lines().collect();
            let cut = expected.iter().any(|line| line.contains('…'));
            if !agrees(&expected, &lines) {
                wrong.push(format!(
                    "$ {command}\n--- page\n{}\n--- now\n{said}",
                    expected.join("\n")
                ));
            }
            let shown = if cut { expected } else { lines };
            for line in [&[&format!("$ {command}")[..]][..], &shown].concat() {
                fresh.push_str(line);
                fresh.push('\n');
            }
        }
        fresh.push_str("```");
        fresh.push_str(rest);
    }
    if update {
        std::fs::write(PAGE, fresh).unwrap();
    }
    assert!(
        update || wrong.is_empty(),
        "docs/operations.md is out of date:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_comparison_would_notice() {
    for (expected, line) in [
        ("up for  75s", "up for       1.5s"),
        ("up for  1m05s", "up for 3s"),
        (
            "etag: \"1-120808f5bdb6a165\"",
            "etag: \"22-9d50fef47c0065f6\"",
        ),
        ("a … c", "a b c"),
        ("a …", "a b c"),
        ("… c", "a b c"),
        ("a…c…e", "abcde"),
    ] {
        assert!(fits(expected, line), "{expected} {line}");
    }
    for (expected, line) in [
        ("ready", "not ready"),
        ("ready", "ready now"),
        ("a … c", "a b d"),
        ("a … c", "a b c d"),
        ("1 added", "added"),
    ] {
        assert!(!fits(expected, line), "{expected} {line}");
    }
    assert!(agrees(&["a", "…", "d"], &["a", "b", "c", "d"]));
    assert!(!agrees(&["a", "…", "d"], &["a", "b"]));
    assert!(!agrees(&["a"], &["a", "b"]));
}
