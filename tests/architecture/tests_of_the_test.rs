//! A guard that never barks is worse than none: each rule is shown a violation here.

use crate::rules::MANIFEST_RULES;
use crate::source::Source;
use crate::{arrows, orphans, too_long};

/// The violations in one file, as `line: what`.
fn seen_in(file: &str, text: &str) -> Vec<String> {
    let short = |told: String| {
        let rest = told.trim_start_matches(file).trim_start_matches(':');
        rest.split("`: ").next().unwrap_or("").replace('`', "")
    };
    let told = arrows(&[Source::parse(file, text)]);
    told.into_iter().map(short).collect()
}

#[test]
fn every_arrow_catches_what_points_the_wrong_way() {
    let table: &[(&str, &str, &[&str])] = &[
        (
            "crates/mcpd-proto/src/frame.rs",
            "use std::{io, net::SocketAddr};\nfn f() { tokio::spawn(g()); }",
            &["1: std::net::SocketAddr", "2: tokio::spawn"],
        ),
        (
            "crates/mcpd-proto/src/session/mod.rs",
            "use std::time::{Duration, Instant};\nfn f() -> Instant { SystemTime::now(); Instant::now() }",
            &["2: SystemTime::now", "2: Instant::now"],
        ),
        (
            "crates/mcpd-proto/src/frame/request.rs",
            "use crate::session::Session;\nuse super::super::session;",
            &["1: crate::session::Session", "2: crate::session"],
        ),
        (
            "src/router/table.rs",
            "fn f(t: Instant) { t.elapsed(); }\nstruct S(Option<TcpStream>);",
            &["1: .elapsed()", "2: TcpStream"],
        ),
        (
            "src/lifecycle/machine/states.rs",
            "use tokio as runtime;",
            &["1: tokio"],
        ),
        (
            "src/handler/echo.rs",
            "use crate::{app::Parts, config};",
            &["1: crate::app::Parts", "1: crate::config"],
        ),
        ("src/admin.rs", "use super::app;", &["1: crate::app"]),
        (
            "src/admin/mod.rs",
            "use mcpd::config::Config;",
            &["1: crate::config::Config"],
        ),
        (
            "src/conn/driver.rs",
            "use crate::conn::limits;\nuse crate::router::Table;\nuse super::limits as l;\nuse crate::telemetry::names;",
            &["2: crate::router::Table"],
        ),
        (
            "crates/mcpd-client/src/lib.rs",
            "pub use mcpd::conn;\nuse mcpd_proto::Frame;",
            &["1: mcpd::conn"],
        ),
        (
            "src/scheduler/lanes.rs",
            "const A: &str = \"mcpd_shed_total\";\nconst B: &str = \"mcpd_proto=debug\";",
            &["1: mcpd_shed_total"],
        ),
    ];
    for (file, text, expected) in table {
        assert_eq!(&seen_in(file, text), expected, "in {file}: {text}");
    }
}

#[test]
fn what_the_arrows_allow_is_left_alone() {
    let table = [
        ("src/main.rs", "fn main() { mcpd::app::run() }"),
        ("src/cli/serve.rs", "use crate::{app, config};"),
        ("src/config/raw.rs", "use crate::config::Origin;"),
        ("src/telemetry/names.rs", "const A: &str = \"mcpd_x\";"),
        ("src/router/handle.rs", "use tokio::sync::watch;"),
        (
            "src/router/table.rs",
            "// tokio\nfn f(now: Instant) { \"std::net\"; }",
        ),
        (
            "src/router/table.rs",
            "#[cfg(test)]\nmod tests { use tokio::time; }\nfn f() {}",
        ),
        ("src/router/table/tests.rs", "use tokio::time;"),
        (
            "crates/mcpd-client/tests/live.rs",
            "use tokio::net::TcpListener;",
        ),
        (
            "crates/mcpd-proto/src/lib.rs",
            "pub mod session;\npub use session::Session;",
        ),
    ];
    for (file, text) in table {
        assert_eq!(
            seen_in(file, text),
            Vec::<String>::new(),
            "in {file}: {text}"
        );
    }
}

#[test]
fn only_code_under_cfg_test_is_exempt() {
    let text = "#[cfg(test)]\n#[allow(x)]\nfn a(x: [u8; 2]) { tokio::a() }\nfn b() { tokio::b() }\n\
                #[cfg(not(test))]\nfn c() { tokio::c() }\n#[cfg(test)]\nuse tokio::{d, e};\nuse tokio::f;";
    let expected = ["4: tokio::b", "6: tokio::c", "9: tokio::f"];
    assert_eq!(seen_in("src/router/table.rs", text), expected);
}

#[test]
fn a_file_behind_a_test_only_mod_is_exempt() {
    let parent = Source::parse("src/router/table.rs", "#[cfg(test)]\nmod model;");
    let child = Source::parse("src/router/table/model.rs", "use tokio::time;");
    assert_eq!(arrows(&[parent, child]), Vec::<String>::new());
}

#[test]
fn a_file_that_no_mod_names_is_reported() {
    let files = [
        ("src/lib.rs", "mod conn;\n#[cfg(test)]\nmod helpers;"),
        ("src/conn.rs", "mod driver;"),
        ("src/conn/driver.rs", ""),
        ("src/conn/forgotten.rs", ""),
        ("src/helpers.rs", ""),
        ("tests/serve.rs", "mod common;"),
        ("tests/common/mod.rs", ""),
        ("tests/whole/main.rs", "mod part;"),
        ("tests/whole/part.rs", ""),
    ];
    let sources = files.map(|(file, text)| Source::parse(file, text));
    let told = orphans(&sources);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("src/conn/forgotten.rs "), "{told:?}");
}

#[test]
fn a_long_file_is_reported_with_its_length() {
    let text = "\n".repeat(501);
    let told = too_long(&[Source::parse("src/conn.rs", &text)]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("src/conn.rs has 501 lines"), "{told:?}");
    let text = "\n".repeat(500);
    assert!(too_long(&[Source::parse("src/conn.rs", &text)]).is_empty());
}

#[test]
fn a_manifest_that_names_the_wrong_crate_is_reported() {
    let [proto, client] = MANIFEST_RULES else {
        panic!("one rule for each crate that others build on");
    };
    let text = "[package]\nname = \"x\"\n[dependencies]\nbytes = \"1\"\nserde.workspace = true\n\
                [dev-dependencies]\nproptest = \"1\"\ntokio = \"1\"";
    let told = proto.violations(text);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains(":5: `serde`") && told[1].contains(":8: `tokio`"));

    let text = "[dependencies]\ntokio = \"1\"\n[dev-dependencies]\nmcpd = { path = \"../..\" }";
    let told = client.violations(text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(":4: `mcpd`"), "{told:?}");
}
