//! The handlers document: taken, refused, changed while it serves.

use crate::front::{Front, handlers, write};
use crate::service::{Seen, Service};
use crate::support::{Start, scratch};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_and_what_it_does_not_touch_keeps_its_connections() {
    let (one, two) = (
        Service::new(|_: Seen| "one").await,
        Service::new(|_: Seen| "two").await,
    );
    let http = |service: &Service| {
        format!(
            "  - {{name: up, type: http, url: \"{}\"}}",
            service.url("/")
        )
    };
    let mut front = Front::with(&handlers(&http(&one)), |start| start).await;
    assert_eq!(front.ask("a", "").await.body(), "one");
    assert_eq!(front.shown()["upstream"]["endpoints"][0]["attempts"], 1);

    let more = format!(
        "{}\n  - {{name: hi, type: static, body: hello}}",
        http(&one)
    );
    write(&front.file(), &handlers(&more));
    front.server.await_log("the handlers document is in force");
    assert_eq!(front.ask("a", "").await.body(), "one");
    assert_eq!(front.shown()["upstream"]["endpoints"][0]["attempts"], 2);
    assert_eq!(
        front.shown()["upstream"]["endpoints"][0]["connections"]["idle"],
        1
    );

    write(&front.file(), &handlers(&http(&two)));
    front.server.await_log("the handlers document is in force");
    assert_eq!(front.ask("a", "").await.body(), "two");
    assert_eq!(front.server.get("/admin/v1/handlers/hi").0, 404);

    write(&front.file(), &handlers("  - {name: other, type: echo}"));
    let told = front.server.await_log("handlers refused");
    assert!(told.contains("there is no handler"), "{told}");
    write(
        &front.file(),
        &handlers("  - {name: up, type: http, url: nonsense}"),
    );
    let told = front.server.await_log("handlers refused");
    assert!(told.contains("handlers[0].url"), "{told}");
    assert_eq!(front.ask("a", "").await.body(), "two");
    let broken = format!("{}\n  - {{name: echo, type: echo}}", http(&one));
    write(&front.file(), &handlers(&broken));
    front.server.await_log("handlers refused");
    assert_eq!(front.metric("breaker_state", ",state=\"closed\""), 1.0);
    assert_eq!(front.ask("a", "").await.body(), "two");

    write(
        &front.file(),
        &handlers("  - {name: up, type: static, body: hello}"),
    );
    front.server.await_log("the handlers document is in force");
    assert_eq!(front.ask("a", "").await.body(), "hello");
    front.server.signal("HUP");
    front.server.await_log("configuration reloaded");
    assert_eq!(front.ask("a", "").await.body(), "hello");
}

#[test]
fn a_start_waits_for_a_document_that_is_not_there_yet() {
    let dir = scratch();
    let file = dir.path().join("handlers.yaml");
    let start = Start::new().set("HANDLERS_FILE", file.to_str().unwrap());
    let mut server = start.spawn_unready();
    let why = server.await_log("cannot serve");
    assert!(why.contains("handlers_file"), "{why}");
    write(
        &file,
        &handlers("  - {name: hi, type: static, body: hello}"),
    );
    server.await_data();
    assert_eq!(server.get("/admin/v1/handlers/hi").0, 200);
}

#[test]
fn check_finds_what_is_wrong_without_serving() {
    let dir = scratch();
    let file = dir.path().join("handlers.yaml");
    let check = |text: &str| {
        write(&file, &handlers(text));
        let output = Command::new(env!("CARGO_BIN_EXE_mcpd"))
            .arg("check")
            .env("MCPD__HANDLERS_FILE", &file)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = check("  - {name: up, type: http, url: \"http://orders/\"}");
    assert_eq!(code, Some(0), "{text}");
    for (wrong, told) in [
        ("  - {name: up, type: http}", "handlers[0].url: is missing"),
        (
            "  - {name: echo, type: echo}",
            "is in the configuration, too",
        ),
        (
            "  - {name: up, type: http, url: \"https://orders/\", tls: {ca_file: /nowhere.pem}}",
            "tls.ca_file: /nowhere.pem",
        ),
    ] {
        let (code, text) = check(wrong);
        assert_ne!(code, Some(0), "{wrong}");
        assert!(
            text.contains("handlers_file") && text.contains(told),
            "{text}"
        );
    }
}
