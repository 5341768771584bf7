//! Configurations that are wrong from the start.

use crate::support::{Start, scratch};
use std::net::TcpListener;

#[test]
fn every_problem_is_named_with_its_origin_and_nothing_is_bound() {
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    std::fs::write(
        &file,
        "darin:\n  delay: 1s\nlimits:\n  max_payload: 12KiB\n",
    )
    .unwrap();
    // A free port, to see whether anybody was told to connect to it.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, stdout, stderr) = Start::new()
        .listen(free)
        .arg("--config")
        .arg(&file)
        .set("DRAIN__DELAY", "10")
        .set("HANDLERS__BAD__TYPE", "ecko")
        .run();
    assert_eq!(code, Some(64), "{stderr}");
    for part in ["darin", "line 1", "limits.max_payload", "line 4"] {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    for part in [
        "drain.delay",
        "MCPD__DRAIN__DELAY",
        "handlers.bad.type",
        "echo",
    ] {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    assert!(!stdout.contains("listening"), "{stdout}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_configuration_file_that_is_not_there_is_a_problem() {
    let (code, stdout, stderr) = Start::new().arg("--config").arg("no/such/mcpd.yaml").run();
    assert_eq!(code, Some(64));
    assert!(stderr.contains("no/such/mcpd.yaml"), "{stderr}");
    assert!(!stdout.contains("listening"));
}

#[test]
fn a_port_that_is_no_address_is_a_problem_of_the_flag() {
    let (code, _, stderr) = Start::new().listen("example.org:80").run();
    assert_eq!(code, Some(64));
    assert!(
        stderr.contains("data.listen") && stderr.contains("--listen"),
        "{stderr}"
    );
}

#[test]
fn a_file_made_to_break_its_reader_is_one_more_problem() {
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    let bomb = |levels: u8| -> String {
        let level = |n: u8| {
            format!(
                "l{}: &l{} [{}]\n",
                n + 1,
                n + 1,
                format!("*l{n},").repeat(9)
            )
        };
        "l0: &l0 [x]\n".to_owned() + &(0..levels).map(level).collect::<String>()
    };
    for (text, why) in [
        (format!("server_id: {}", "- ".repeat(50_000)), "not valid"),
        (format!("server_id:\n  {}", "- ".repeat(50_000)), "deeper"),
        ("? ".repeat(50_000), "deeper"),
        (bomb(20), "alias"),
        ("server_id: a\n\0\0\0\0".to_owned(), "U+0000"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, stdout, stderr) = Start::new().arg("--config").arg(&file).run();
        assert_eq!(code, Some(64), "{why}: {stderr}");
        assert!(stderr.contains(why), "{why:?} is not in {stderr}");
        assert!(!stdout.contains("listening"), "{stdout}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    std::fs::write(&file, "\u{feff}server_id: a\ndarin: 1\n").unwrap();
    let (_, _, stderr) = Start::new().arg("--config").arg(&file).run();
    assert!(
        stderr.contains("darin") && !stderr.contains("server_id"),
        "{stderr}"
    );
}
