//! Documents in ConfigMaps: real servers, and a real kube-apiserver with its etcd.
//!
//! An API server takes seconds to start, so scenarios share one, each in a namespace of its own; those that stop it
//! have another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps a test fails it, too"
)]
#![cfg(feature = "kubernetes")]

#[path = "../admin/client.rs"]
#[expect(dead_code, reason = "this binary uses its part of it")]
mod client;
mod documents;
mod endpoints;
mod everywhere;
mod outage;
mod plane;
mod replica;
mod rights;
mod slices;
#[path = "../support/mod.rs"]
mod support;

use plane::{Namespace, Plane};

/// What is called so, and what happens there.
type Scenario = (&'static str, fn(&Namespace));

/// Runs scenarios at once, each in its own namespace; the output of one that fails has its name.
fn together(plane: &Plane, scenarios: &[Scenario]) {
    std::thread::scope(|scope| {
        for (name, scenario) in scenarios {
            let namespace = plane.namespace(name);
            std::thread::Builder::new()
                .name((*name).to_owned())
                .spawn_scoped(scope, move || scenario(&namespace))
                .expect("a thread");
        }
    });
}

#[test]
fn replicas_share_documents_and_survive_what_happens_to_them() {
    let plane = Plane::start();
    together(
        &plane,
        &[
            ("first-replicas-agree-on-the-seed", documents::seeding),
            (
                "a-write-is-live-everywhere",
                documents::a_write_is_live_everywhere,
            ),
            ("of-two-writers-one-is-refused", documents::two_writers),
            (
                "what-is-deleted-comes-back",
                documents::deleted_and_recreated,
            ),
            ("a-bad-document-changes-nothing", documents::invalid),
        ],
    );
    together(
        &plane,
        &[
            (
                "a-bad-document-at-the-start",
                documents::invalid_at_the_start,
            ),
            ("newer-keys-are-kept", documents::newer_keys),
            ("handlers-have-a-config-map", documents::handlers),
            ("principals-fail-closed", documents::principals),
            ("declared-documents-are-not-written", rights::declarative),
            ("the-rights-that-are-documented-suffice", rights::exact),
            (
                "requests-follow-the-slices-of-a-service",
                endpoints::follow_the_slices,
            ),
            ("a-write-waits-for-every-replica", everywhere::waits_for_all),
        ],
    );
}

#[test]
fn an_api_server_that_goes_away_takes_nothing_along() {
    let mut plane = Plane::start();
    let namespace = plane.namespace("outage");
    outage::a_while_without(&mut plane, &namespace);
    let namespace = plane.namespace("endpoints-outlive-it");
    endpoints::outlive_the_api_server(&mut plane, &namespace);
}
