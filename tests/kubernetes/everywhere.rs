//! A write that waits for every replica of the headless Service.

use crate::client::{Got, JSON, call};
use crate::plane::{Namespace, eventually};
use crate::replica::{Replica as _, start, table};
use crate::slices::{Condition, Endpoint, own_ip, put};
use crate::support::Server;
use std::net::SocketAddr;

/// A replica that others reach.
struct Member {
    pod: &'static str,
    server: Server,
    /// Where it answers this test.
    admin: SocketAddr,
}

impl Member {
    fn start(namespace: &Namespace, pod: &'static str) -> Member {
        let start = start(namespace, pod).set("ADMIN__LISTEN", "127.0.0.1:0");
        let mut server = start.sidecar(SocketAddr::new(own_ip(), 0)).spawn();
        let admin = server.await_admin();
        Member { pod, server, admin }
    }

    fn is(&self, namespace: &Namespace, condition: Condition) {
        let endpoint = Endpoint {
            addr: self.server.sidecar,
            port: "http",
            pod: self.pod,
        };
        put(namespace, "mcpd-headless", &endpoint, condition);
    }

    /// Writes a route, and waits for all.
    fn write(&self, topic: &str, timeout: &str) -> Got {
        let path = format!("routes/{topic}?wait=all&timeout={timeout}");
        let body = format!("{{\"topic\": \"{topic}\", \"handler\": \"echo\"}}");
        call(self.admin, "PUT", &path, &[JSON], body.as_bytes())
    }
}

pub(crate) fn waits_for_all(namespace: &Namespace) {
    namespace.apply("routes", &table(&["one"], "echo"));
    let members = ["pod-a", "pod-b", "pod-c"].map(|pod| Member::start(namespace, pod));
    // Nobody is in the Service yet, so nothing is promised of anybody.
    let early = members[0].write("early", "300ms");
    assert_eq!(early.status, 202, "{early:?}");
    let problem = early.json()["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("no endpoint that serves"), "{problem}");

    members[0].is(namespace, Condition::Ready);
    members[1].is(namespace, Condition::Ready);
    members[2].is(namespace, Condition::Terminating);
    // Each learns of them in its own time.
    for member in &members {
        eventually("all three", || {
            member.write("warm", "20s");
            let known = member.server.metric("mcpd_peers{state=\"serving\"}");
            (known == 3.0).then_some(())
        });
    }
    for round in 0..10 {
        let topic = format!("t{round}");
        let written = members[round % 3].write(&topic, "20s");
        assert_eq!(written.ok()["converged"], true, "{written:?}");
        for member in &members {
            assert!(member.server.serves(&topic), "{} of {topic}", member.pod);
        }
    }
    one_that_is_stuck(namespace, &members);
}

/// One that serves and does not answer is named; one that does not serve is not waited for.
fn one_that_is_stuck(namespace: &Namespace, members: &[Member; 3]) {
    members[2].server.signal("STOP");
    let stuck = members[0].write("stuck", "3s");
    assert_eq!(stuck.status, 202, "{stuck:?}");
    let (told, etag) = (stuck.json(), stuck.etag());
    assert_eq!(told["etag"], etag.as_str());
    let straggler = &told["stragglers"][0];
    assert_eq!(
        (&straggler["server"], &straggler["node"]),
        (&"pod-c".into(), &"node-1".into())
    );
    assert!(members[1].server.serves("stuck"), "the write stands");
    members[2].is(namespace, Condition::NotReady);
    let without = members[0].write("without", "20s");
    assert_eq!(without.ok()["converged"], true);
    members[2].server.signal("CONT");
}
