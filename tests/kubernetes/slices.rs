//! EndpointSlices as the controller of Kubernetes writes them.

use crate::plane::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// An endpoint of a Service.
pub(crate) struct Endpoint<'a> {
    pub(crate) addr: SocketAddr,
    /// The name of its port.
    pub(crate) port: &'a str,
    pub(crate) pod: &'a str,
}

#[derive(Clone, Copy)]
pub(crate) enum Condition {
    Ready,
    Terminating,
    NotReady,
}

/// Writes a slice of one endpoint, in this condition, called after its pod.
pub(crate) fn put(
    namespace: &Namespace,
    service: &str,
    endpoint: &Endpoint<'_>,
    condition: Condition,
) {
    let Endpoint { addr, port, pod } = endpoint;
    let (ready, serving, terminating) = match condition {
        Condition::Ready => (true, true, false),
        Condition::Terminating => (false, true, true),
        Condition::NotReady => (false, false, false),
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": pod, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": port, "port": addr.port(), "protocol": "TCP"}],
        "endpoints": [{
            "addresses": [addr.ip().to_string()],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": {"kind": "Pod", "name": pod}, "nodeName": "node-1",
        }],
    });
    let slices = namespace.api::<EndpointSlice>();
    let how = PatchParams::apply("tests").force();
    let done = async { slices.patch(pod, &how, &Patch::Apply(slice)).await };
    namespace.block_on(done).expect("the slice is written");
}

pub(crate) fn delete(namespace: &Namespace, pod: &str) {
    let slices = namespace.api::<EndpointSlice>();
    let done = async { slices.delete(pod, &DeleteParams::default()).await };
    namespace.block_on(done).expect("the slice was there");
}

/// An address of this machine that an EndpointSlice may have, which none of loopback is. What is sent there stays on
/// this machine.
pub(crate) fn own_ip() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: this only chooses the address.
    socket
        .connect("192.0.2.1:9")
        .expect("this machine has an address");
    socket.local_addr().unwrap().ip()
}
