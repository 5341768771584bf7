//! `mcpd serve`: what its arguments do. What a server does is tested elsewhere.

use crate::run::{mcpd, run};
use crate::support::{Start, scratch, write_routes};

#[test]
fn a_bad_configuration_is_64_with_every_problem_and_nothing_bound() {
    let dir = scratch();
    let config = dir.path().join("mcpd.yaml");
    std::fs::write(&config, "drain: {delay: 1}\nlog: {filter: '=='}\n").unwrap();
    let config = config.to_str().unwrap();
    let ran = run([
        "serve",
        "--config",
        config,
        "--listen",
        "nowhere",
        "--admin-listen",
        ":0",
    ]);
    let ran = ran.expect(64);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    for part in [
        "drain.delay = 1 (file",
        "log.filter = ",
        "data.listen = \"nowhere\" (flag --listen)",
        "sidecar.listen = \":0\" (flag --sidecar-listen)",
    ] {
        assert!(ran.stderr.contains(part), "{part:?} in {ran:?}");
    }
    assert_eq!(ran.stderr.lines().count(), 4, "{ran:?}");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let dir = scratch();
    let config = dir.path().join("mcpd.toml");
    let text = "server_id = 'from-file'\n[data]\nlisten = '127.0.0.1:1'\n[log]\nfilter = 'debug'\n";
    std::fs::write(&config, text).unwrap();
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes: [{topic: only, handler: echo}]\n";
    let routes = write_routes(&dir, routes);
    let server = Start::new()
        .with(|command| {
            command.env("MCPD_CONFIG", &config);
        })
        .set("SERVER_ID", "from-env")
        .routes(&routes)
        .spawn();
    let mut peer = server.peer();
    peer.request(1, "only", b"x");
    assert_eq!(peer.expect().response(), (1, b"x".to_vec()));
    assert!(server.get("/statusz").1.contains("from-env"));
}

#[test]
fn a_reload_looks_where_the_start_looked() {
    let dir = scratch();
    let config = dir.path().join("mcpd.yaml");
    std::fs::write(&config, "drain: {finish: 1s}\n").unwrap();
    let mut server = Start::new().arg("--config").arg(&config).spawn();
    std::fs::write(&config, "drain: {finish: 1}\n").unwrap();
    server.signal("HUP");
    let line = server.await_log("configuration refused");
    assert!(
        line.contains("drain.finish = 1") && line.contains("has no unit"),
        "{line}"
    );
    std::fs::write(&config, "drain: {finish: 2s}\n").unwrap();
    server.signal("HUP");
    let line = server.await_log("configuration reloaded");
    assert!(line.contains("drain.finish"), "{line}");
}

#[test]
fn into_a_pipe_there_is_nothing_but_the_two_ports() {
    let mut server = Start::new().spawn();
    server.signal("TERM");
    assert_eq!(server.await_exit(), Some(0));
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--sidecar-listen",
        "127.0.0.1:0",
    ];
    let mut child = mcpd(args).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout)).map(Result::unwrap);
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("sidecar listening on 127.0.0.1:")
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("data listening on 127.0.0.1:")
    );
    crate::run::signal(&child, "INT");
    assert_eq!(lines.next(), None);
    crate::run::finish(child).expect(0);
}
