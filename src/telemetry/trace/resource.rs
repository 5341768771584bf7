//! Who the spans are of: this process, and where it runs.

use super::spans::SCHEMA_URL;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use std::borrow::Cow;

/// Variables that a pod's manifest fills by the downward API, and the attributes they become.
const DOWNWARD: [(&str, &str); 6] = [
    ("K8S_POD_NAME", "k8s.pod.name"),
    ("K8S_POD_UID", "k8s.pod.uid"),
    ("K8S_NAMESPACE", "k8s.namespace.name"),
    ("K8S_NODE_NAME", "k8s.node.name"),
    ("K8S_CONTAINER_NAME", "k8s.container.name"),
    ("K8S_DEPLOYMENT_NAME", "k8s.deployment.name"),
];

/// Longest value that is taken from such a variable: names in Kubernetes have at most 253 bytes.
const MAX_LEN: usize = 253;

/// What is known of this process. OTEL_RESOURCE_ATTRIBUTES goes before what we know ourselves, and
/// OTEL_SERVICE_NAME before all.
pub(super) fn resource(server_id: &str, env: impl Fn(&str) -> Option<String>) -> Resource {
    let own = [
        ("service.name", Cow::Borrowed("mcpd")),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
        ("service.instance.id", server_id.to_owned().into()),
    ];
    let downward = DOWNWARD.into_iter().filter_map(|(variable, key)| {
        let value = env(variable).filter(|value| (1..=MAX_LEN).contains(&value.len()))?;
        Some((key, value.into()))
    });
    let own = own.into_iter().chain(downward);
    let builder = Resource::builder_empty()
        .with_schema_url(
            own.map(|(key, value)| KeyValue::new(key, value)),
            SCHEMA_URL,
        )
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()) {
        Some(name) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}
