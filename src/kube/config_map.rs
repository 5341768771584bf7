//! A ConfigMap with a document in it, and what may be asked of the API server about it.

use super::{Cluster, Failure, Why};
use crate::telemetry::KubernetesMetrics;
use futures_core::Stream;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::timeout;

/// Largest document that is written. A ConfigMap holds 1 MiB with all its metadata, of which `kubectl
/// apply` may make a second copy in part.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 768 << 10;

/// How long the API server keeps a watch open, in seconds.
const WATCH_SECONDS: u32 = 290;

/// Who writes, in the API server's books.
pub(super) const MANAGER: &str = "mcpd";

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The routes.
    Routes,
    /// The handlers.
    Handlers,
    /// Who clients are.
    Principals,
}

impl Kind {
    /// How it is called, in the ConfigMap's name too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Routes => "routes",
            Kind::Handlers => "handlers",
            Kind::Principals => "principals",
        }
    }

    /// The key of the ConfigMap that holds it, and the file of a seed or snapshot.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::Routes => "routes.yaml",
            Kind::Handlers => "handlers.yaml",
            Kind::Principals => "principals.yaml",
        }
    }
}

/// What the API server holds of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// There is no such ConfigMap.
    Absent,
    /// There is one.
    Found(Found),
}

/// A ConfigMap that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The document; `None` where the ConfigMap has no such key.
    pub(crate) text: Option<Arc<str>>,
    /// Its resourceVersion.
    pub(crate) version: String,
    /// Which of all ConfigMaps that ever had this name it is.
    pub(crate) uid: String,
}

impl Held {
    pub(super) fn of(map: Option<&ConfigMap>, kind: Kind) -> Held {
        let Some(map) = map else { return Held::Absent };
        let text = map.data.as_ref().and_then(|data| data.get(kind.key()));
        Held::Found(Found {
            text: text.map(|text| text.as_str().into()),
            version: map.metadata.resource_version.clone().unwrap_or_default(),
            uid: map.metadata.uid.clone().unwrap_or_default(),
        })
    }

    /// Whether both hold the same document. Labels and the like make no difference.
    pub(super) fn says_the_same(&self, other: &Held) -> bool {
        match (self, other) {
            (Held::Absent, Held::Absent) => true,
            (Held::Found(one), Held::Found(other)) => one.text == other.text,
            _ => false,
        }
    }
}

/// Changes of a ConfigMap, as they come.
pub(super) type Changes = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Send>>;

/// Where a document is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) cluster: Cluster,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) metrics: KubernetesMetrics,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigMap {}", self.name)
    }
}

impl Place {
    /// What is there now; read from where it was written last, never from a cache.
    pub(super) async fn get(&self) -> Result<Option<ConfigMap>, Failure> {
        let name = self.name.as_str();
        let got = self.cluster.read(|client, namespace| async move {
            let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
            maps.get_opt(name).await
        });
        self.counted("get", got.await)
    }

    /// The same, and from where to watch it.
    pub(super) async fn list(&self) -> Result<(Held, String), Failure> {
        let only = ListParams::default().fields(&self.selector());
        let only = &only;
        let listed = self.cluster.read(|client, namespace| async move {
            let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
            maps.list(only).await
        });
        let list = self.counted("list", listed.await)?;
        let version = list.metadata.resource_version.unwrap_or_default();
        Ok((Held::of(list.items.first(), self.kind), version))
    }

    /// Begins to watch it from there.
    pub(super) async fn watch(&self, version: &str) -> Result<Changes, Failure> {
        let params = WatchParams::default()
            .fields(&self.selector())
            .timeout(WATCH_SECONDS);
        let begin = async {
            let (client, namespace) = self.cluster.client().await?;
            let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
            let changes = maps.watch(&params, version).await?;
            Ok(Box::pin(changes) as Changes)
        };
        let late = |_| Err(Failure::late(self.cluster.timeout()));
        let begun = timeout(self.cluster.timeout(), begin).await;
        self.counted("watch", begun.unwrap_or_else(late))
    }

    /// Creates it with this document.
    pub(super) async fn create(
        &self,
        text: &str,
        annotations: &BTreeMap<String, String>,
    ) -> Result<ConfigMap, Failure> {
        let labels = [("app.kubernetes.io/managed-by", MANAGER)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.into()),
                annotations: Some(annotations.clone()),
                ..ObjectMeta::default()
            },
            data: Some([(self.kind.key().to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        let map = &map;
        let created = self.cluster.write(|client, namespace| async move {
            let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
            maps.create(&by_us(), map).await
        });
        self.counted("create", created.await)
    }

    /// Puts this document into `map`, on condition that it is still the version that was read. Everything
    /// else in it stays.
    pub(super) async fn update(
        &self,
        mut map: ConfigMap,
        text: &str,
    ) -> Result<ConfigMap, Failure> {
        let data = map.data.get_or_insert_default();
        data.insert(self.kind.key().to_owned(), text.to_owned());
        let (map, name) = (&map, self.name.as_str());
        let updated = self.cluster.write(|client, namespace| async move {
            let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
            maps.replace(name, &by_us(), map).await
        });
        self.counted("update", updated.await)
    }

    fn selector(&self) -> String {
        format!("metadata.name={}", self.name)
    }

    fn counted<T>(&self, verb: &'static str, done: Result<T, Failure>) -> Result<T, Failure> {
        let outcome = done
            .as_ref()
            .err()
            .map_or("ok", |failure| failure.why.label());
        self.metrics.request(verb, outcome);
        done
    }
}

fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

impl Why {
    /// How it is counted.
    pub(super) fn label(self) -> &'static str {
        match self {
            // Asking for what is not there is an answer, too.
            Why::NotFound => "ok",
            Why::Exists | Why::Conflict => "conflict",
            Why::Forbidden => "forbidden",
            Why::Gone | Why::Invalid | Why::TooLarge => "refused",
            Why::Unavailable | Why::Settings => "unavailable",
            Why::Unknown => "unknown",
        }
    }
}
