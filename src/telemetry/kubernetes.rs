//! What is counted of Kubernetes: requests, documents, Events.

use metrics::counter;

/// The documents that are kept in ConfigMaps.
pub(super) const DOCUMENTS: [&str; 3] = ["routes", "handlers", "principals"];
/// What the API server is asked to do.
pub(super) const VERBS: [&str; 6] = ["get", "list", "watch", "create", "update", "event"];
/// What came of it.
pub(super) const OUTCOMES: [&str; 6] = [
    "ok",
    "conflict",
    "forbidden",
    "refused",
    "unavailable",
    "unknown",
];

/// Counts what there is to Kubernetes. Series appear with the first event.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KubernetesMetrics;

impl KubernetesMetrics {
    /// A request was answered, or was not.
    pub(crate) fn request(self, verb: &'static str, outcome: &'static str) {
        counter!("mcpd_kubernetes_requests_total", "verb" => verb, "outcome" => outcome)
            .increment(1);
    }

    /// The watch of a document began again: `gone` means that the API server had forgotten where it was.
    pub(crate) fn watch_ended(self, document: &'static str, why: &'static str) {
        counter!("mcpd_kubernetes_watch_restarts_total", "document" => document, "reason" => why)
            .increment(1);
    }

    /// What a ConfigMap holds was taken or refused.
    pub(crate) fn document(self, document: &'static str, taken: bool) {
        let result = if taken { "ok" } else { "refused" };
        counter!("mcpd_kubernetes_documents_total", "document" => document, "result" => result)
            .increment(1);
    }

    /// A ConfigMap was created, from what.
    pub(crate) fn created(self, document: &'static str, from: &'static str) {
        counter!("mcpd_kubernetes_creations_total", "document" => document, "from" => from)
            .increment(1);
    }

    /// A document in force was copied to the directory of snapshots.
    pub(crate) fn snapshot(self, document: &'static str, written: bool) {
        let result = if written { "ok" } else { "failed" };
        counter!("mcpd_kubernetes_snapshots_total", "document" => document, "result" => result)
            .increment(1);
    }

    /// An Event was to be published.
    pub(crate) fn event(self, outcome: &'static str) {
        counter!("mcpd_kubernetes_events_total", "outcome" => outcome).increment(1);
    }
}
