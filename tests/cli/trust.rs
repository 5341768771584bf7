//! `mcps://`, `https://`, certificates and tokens on the command line.

use crate::run::{Ran, at, mcpd, run};
use crate::support::tls::{Ca, params};
use crate::support::{Server, Start, scratch};
use std::ffi::OsStr;
use std::path::Path;

/// SHA-256 of `test`.
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Writes a file and gives its path.
fn file(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn run_in<S: AsRef<OsStr>>(environment: &[(&str, &str)], args: &[S]) -> Ran {
    let mut command = mcpd(args);
    command.envs(environment.iter().copied());
    crate::run::finish(command.spawn().unwrap())
}

#[track_caller]
fn expect_failure(ran: Ran, code: i32, what: &str, hint: &str) {
    let ran = ran.expect(code);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].contains(what), "{what:?} in {ran:?}");
    assert!(lines[1].contains(hint), "{hint:?} in {ran:?}");
}

#[test]
fn send_and_ping_over_tls_trust_whom_they_are_told_to() {
    let (dir, ca) = (scratch(), Ca::new());
    ca.server().write(dir.path());
    let server = Start::new().tls("DATA", dir.path()).spawn();
    let authority = file(dir.path(), "authority.crt", ca.pem());
    let to = format!("mcps://localhost:{}", server.data.port());
    let send = ["send", "echo", "hello", "--to", &to];
    let ran = run([&send[..], &["--tls-ca", &authority]].concat()).expect(0);
    assert_eq!((ran.text(), ran.stderr.as_str()), ("hello", ""));
    let environment = [("MCPD_TO", to.as_str()), ("MCPD_TLS_CA", &authority)];
    let ping = run_in(&environment, &["ping", "-c", "2", "-i", "10ms"]).expect(0);
    assert!(ping.text().contains("2 sent, 2 answered"), "{ping:?}");

    let stranger = file(dir.path(), "stranger.crt", Ca::new().pem());
    let ran = run([&send[..], &["--tls-ca", &stranger]].concat());
    expect_failure(ran, 69, "trust the one that signed it", "--tls-ca");
    let named = to.replace("localhost", "127.0.0.1");
    let by_address = [
        "send", "echo", "hello", "--to", &named, "--tls-ca", &authority,
    ];
    let what = "certificate not valid for name \"127.0.0.1\"";
    expect_failure(run(by_address), 69, what, "a name");
    let ran = run([&by_address[..], &["--tls-server-name", "localhost"]].concat()).expect(0);
    assert_eq!(ran.text(), "hello");
    // Without TLS to a port with it.
    let ran = run(at(&server, &["send", "echo", "hello"]));
    expect_failure(ran, 76, "this is TLS", "address");
    // What the environment says of TLS is no reason to refuse an address without.
    let plain = Server::start();
    let ran = run_in(&environment[1..], &at(&plain, &["send", "echo", "plain"])).expect(0);
    assert_eq!(ran.text(), "plain");
    let other = format!("mcps://{}", plain.data);
    let ran = run(["send", "echo", "--to", &other, "--tls-ca", &authority]);
    expect_failure(ran, 69, "is not TLS", "mcp://");
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (dir, ca) = (scratch(), Ca::new());
    ca.server().write(dir.path());
    let start = Start::new().tls("DATA", dir.path());
    let server = start.client_ca("DATA", dir.path(), &ca).spawn();
    let authority = file(dir.path(), "authority.crt", ca.pem());
    let client = ca.issue(params(&["till-7"]));
    let cert = file(dir.path(), "client.crt", &client.certificate);
    let key = file(dir.path(), "client.key", &client.key);
    let to = format!("mcps://localhost:{}", server.data.port());
    let send = ["send", "echo", "hello", "--to", &to, "--tls-ca", &authority];
    expect_failure(run(send), 69, "wants a client certificate", "--tls-cert");
    let ran = run([&send[..], &["--tls-cert", &cert, "--tls-key", &key]].concat()).expect(0);
    assert_eq!(ran.text(), "hello");
    let environment = [("MCPD_TLS_CERT", cert.as_str()), ("MCPD_TLS_KEY", &key)];
    assert_eq!(run_in(&environment, &send).expect(0).text(), "hello");
    let half = run([&send[..], &["--tls-cert", &cert]].concat());
    expect_failure(half, 64, "takes two files", "correct the command");
    let swapped = run([&send[..], &["--tls-cert", &key, "--tls-key", &cert]].concat());
    expect_failure(swapped, 64, "no certificates in PEM", "correct the command");
}

#[test]
fn a_token_comes_from_a_file_or_the_environment_and_is_never_shown() {
    let dir = scratch();
    let principals = format!(
        "{{apiVersion: mcpd/v1, kind: Principals, principals: [\
         {{name: till, tokens: [{{name: a, sha256: {HASH}}}], allow: [echo]}}]}}"
    );
    let principals = file(dir.path(), "principals.yaml", principals);
    let server = Start::new().set("AUTH__PRINCIPALS", &principals).spawn();
    let send = at(&server, &["send", "echo", "hello"]);
    let good = file(dir.path(), "good", "test\n");
    let with = |flags: &[&str]| {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        send.iter().cloned().chain(flags).collect::<Vec<_>>()
    };
    let ran = run(with(&["--token-file", &good])).expect(0);
    assert_eq!(ran.text(), "hello");
    let ran = run_in(&[("MCPD_TOKEN", "test")], &send).expect(0);
    assert_eq!(ran.text(), "hello");
    run_in(
        &[("MCPD_TOKEN", "test")],
        &at(&server, &["ping", "-c", "1"]),
    )
    .expect(0);
    for ran in [
        run(&send),
        run_in(&[("MCPD_TOKEN", "s3cret")], &send),
        run_in(&[("MCPD_TOKEN", "s3cret")], &at(&server, &["ping"])),
    ] {
        let ran = ran.expect(77);
        assert!(
            ran.stderr.contains("UNAUTHENTICATED (not executed"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains("--token-file"), "{ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }
    let bad = file(dir.path(), "bad", "s3 cret\n");
    let ran = run(with(&["--token-file", &bad])).expect(64);
    assert!(!ran.stderr.contains("s3"), "{ran:?}");
    run(with(&["--token-file", "/no/such/token"])).expect(64);
}

#[test]
fn what_does_not_fit_together_is_64_and_nothing_is_sent() {
    for (args, what) in [
        (
            &["--to", "mcp://127.0.0.1:1", "--tls-ca", "x"][..],
            "mcps://",
        ),
        (
            &["--to", "127.0.0.1:1", "--tls-server-name", "x"],
            "mcps://",
        ),
        (&["--to", "mcps://a:1,mcp://b:1"], "one scheme"),
        (
            &["--to", "mcps://127.0.0.1:1", "--tls-ca", "/no/such.crt"],
            "/no/such.crt",
        ),
        (&["--to", "127.0.0.1:1", "--qos", "2"], "--client-id"),
    ] {
        let ran = run([&["send", "echo"], args].concat());
        expect_failure(ran, 64, what, "nothing was sent");
    }
    let state = ["state", "--admin", "http://127.0.0.1:1", "--tls-ca", "x"];
    expect_failure(run(state), 64, "for https", "nothing was sent");
}

#[test]
fn of_several_addresses_each_is_tried_and_retries_are_asked_for() {
    let dir = scratch();
    let server = crate::run::server_of_all_kinds(&dir);
    let to = format!("mcp://127.0.0.1:1,{}", server.data);
    for _ in 0..5 {
        let ran = run(["send", "echo", "hello", "--to", &to]).expect(0);
        assert_eq!(ran.text(), "hello");
    }
    let nowhere = ["send", "echo", "--to", "127.0.0.1:1,127.0.0.1:2"];
    expect_failure(run(nowhere), 69, "cannot connect to 127.0.0.1:", "--to");
    // One a second, whoever asks: the second one would be refused.
    for _ in 0..2 {
        let limited = ["send", "limited", "x", "--retries", "20", "--timeout", "1m"];
        run(at(&server, &limited)).expect(0);
    }
}

#[test]
fn the_admin_api_over_https_with_certificates_of_ones_own() {
    let (dir, ca) = (scratch(), Ca::new());
    ca.server().write(dir.path());
    let start = Start::new().set("ADMIN__LISTEN", "127.0.0.1:0");
    let start = start.tls("ADMIN", dir.path());
    let mut server = start.client_ca("ADMIN", dir.path(), &ca).spawn();
    let admin = format!("https://localhost:{}", server.await_admin().port());
    let authority = file(dir.path(), "authority.crt", ca.pem());
    let client = ca.issue(params(&["ops"]));
    let cert = file(dir.path(), "client.crt", &client.certificate);
    let key = file(dir.path(), "client.key", &client.key);
    let state = ["state", "--admin", &admin];
    expect_failure(run(state), 69, "no connection", "--tls-ca");
    let trusting = [&state[..], &["--tls-ca", &authority]].concat();
    let ran = run(&trusting).expect(69);
    assert!(ran.stderr.contains("--tls-cert and --tls-key"), "{ran:?}");
    let showing = [&trusting[..], &["--tls-cert", &cert, "--tls-key", &key]].concat();
    assert!(run(&showing).expect(0).text().contains("running"));
    let environment = [
        ("MCPD_ADMIN_TLS_CA", authority.as_str()),
        ("MCPD_ADMIN_TLS_CERT", &cert),
        ("MCPD_ADMIN_TLS_KEY", &key),
    ];
    run_in(&environment, &state).expect(0);
}
