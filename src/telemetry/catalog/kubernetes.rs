//! The part of the table that is about Kubernetes.

use super::metric::counter;
use super::{MetricGroup, Values};
use crate::telemetry::kubernetes::{DOCUMENTS, OUTCOMES, VERBS};

const DOCUMENT: Values = Values::OneOf(|| DOCUMENTS.to_vec());

pub(super) const GROUP: MetricGroup = MetricGroup {
    title: "Kubernetes",
    metrics: &[
        counter(
            "mcpd_kubernetes_requests_total",
            "Requests to the API server, by what came of them; `unknown` was lost or took too long.",
        )
        .labelled(&[
            ("verb", Values::OneOf(|| VERBS.to_vec())),
            ("outcome", Values::OneOf(|| OUTCOMES.to_vec())),
        ])
        .later(),
        counter(
            "mcpd_kubernetes_watch_restarts_total",
            "Watches that began again with a list, by why the last one ended.",
        )
        .labelled(&[
            ("document", DOCUMENT),
            (
                "reason",
                Values::OneOf(|| vec!["ended", "failed", "gone", "missed"]),
            ),
        ])
        .later(),
        counter(
            "mcpd_kubernetes_documents_total",
            "Documents of ConfigMaps that came into force or were refused.",
        )
        .labelled(&[("document", DOCUMENT), ("result", Values::OneOf(|| vec!["ok", "refused"]))])
        .later(),
        counter(
            "mcpd_kubernetes_creations_total",
            "ConfigMaps created: from the seed, through the admin API or, when somebody had deleted one, from the last good document.",
        )
        .labelled(&[
            ("document", DOCUMENT),
            ("from", Values::OneOf(|| vec!["api", "last_good", "seed"])),
        ])
        .later(),
        counter(
            "mcpd_kubernetes_snapshots_total",
            "Documents in force that were copied to kubernetes.snapshots, or could not be.",
        )
        .labelled(&[
            ("document", DOCUMENT),
            ("result", Values::OneOf(|| vec!["failed", "ok"])),
        ])
        .later(),
        counter(
            "mcpd_kubernetes_events_total",
            "Events about ConfigMaps: sent, counted up on one that was sent, not allowed, failed, or one too many.",
        )
        .labelled(&[(
            "outcome",
            Values::OneOf(|| vec!["dropped", "failed", "forbidden", "repeated", "sent"]),
        )])
        .later(),
    ],
};
