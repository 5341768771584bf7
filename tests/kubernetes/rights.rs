//! What a server may do, and what it does not even try.

use crate::client::{Admin, YAML};
use crate::plane::{Namespace, eventually};
use crate::replica::{Replica, start_with, table};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use serde_json::{Value, json};
use std::path::PathBuf;

const DOCUMENTS: [&str; 3] = ["mcpd-routes", "mcpd-handlers", "mcpd-principals"];

/// A kubeconfig of a ServiceAccount that has these rights and no others.
fn account(namespace: &Namespace, rules: &Value) -> PathBuf {
    let post = PostParams::default();
    let named = |value: Value| {
        let mut object = value;
        object["metadata"] = json!({"name": "mcpd"});
        object
    };
    let account: ServiceAccount = serde_json::from_value(named(json!({}))).unwrap();
    let role: Role = serde_json::from_value(named(json!({"rules": rules}))).unwrap();
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mcpd"},
        "subjects": [{"kind": "ServiceAccount", "name": "mcpd", "namespace": namespace.name}],
    });
    let binding: RoleBinding = serde_json::from_value(named(binding)).unwrap();
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let accounts = namespace.api::<ServiceAccount>();
    let token: TokenRequest = namespace.block_on(async {
        accounts.create(&post, &account).await.unwrap();
        namespace.api::<Role>().create(&post, &role).await.unwrap();
        namespace
            .api::<RoleBinding>()
            .create(&post, &binding)
            .await
            .unwrap();
        accounts
            .create_subresource("token", "mcpd", &post, &request)
            .await
            .unwrap()
    });
    let admin = std::fs::read_to_string(&namespace.kubeconfig).unwrap();
    let (before, after) = admin.split_once("{token: \"").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    let token = token.status.unwrap().token;
    let path = namespace.files.path().join("kubeconfig");
    std::fs::write(&path, format!("{before}{{token: \"{token}\"{after}")).unwrap();
    path
}

/// The rights that docs/kubernetes.md lists, without those to write.
fn reading() -> Vec<Value> {
    vec![
        json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": DOCUMENTS, "verbs": ["get", "list", "watch"]}),
        json!({"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}),
        json!({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}),
    ]
}

pub(crate) fn exact(namespace: &Namespace) {
    let mut rules = reading();
    rules.push(json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": DOCUMENTS, "verbs": ["update"]}));
    rules.push(json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}));
    let kubeconfig = account(namespace, &json!(rules));
    let server = start_with(namespace, "pod-a", &kubeconfig).spawn();
    namespace.await_event("Created", "from the seed");
    let created = "mcpd_kubernetes_creations_total{document=\"routes\",from=\"seed\"}";
    assert_eq!(server.metric(created), 1.0);
    server.write(&server.etag(), &["one"]).ok();
    namespace.delete("routes");
    server.await_routes("the next revision", |routes| routes["revision"] == 3);
    for _ in 0..2 {
        namespace.apply("routes", "routes: [");
        namespace.await_event("Refused", "not a valid route document");
        namespace.apply("routes", &table(&["one"], "echo"));
        server.await_routes("the repair", |routes| routes["problem"].is_null());
    }
    let forbidden = server
        .get("/metrics")
        .1
        .lines()
        .any(|line| line.contains("forbidden"));
    assert!(!forbidden, "{}", server.get("/metrics").1);
    assert_eq!(
        server.metric("mcpd_kubernetes_events_total{outcome=\"repeated\"}"),
        1.0
    );
}

pub(crate) fn declarative(namespace: &Namespace) {
    let kubeconfig = account(namespace, &json!(reading()));
    let declarative = |pod: &str| {
        let start = start_with(namespace, pod, &kubeconfig);
        start.set("KUBERNETES__MODE", "declarative")
    };
    // Nothing is created from the seed: it is to be waited for.
    let mut server = declarative("pod-a").spawn_unready();
    server.await_get("/readyz?verbose", |code, text| {
        code == 503 && text.contains("may not create it")
    });
    namespace.apply("routes", &table(&["one"], "echo"));
    server.await_data();
    assert!(server.serves("one"));

    let etag = server.etag();
    let condition = format!("If-Match: {etag}");
    let body = table(&["two"], "echo");
    let route = "{\"topic\": \"two\", \"handler\": \"echo\"}";
    for (method, path, body) in [
        ("PUT", "routes", body.as_str()),
        ("PUT", "routes/two", route),
        ("DELETE", "routes/one", ""),
    ] {
        let refused = server.admin(method, path, &[YAML, &condition], body);
        assert!(refused.problem(405).contains("declared elsewhere"));
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    namespace.apply("routes", &table(&["three"], "echo"));
    server.await_routes("the declared table", |_| server.serves("three"));
    namespace.delete("routes");
    server.await_routes("the problem", |routes| routes["problem"].is_string());
    assert!(server.serves("three"));
    let page = server.get("/metrics").1;
    for verb in ["create", "update"] {
        assert!(
            !page.contains(&format!("requests_total{{verb=\"{verb}\"")),
            "{page}"
        );
    }
    eventually("its Events", || {
        (server.metric("mcpd_kubernetes_events_total{outcome=\"sent\"}") >= 1.0).then_some(())
    });
}
