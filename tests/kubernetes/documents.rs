//! What becomes of documents while the API server is there.

use crate::client::{Admin, JSON, YAML, call};
use crate::plane::{Namespace, eventually};
use crate::replica::{Replica, start, table, write};
use crate::support::Server;
use serde_json::json;

/// Two replicas with `one` as their only route.
fn two(namespace: &Namespace) -> [Server; 2] {
    namespace.apply("routes", &table(&["one"], "echo"));
    ["pod-a", "pod-b"].map(|pod| start(namespace, pod).spawn())
}

pub(crate) fn seeding(namespace: &Namespace) {
    let seed = namespace.files.path().join("seed");
    std::fs::create_dir(&seed).unwrap();
    std::fs::write(seed.join("routes.yaml"), table(&["seeded"], "hi")).unwrap();
    let handlers =
        "{apiVersion: mcpd/v1, kind: Handlers, handlers: [{name: hi, type: static, body: hello}]}";
    std::fs::write(seed.join("handlers.yaml"), handlers).unwrap();
    // At the same time, so that all of them find nothing there.
    let starting = ["pod-a", "pod-b", "pod-c"].map(|pod| {
        let start = start(namespace, pod).set("KUBERNETES__SEED", seed.to_str().unwrap());
        start.spawn_unbound()
    });
    let servers = starting.map(|mut server| {
        server.await_sidecar();
        server.await_data();
        server
    });
    let etag = servers[0].etag();
    for server in &servers {
        assert_eq!(server.etag(), etag);
        assert!(server.serves("seeded"));
        let routes = server.routes();
        assert_eq!(routes["store"], "kubernetes");
        assert_eq!(routes["source"], "ConfigMap mcpd-routes");
    }
    assert_eq!(namespace.text("handlers"), handlers, "as it was written");
    namespace.await_event("Created", "from the seed");
    let created = |server: &Server| {
        server
            .get("/metrics")
            .1
            .contains("creations_total{document=\"routes\"")
    };
    assert_eq!(servers.iter().filter(|server| created(server)).count(), 1);
}

pub(crate) fn a_write_is_live_everywhere(namespace: &Namespace) {
    let [a, b] = two(namespace);
    let before = a.routes()["last_confirmed"].clone();
    let written = a.write(&a.etag(), &["two"]);
    assert_eq!(written.ok()["revision"], 2);
    assert!(
        a.serves("two") && !a.serves("one"),
        "with the answer it is live"
    );
    let etag = written.etag();
    b.await_routes("convergence", |routes| routes["etag"] == etag.as_str());
    assert!(b.serves("two") && !b.serves("one"));
    // The version of the store, and when it was last heard of, are there to be seen.
    let version = namespace.map("routes").unwrap().metadata.resource_version;
    a.await_routes("the resourceVersion", |routes| {
        routes["resource_version"].as_str() == version.as_deref()
    });
    a.await_routes("a later confirmation", |routes| {
        routes["last_confirmed"] != before
    });
    let annotations = namespace
        .map("routes")
        .unwrap()
        .metadata
        .annotations
        .unwrap();
    assert_eq!(annotations["mcpd/written-by"], "pod-a");

    // An edit of somebody else's is taken, too.
    namespace.apply("routes", &table(&["three"], "echo"));
    for server in [&a, &b] {
        server.await_routes("the edit", |routes| routes["revision"] == 1);
        assert!(server.serves("three"));
    }
    // What does not fit into a ConfigMap is refused before anything is written.
    let many: Vec<String> = (0..3000).map(|n| format!("topic/{n:0240}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    a.write(&a.etag(), &many).problem(413);
    assert_eq!(namespace.text("routes"), table(&["three"], "echo"));
}

pub(crate) fn two_writers(namespace: &Namespace) {
    let [a, b] = two(namespace);
    let mut lost = 0;
    for round in 0..10 {
        let etag = a.etag();
        b.await_routes("the same version", |routes| routes["etag"] == etag.as_str());
        let topics = [format!("a/{round}"), format!("b/{round}")];
        let (to_a, to_b) = (a.sidecar, b.sidecar);
        let (from_a, from_b) = std::thread::scope(|scope| {
            let one = scope.spawn(|| write(to_a, &etag, &[&topics[0]]));
            let other = scope.spawn(|| write(to_b, &etag, &[&topics[1]]));
            (one.join().unwrap(), other.join().unwrap())
        });
        let mut statuses = [from_a.status, from_b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{from_a:?} {from_b:?}");
        let winner = usize::from(from_b.status == 200);
        lost += usize::from(!namespace.text("routes").contains(&topics[winner]));
        let etag = [&from_a, &from_b][winner].etag();
        for server in [&a, &b] {
            server.await_routes("the winner's", |routes| routes["etag"] == etag.as_str());
        }
    }
    assert_eq!(lost, 0);
    // Single routes are put in on top of each other without anybody's version.
    std::thread::scope(|scope| {
        for (addr, name) in [(a.sidecar, "left"), (b.sidecar, "right")] {
            scope.spawn(move || {
                let route = format!("{{\"topic\": \"{name}\", \"handler\": \"echo\"}}");
                let path = format!("routes/{name}");
                call(addr, "PUT", &path, &[JSON], route.as_bytes()).ok();
            });
        }
    });
    let text = namespace.text("routes");
    assert!(text.contains("left") && text.contains("right"), "{text}");
    let stale = a.write("\"1-0000000000000000\"", &["x"]);
    assert!(stale.problem(412).contains("are version"));
    a.admin("PUT", "routes", &[YAML], &table(&["x"], "echo"))
        .problem(428);
}

pub(crate) fn deleted_and_recreated(namespace: &Namespace) {
    let [a, b] = two(namespace);
    a.write(&a.etag(), &["two"]).ok();
    b.await_routes("convergence", |routes| routes["revision"] == 2);
    namespace.delete("routes");
    let map = eventually("ConfigMap again", || namespace.map("routes"));
    let annotations = map.metadata.annotations.unwrap();
    assert!(annotations["mcpd/recreated-by"].starts_with("pod-"));
    for server in [&a, &b] {
        server.await_routes("the next revision", |routes| routes["revision"] == 3);
        assert!(server.serves("two"));
    }
    assert!(namespace.text("routes").contains("topic: two"));
    namespace.await_event("CreatedAgain", "from the last good document");

    // A replica that starts beside others does not bring the seed back while there is nothing.
    let declared = start(namespace, "pod-c").set("KUBERNETES__CREATE", "false");
    let newcomer = declared.spawn();
    assert!(newcomer.serves("two"));
    drop((a, b));
    namespace.delete("routes");
    // It may not create: it goes on, and says what is wrong.
    let problem = |routes: &serde_json::Value| {
        routes["problem"]
            .as_str()
            .is_some_and(|text| text.contains("is not there"))
    };
    newcomer.await_routes("the problem", problem);
    assert!(newcomer.serves("two"));
    assert_eq!(newcomer.get("/readyz").0, 200);
    namespace.await_event("Missing", "is not there");
    assert!(namespace.map("routes").is_none());
    // One that may, and has a copy, brings that back and not the seed.
    let back = start(namespace, "pod-a").spawn();
    assert!(back.serves("two"));
    assert!(namespace.text("routes").contains("topic: two"));
}

pub(crate) fn invalid(namespace: &Namespace) {
    let [a, b] = two(namespace);
    let refused = |text: &str, why: &str| {
        namespace.apply("routes", text);
        for server in [&a, &b] {
            let is_refused = |routes: &serde_json::Value| {
                routes["problem"]
                    .as_str()
                    .is_some_and(|problem| problem.contains(why))
            };
            server.await_routes(why, is_refused);
            assert!(server.serves("one"), "the last good one stays: {why}");
            assert_eq!(server.get("/readyz").0, 200);
        }
        namespace.await_event("Refused", why);
    };
    refused("routes: [", "not a valid route document");
    refused("", "not a valid route document");
    refused(&table(&["two"], "nobody"), "nobody");
    let needs = table(&["two"], "echo").replace("routes:", "requires: [teleport]\nroutes:");
    refused(&needs, "teleport");
    namespace.merge("routes", json!({"data": {"routes.yaml": null}}));
    a.await_routes("no key", |routes| {
        routes["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("has no key"))
    });
    let refusals = "mcpd_kubernetes_documents_total{document=\"routes\",result=\"refused\"}";
    assert!(a.metric(refusals) >= 5.0);
    // A write does not paper over what somebody else is at.
    let etag = a.etag();
    assert!(
        a.write(&etag, &["three"])
            .problem(503)
            .starts_with("nothing was written")
    );

    namespace.apply("routes", &table(&["four"], "echo"));
    for server in [&a, &b] {
        server.await_routes("the repair", |routes| routes["problem"].is_null());
        assert!(server.serves("four"));
    }
}

pub(crate) fn invalid_at_the_start(namespace: &Namespace) {
    namespace.apply("routes", "routes: [");
    let mut server = start(namespace, "pod-a").spawn_unready();
    let why = |code: u16, text: &str| code == 503 && text.contains("not a valid route document");
    server.await_get("/readyz?verbose", why);
    assert_eq!(server.get("/livez").0, 200);
    namespace.apply("routes", &table(&["one"], "echo"));
    server.await_data();
    assert!(server.serves("one"));
    const COPIES: &str = "mcpd_kubernetes_snapshots_total{document=\"routes\",result=\"ok\"}";
    server.await_get("/metrics", |_, page| page.contains(COPIES));

    // A container that is restarted while somebody has broken the document goes on with what was in force in
    // this pod; a new pod has nothing to go on with.
    namespace.apply("routes", "routes: [");
    server.await_routes("refusal", |routes| !routes["problem"].is_null());
    server.signal("KILL");
    server.await_exit();
    let again = start(namespace, "pod-a").spawn();
    assert!(again.serves("one"));
    let routes = again.routes();
    assert!(
        routes["source"].as_str().unwrap().starts_with("snapshot "),
        "{routes}"
    );
    assert!(
        routes["problem"]
            .as_str()
            .unwrap()
            .contains("not a valid route document")
    );
    let other = start(namespace, "pod-new").spawn_unready();
    other.await_get("/readyz?verbose", why);
}

pub(crate) fn newer_keys(namespace: &Namespace) {
    let newer = "apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 41\nflavour: {sour: true}\nroutes:\n  \
                 - {topic: one, handler: echo, colour: blue}\n";
    namespace.apply("routes", newer);
    let server = start(namespace, "pod-a").spawn();
    assert!(server.serves("one"));
    server
        .put("routes/two", "{\"topic\": \"two\", \"handler\": \"echo\"}")
        .ok();
    let text = namespace.text("routes");
    assert!(text.contains("revision: 42"), "{text}");
    for kept in ["flavour", "sour", "colour", "blue"] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
}

pub(crate) fn handlers(namespace: &Namespace) {
    let document = |body: &str| {
        format!(
            "{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{{name: hi, type: static, body: {body}}}]}}"
        )
    };
    let answer = |server: &Server| {
        let mut peer = server.peer();
        peer.request(1, "greet", b"");
        String::from_utf8(peer.expect().response().1).unwrap()
    };
    // Routes and handlers come in whichever order.
    namespace.apply("routes", &table(&["greet"], "hi"));
    let mut server = start(namespace, "pod-a").spawn_unready();
    server.await_get("/readyz?verbose", |code, text| {
        code == 503 && text.contains("hi")
    });
    namespace.apply("handlers", &document("hello"));
    server.await_data();
    assert_eq!(answer(&server), "hello");
    namespace.apply("handlers", &document("bye"));
    eventually("the other answer", || {
        (answer(&server) == "bye").then_some(())
    });
    // One that would take a live route's handler away is refused.
    namespace.apply(
        "handlers",
        "{apiVersion: mcpd/v1, kind: Handlers, handlers: []}",
    );
    namespace.await_event("Refused", "hi");
    assert_eq!(answer(&server), "bye");
    // Until the route is gone.
    let without = server.admin("DELETE", "routes/greet", &[], "");
    without.ok();
    server.await_log("the handlers document is in force");
    let text = namespace.text("handlers");
    eventually("no handler hi", || {
        (server.read("handlers/hi").status == 404).then_some(())
    });
    namespace.delete("handlers");
    eventually("the handlers again", || namespace.map("handlers"));
    assert_eq!(namespace.text("handlers"), text);
}

pub(crate) fn principals(namespace: &Namespace) {
    namespace.apply("routes", &table(&["one", "two"], "echo"));
    let mut server = start(namespace, "pod-a")
        .set("KUBERNETES__PRINCIPALS", "true")
        .spawn_unready();
    // Nobody is let in while it is not known who may be.
    server.await_get("/readyz?verbose", |code, text| {
        code == 503 && text.contains("mcpd-principals")
    });
    assert!(
        namespace.map("principals").is_none(),
        "it is nobody's to create"
    );
    let document = |allow: &str| {
        format!(
            "{{apiVersion: mcpd/v1, kind: Principals, principals: [{{name: all, anonymous: true, allow: [{allow}]}}]}}"
        )
    };
    namespace.apply("principals", "principals: [");
    server.await_get("/readyz?verbose", |code, text| {
        code == 503 && text.contains("mcpd-principals")
    });
    namespace.apply("principals", &document("one"));
    server.await_data();
    assert!(server.serves("one") && !server.serves("two"));
    namespace.apply("principals", &document("two"));
    eventually("the other permission", || {
        server.serves("two").then_some(())
    });
    assert!(!server.serves("one"));
    // The last good one stays, and is never written.
    namespace.apply("principals", "principals: [");
    namespace.await_event("Refused", "mcpd-principals");
    assert!(server.serves("two") && !server.serves("one"));
    namespace.delete("principals");
    server.await_log("is not there");
    assert!(server.serves("two") && !server.serves("one"));
    server
        .put(
            "routes/three",
            "{\"topic\": \"three\", \"handler\": \"echo\"}",
        )
        .ok();
    assert!(namespace.map("principals").is_none());
    // A copy does not stand for one that somebody took away.
    server.signal("KILL");
    server.await_exit();
    let again = start(namespace, "pod-a").set("KUBERNETES__PRINCIPALS", "true");
    let again = again.spawn_unready();
    again.await_get("/readyz?verbose", |code, text| {
        code == 503 && text.contains("is not there")
    });
}
