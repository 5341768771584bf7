//! A real kube-apiserver with its etcd, and what an administrator does with it.

use crate::support::PATIENCE;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as RawNamespace};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A control plane; stopped when dropped.
pub(crate) struct Plane {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    runtime: Arc<Runtime>,
    client: Client,
    pub(crate) directory: TempDir,
}

impl Plane {
    /// Starts one; builds its programs the first time, which takes minutes.
    pub(crate) fn start() -> Plane {
        let directory = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/control-plane");
        let mut child = Command::new(script)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let orders = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut kubeconfig = String::new();
        answers.read_line(&mut kubeconfig).unwrap();
        assert!(!kubeconfig.is_empty(), "no control plane; see above");
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(client(Path::new(kubeconfig.trim())));
        Plane {
            child,
            orders,
            answers,
            runtime: Arc::new(runtime),
            client,
            directory,
        }
    }

    /// Has the API server `stop`ped or `start`ed, and waits until that is done.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), format!("{order} done"));
    }

    /// Suspends the API server with all its connections (`STOP`), or wakes it (`CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.directory.path().join("apiserver.pid")).unwrap();
        let done = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid.trim())
            .status();
        assert!(done.unwrap().success());
    }

    /// A namespace with nothing in it.
    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        let namespaces: Api<RawNamespace> = Api::all(self.client.clone());
        let namespace = RawNamespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..RawNamespace::default()
        };
        let post = PostParams::default();
        let created = namespaces.create(&post, &namespace);
        self.runtime.block_on(created).unwrap();
        Namespace {
            name: name.to_owned(),
            kubeconfig: self.directory.path().join("kubeconfig"),
            files: tempfile::tempdir().unwrap(),
            runtime: Arc::clone(&self.runtime),
            client: self.client.clone(),
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.orders = None;
        let _ = self.child.wait();
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    config.proxy_url = None;
    Client::try_from(config).unwrap()
}

/// A namespace, and an administrator's hands in it.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) kubeconfig: PathBuf,
    /// For seeds and snapshots.
    pub(crate) files: TempDir,
    runtime: Arc<Runtime>,
    client: Client,
}

impl Namespace {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The ConfigMap of a document, if it is there.
    pub(crate) fn map(&self, document: &str) -> Option<ConfigMap> {
        let maps = self.api::<ConfigMap>();
        self.block_on(maps.get_opt(&format!("mcpd-{document}")))
            .unwrap()
    }

    /// The document in its ConfigMap.
    pub(crate) fn text(&self, document: &str) -> String {
        let data = self
            .map(document)
            .expect("the ConfigMap")
            .data
            .unwrap_or_default();
        data[&format!("{document}.yaml")].clone()
    }

    /// Has the ConfigMap hold this, as `kubectl apply` would.
    pub(crate) fn apply(&self, document: &str, text: &str) {
        let (name, key) = (format!("mcpd-{document}"), format!("{document}.yaml"));
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name}, "data": {key: text},
        });
        self.patch(
            &name,
            &Patch::Apply(map),
            &PatchParams::apply("kubectl").force(),
        );
    }

    /// Changes the ConfigMap in place.
    pub(crate) fn merge(&self, document: &str, change: Value) {
        let name = format!("mcpd-{document}");
        self.patch(&name, &Patch::Merge(change), &PatchParams::default());
    }

    fn patch(&self, name: &str, patch: &Patch<Value>, params: &PatchParams) {
        let maps = self.api::<ConfigMap>();
        self.block_on(maps.patch(name, params, patch)).unwrap();
    }

    /// `kubectl delete configmap`.
    pub(crate) fn delete(&self, document: &str) {
        let maps = self.api::<ConfigMap>();
        let name = format!("mcpd-{document}");
        self.block_on(maps.delete(&name, &DeleteParams::default()))
            .unwrap();
    }

    /// Waits for an Event of this reason whose note has `text` in it.
    pub(crate) fn await_event(&self, reason: &str, text: &str) -> Event {
        let events = self.api::<Event>();
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some(reason)
                && event
                    .note
                    .as_deref()
                    .is_some_and(|note| note.contains(text))
        };
        eventually(&format!("an Event {reason} with {text:?}"), || {
            let list = self.block_on(events.list(&ListParams::default())).unwrap();
            list.items.into_iter().find(is_it)
        })
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
