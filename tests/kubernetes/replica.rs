//! A server that keeps its documents in a namespace.

use crate::client::{Admin, Got, YAML, call};
use crate::plane::{Namespace, eventually};
use crate::support::{Server, Start};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

/// `mcpd serve` as pod `pod` of an installation called mcpd.
pub(crate) fn start(namespace: &Namespace, pod: &str) -> Start {
    start_with(namespace, pod, &namespace.kubeconfig)
}

/// The same by other credentials.
pub(crate) fn start_with(namespace: &Namespace, pod: &str, kubeconfig: &Path) -> Start {
    let snapshots = namespace.files.path().join(pod);
    Start::new()
        .set("KUBERNETES__NAME", "mcpd")
        .set("KUBERNETES__NAMESPACE", &namespace.name)
        .set("KUBERNETES__SNAPSHOTS", snapshots.to_str().unwrap())
        .set("KUBERNETES__POLL", "2s")
        .set("KUBERNETES__TIMEOUT", "4s")
        .set("SERVER_ID", pod)
        // A busy machine takes its time, and what is tested here is not how much.
        .set("ADMIN__TIMEOUT", "60s")
        .with(|command| {
            command.env("KUBECONFIG", kubeconfig).env("POD_NAME", pod);
            // The API server is on loopback.
            command.env_remove("HTTPS_PROXY").env_remove("https_proxy");
        })
}

/// A route document of one route each from these topics to `handler`.
pub(crate) fn table(topics: &[&str], handler: &str) -> String {
    let route = |topic: &&str| format!("  - {{topic: {topic}, handler: {handler}}}\n");
    let routes: String = topics.iter().map(route).collect();
    format!("apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 1\nroutes:\n{routes}")
}

/// PUT of a document of one route each from these topics to `echo`.
pub(crate) fn write(sidecar: SocketAddr, etag: &str, topics: &[&str]) -> Got {
    let condition = format!("If-Match: {etag}");
    let body = table(topics, "echo");
    call(
        sidecar,
        "PUT",
        "routes",
        &[YAML, &condition],
        body.as_bytes(),
    )
}

/// What tests ask of a server.
pub(crate) trait Replica {
    fn routes(&self) -> Value;
    fn etag(&self) -> String;
    fn write(&self, etag: &str, topics: &[&str]) -> Got;
    fn await_routes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value;
    fn serves(&self, topic: &str) -> bool;
}

impl Replica for Server {
    /// What `state` says of the routes.
    fn routes(&self) -> Value {
        self.read("state").ok()["routes"].clone()
    }

    fn etag(&self) -> String {
        self.routes()["etag"]
            .as_str()
            .expect("routes are live")
            .to_owned()
    }

    fn write(&self, etag: &str, topics: &[&str]) -> Got {
        write(self.sidecar, etag, topics)
    }

    fn await_routes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || Some(self.routes()).filter(&wanted))
    }

    /// Whether a request to this topic is answered.
    fn serves(&self, topic: &str) -> bool {
        let mut peer = self.peer();
        peer.request(1, topic, b"hello");
        peer.expect().is_response()
    }
}
