//! Stores that cannot be written.

use crate::client::{Admin, YAML, document};
use crate::support::{Server, Start, scratch, write_routes};
use std::process::Command;

fn put(server: &Server) -> crate::client::Got {
    let new = document(["new".to_owned()]);
    server.admin("PUT", "routes", &[YAML, "If-Match: *"], &new)
}

fn stays(server: &Server, file: &std::path::Path, text: &str) {
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
    server.peer().expect_alive_on("old");
    assert_eq!(server.read("routes").ok()["routes"][0]["topic"], "old");
}

/// A file that is a mount point cannot be replaced, and a directory that is not writable takes no
/// temporary file. Neither stops root, so the directory is made unwritable by another way: there is
/// something in the place of the temporary file that cannot be removed.
#[test]
fn where_nothing_can_be_written_nothing_is() {
    let dir = scratch();
    let text = document(["old".to_owned()]);
    let file = write_routes(&dir, &text);
    let server = Start::new().routes(&file).spawn();
    let in_the_way = dir.path().join(".routes.yaml.mcpd-new/x");
    std::fs::create_dir_all(in_the_way).unwrap();
    assert!(put(&server).problem(503).starts_with("nothing was written"));
    stays(&server, &file, &text);
    std::fs::remove_dir_all(dir.path().join(".routes.yaml.mcpd-new")).unwrap();
    put(&server).ok();
}

/// On a file system of a few kilobytes, in a mount namespace of the server's own.
#[test]
fn a_full_disk_or_a_read_only_one_is_said_so() {
    let dir = scratch();
    let mount = "mount -t tmpfs -o size=16k none \"$1\" && printf '%s' \"$2\" > \"$1/routes.yaml\"";
    let can = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
        .status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("no right to mount here: left out");
        return;
    }
    let text = document(["old".to_owned()]);
    for (prepare, said) in [
        ("dd if=/dev/zero of=\"$1/fill\" bs=1k 2>/dev/null", "space"),
        ("mount -o remount,ro \"$1\"", "read-only"),
    ] {
        let script = format!("{mount} && {{ {prepare}; true; }} && shift 2 && exec \"$@\"");
        let file = dir.path().join("routes.yaml");
        let start = Start::wrapped(&[
            "unshare",
            "-m",
            "sh",
            "-c",
            &script,
            "sh",
            dir.path().to_str().unwrap(),
            &text,
        ]);
        let server = start.routes(&file).spawn();
        let detail = put(&server).problem(503);
        assert!(
            detail.starts_with("nothing was written") && detail.contains(said),
            "{detail}"
        );
        server.peer().expect_alive_on("old");
        assert_eq!(server.read("routes").ok()["routes"][0]["topic"], "old");
    }
}

#[test]
fn a_file_that_somebody_broke_is_not_overwritten_and_the_last_good_routes_are_shown() {
    let dir = scratch();
    let file = write_routes(&dir, &document(["old".to_owned()]));
    let mut server = Start::new().routes(&file).spawn();
    let tag = server.read("routes").etag();
    std::fs::write(&file, "routes: [").unwrap();
    server.await_log("routes refused");
    let got = server.read("routes");
    assert_eq!((got.status, got.etag()), (200, tag));
    assert!(put(&server).problem(503).starts_with("nothing was written"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "routes: [");
    assert!(server.read("state").ok()["routes"]["problem"].is_string());
}

#[test]
fn a_change_of_one_route_does_not_end_the_others_when_the_file_has_gone() {
    let dir = scratch();
    let file = write_routes(&dir, &document(["old".to_owned()]));
    let server = Start::new().routes(&file).spawn();
    std::fs::remove_file(&file).unwrap();
    let route = r#"{"topic": "new", "handler": "echo"}"#;
    for (method, body) in [("PUT", route), ("DELETE", "")] {
        let headers: &[&str] = match method {
            "PUT" => &["Content-Type: application/json"],
            _ => &[],
        };
        let detail = server
            .admin(method, "routes/new", headers, body)
            .problem(503);
        assert!(detail.contains("has gone"), "{method}: {detail}");
    }
    assert!(!file.exists());
    server.peer().expect_alive_on("old");
    let all = document(["old".to_owned(), "new".to_owned()]);
    let headers = [YAML, "If-None-Match: *"];
    server.admin("PUT", "routes", &headers, &all).ok();
    server.peer().expect_alive_on("new");
}

#[test]
fn a_revision_that_cannot_grow_is_said_so() {
    let dir = scratch();
    let text = document(["old".to_owned()]);
    let text = text.replacen("kind:", &format!("revision: {}\nkind:", u64::MAX), 1);
    let server = Start::new().routes(&write_routes(&dir, &text)).spawn();
    assert!(put(&server).problem(503).contains("revision"));
}
