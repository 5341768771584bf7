//! `mcpd check`.

use crate::run::{mcpd, run};
use crate::support::{scratch, write_routes};

const BAD_CONFIG: &str = "darin: {}
limits:
  max_payload: 12KiB
drain:
  delay: 10
";

const BAD_ROUTES: &str = "apiVersion: mcpd/v1
kind: RouteTable
routes:
  - topic: a/#/b
    handler: echo
  - topic: fine
    handler: echo
    timeout: 5
    qos: 7
";

#[test]
fn nothing_at_all_is_fine() {
    let ran = run(["check"]).expect(0);
    assert_eq!(ran.text(), "ok: 2 routes from the embedded defaults\n");
    assert!(ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn every_problem_of_a_bad_configuration_and_of_bad_routes_at_once() {
    let dir = scratch();
    let config = dir.path().join("mcpd.yaml");
    std::fs::write(&config, BAD_CONFIG).unwrap();
    let routes = write_routes(&dir, BAD_ROUTES);
    let (config, routes) = (config.to_str().unwrap(), routes.to_str().unwrap());
    let args = ["check", "--config", config, "--routes", routes];
    let ran = run(args).expect(64);
    for part in [
        format!("error: darin (file {config} line 1)"),
        format!("error: limits.max_payload = \"12KiB\" (file {config} line 3)"),
        format!("error: drain.delay = 10 (file {config} line 5): has no unit"),
        format!("error: {routes}: line 4: routes[0].topic: "),
        format!("error: {routes}: line 8: routes[1].timeout: "),
        format!("error: {routes}: line 9: routes[1].qos: "),
        "refused: problems: 6, warnings: 0".to_owned(),
    ] {
        assert!(ran.stderr.contains(&part), "{part:?} in {ran:?}");
    }
    assert!(ran.stdout.is_empty());
    let ran = run(args.into_iter().chain(["--json"])).expect(64);
    let found = ran.json();
    assert_eq!(found["ok"], false);
    assert_eq!(found["exit_code"], 64);
    let problems = found["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 6, "{found}");
    assert_eq!(problems[1]["key"], "limits.max_payload");
    let timeout = problems
        .iter()
        .find(|problem| problem["key"] == "routes[1].timeout")
        .unwrap();
    assert_eq!(
        (timeout["about"].as_str(), timeout["line"].as_u64()),
        (Some("routes"), Some(8))
    );
}

#[test]
fn routes_that_this_server_cannot_serve_are_65() {
    let dir = scratch();
    let text = "apiVersion: mcpd/v1
kind: RouteTable
routes:
  - {topic: a, handler: eco, timeout: 1s}
  - {topic: b, handler: echo, timeout: 1s, qos: 1}
";
    let routes = write_routes(&dir, text);
    let ran = run(["check", "--routes", routes.to_str().unwrap()]).expect(65);
    assert!(
        ran.stderr
            .contains("line 4: routes[0].handler: there is no handler \"eco\""),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains("line 5: routes[1].qos: QoS 1 needs a journal"),
        "{ran:?}"
    );
    // The handler may come from the configuration.
    let mut command = mcpd(["check", "--routes", routes.to_str().unwrap()]);
    let output = command
        .env("MCPD__HANDLERS__ECO__TYPE", "echo")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !stderr.contains("eco") && stderr.contains("journal"),
        "{stderr}"
    );
}

#[test]
fn routes_that_are_not_there_are_65() {
    let ran = run(["check", "--routes", "no/such/routes.yaml"]).expect(65);
    assert!(ran.stderr.contains("no/such/routes.yaml"), "{ran:?}");
    let ran = run(["check", "--routes", ".", "--json"]).expect(65);
    assert_eq!(ran.json()["problems"][0]["about"], "routes");
}

#[test]
fn a_timeout_that_a_stop_would_cut_off_is_a_warning() {
    let dir = scratch();
    let text = "apiVersion: mcpd/v1
kind: RouteTable
routes:
  - {topic: short, handler: echo, timeout: 10s}
  - {topic: long, handler: echo, timeout: 11s, colour: red}
";
    let routes = write_routes(&dir, text);
    let routes = routes.to_str().unwrap();
    let ran = run(["check", "--routes", routes]).expect(0);
    assert!(ran.text().ends_with("warnings: 2\n"), "{ran:?}");
    assert!(
        ran.stderr.contains("warning: ") && ran.stderr.contains("colour"),
        "{ran:?}"
    );
    let warning = "line 5: routes[1].timeout: long may take 11s";
    assert!(
        ran.stderr.contains(warning) && ran.stderr.contains("drain.finish = 10s"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("short"), "{ran:?}");
    let mut command = mcpd(["check", "--routes", routes]);
    let output = command.env("MCPD__DRAIN__FINISH", "11s").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("drain.finish"), "{stderr}");
}

#[test]
fn verbose_shows_what_is_in_force_and_where_it_came_from() {
    let dir = scratch();
    let config = dir.path().join("mcpd.yaml");
    std::fs::write(&config, "drain:\n  delay: 2s\n").unwrap();
    let path = config.to_str().unwrap();
    let check = |extra: &[&str]| {
        let mut command = mcpd([&["check", "--verbose"], extra].concat());
        // The file's name from the environment, as in a container.
        command
            .env("MCPD_CONFIG", path)
            .env("MCPD__DRAIN__FINISH", "3s");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = check(&[]);
    for line in [
        format!("drain.delay = 2s  # file {path} line 2\n"),
        "drain.finish = 3s  # environment MCPD__DRAIN__FINISH\n".to_owned(),
        "data.listen = 127.0.0.1:8080  # default\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line:?} in {text}");
    }
    let found: serde_json::Value = serde_json::from_str(&check(&["--json"])).unwrap();
    let settings = found["settings"].as_array().unwrap();
    let delay = settings
        .iter()
        .find(|setting| setting["key"] == "drain.delay")
        .unwrap();
    assert_eq!(delay["value"], "2s");
    assert_eq!(found["config_file"], path);
    assert_eq!(found["routes"], 2);
}

#[test]
fn many_long_timeouts_are_one_warning() {
    let dir = scratch();
    let routes: String = (0..50)
        .map(|n| format!("  - {{topic: t{n}, handler: echo}}\n"))
        .collect();
    let text = format!(
        "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n{routes}  - {{topic: long, handler: echo, timeout: 1m}}\n"
    );
    let routes = write_routes(&dir, &text);
    let ran = run(["check", "--routes", routes.to_str().unwrap()]).expect(0);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    let warning = "line 4: routes[0].timeout: t0 and 50 more may take up to 60s";
    assert!(ran.stderr.contains(warning), "{ran:?}");
}

#[test]
fn principals_and_keys_are_looked_at_as_a_start_does() {
    let dir = scratch();
    let principals = dir.path().join("principals.yaml");
    let keys = dir.path().join("jwks.json");
    let all = "{apiVersion: mcpd/v1, kind: Principals, principals: [{name: all, anonymous: true}]}";
    std::fs::write(&principals, all).unwrap();
    std::fs::write(&keys, r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#).unwrap();
    let config = dir.path().join("mcpd.yaml");
    let text = format!(
        "auth: {{principals: {}, jwt: {{jwks_file: {}, issuer: joe, audience: mcpd}}}}",
        principals.display(),
        keys.display()
    );
    std::fs::write(&config, text).unwrap();
    let ran = run(["check", "--config", config.to_str().unwrap()]).expect(64);
    for part in [
        "auth.jwt.jwks_file",
        "no key that a JWT could be verified with",
    ] {
        assert!(ran.stderr.contains(part), "{part:?} in {ran:?}");
    }
    assert!(!ran.stderr.contains("c2VjcmV0"), "{ran:?}");
    std::fs::write(&principals, "{}").unwrap();
    let ran = run(["check", "--config", config.to_str().unwrap()]).expect(64);
    assert!(ran.stderr.contains("auth.principals"), "{ran:?}");
}
