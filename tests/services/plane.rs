//! An API server of a test's own, and what stands in it.

use crate::support::Start;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tokio::runtime::Runtime;

/// etcd and a kube-apiserver on loopback; they end with it.
pub(crate) struct Plane {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) kubeconfig: String,
    runtime: Runtime,
    slices: Api<EndpointSlice>,
    _dir: tempfile::TempDir,
}

impl Plane {
    pub(crate) fn start() -> Plane {
        let dir = crate::support::scratch();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/control-plane");
        let mut child = Command::new(script)
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the control plane starts");
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut kubeconfig = String::new();
        answers.read_line(&mut kubeconfig).unwrap();
        let kubeconfig = kubeconfig.trim().to_owned();
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(client(&kubeconfig));
        Plane {
            orders: child.stdin.take(),
            child,
            answers,
            kubeconfig,
            slices: Api::default_namespaced(client),
            runtime,
            _dir: dir,
        }
    }

    /// `stop` or `start` of the API server.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("{order} done"));
    }

    /// A server that keeps its documents here, by this name.
    pub(crate) fn server(&self, name: &str) -> Start {
        Start::new()
            .with(|command| {
                command.env("KUBECONFIG", &self.kubeconfig);
            })
            .set("KUBERNETES__NAME", name)
    }

    /// Writes a slice: one address with one port, in this condition.
    pub(crate) fn put(&self, name: &str, service: &str, endpoint: &Endpoint<'_>) {
        let Endpoint {
            addr,
            port,
            pod,
            condition,
        } = endpoint;
        let (ready, serving, terminating) = match condition {
            Condition::Ready => (true, true, false),
            Condition::Terminating => (false, true, true),
            Condition::NotReady => (false, false, false),
        };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "ports": [{"name": port, "port": addr.port(), "protocol": "TCP"}],
            "endpoints": [{
                "addresses": [addr.ip().to_string()],
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                "targetRef": {"kind": "Pod", "name": pod},
            }],
        });
        self.patch(name, &slice);
    }

    fn patch(&self, name: &str, slice: &Value) {
        let how = PatchParams::apply("tests").force();
        let done = self.slices.patch(name, &how, &Patch::Apply(slice));
        self.runtime.block_on(done).expect("the slice is written");
    }

    pub(crate) fn delete(&self, name: &str) {
        let how = DeleteParams::default();
        let done = self.slices.delete(name, &how);
        self.runtime.block_on(done).expect("the slice was there");
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // The end of its orders is its own.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// An endpoint of a Service.
pub(crate) struct Endpoint<'a> {
    pub(crate) addr: SocketAddr,
    /// The name of its port.
    pub(crate) port: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) condition: Condition,
}

#[derive(Clone, Copy)]
pub(crate) enum Condition {
    Ready,
    Terminating,
    NotReady,
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default());
    Client::try_from(config.await.unwrap()).unwrap()
}

/// An address of this machine that an EndpointSlice may have, which none of loopback is. What is sent there stays on
/// this machine.
pub(crate) fn own_ip() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: that only chooses the address.
    socket.connect("192.0.2.1:9").expect("this machine has an address");
    socket.local_addr().unwrap().ip()
}
