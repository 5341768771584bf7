//! Which documents there are, and where each of them is kept.

use super::cluster::Cluster;
use super::source::Source;
use crate::auth;
use crate::config::Config;
use crate::handler;
use crate::router::document::{Document, ParseOptions};
use crate::router::store::{FileStore, FileStoreOptions, MemoryStore, RouteStore};
use std::path::PathBuf;
use std::sync::Arc;

/// The documents of a server.
pub(super) struct Documents {
    /// The routes.
    pub(super) store: Arc<dyn RouteStore>,
    /// How to call their store in logs.
    pub(super) source: String,
    /// The handlers, where they have a document.
    pub(super) handlers: Option<Source>,
    /// Who clients are, where anybody is asked.
    pub(super) principals: Option<Source>,
}

/// Where the configuration has them. Nothing is read yet. Must be called on the runtime of the control loop.
pub(super) fn open(config: &Config, cluster: Option<&Cluster>) -> Documents {
    #[cfg(feature = "kubernetes")]
    if let (Some(name), Some(cluster)) = (&config.kubernetes.name, cluster) {
        return shared::open(config, name, cluster);
    }
    #[cfg(not(feature = "kubernetes"))]
    let _ = cluster;
    let (store, source) = open_store(config);
    Documents {
        store,
        source,
        handlers: handlers_file(config),
        principals: principals_file(config),
    }
}

fn handlers_file(config: &Config) -> Option<Source> {
    let file = config.handlers_file.clone()?;
    Some(Source::file(
        "handlers_file",
        file,
        handler::MAX_DOCUMENT_BYTES,
    ))
}

fn principals_file(config: &Config) -> Option<Source> {
    let file = config.auth.principals.clone()?;
    Some(Source::file("auth.principals", file, auth::MAX_BYTES))
}

/// The routes and the handlers that can be looked at without asking anybody: files, or what a first start
/// would put into ConfigMaps.
pub(super) fn at_hand(config: &Config) -> (Arc<dyn RouteStore>, String, Option<Source>) {
    let seed = config
        .kubernetes
        .seed
        .as_ref()
        .filter(|_| config.kubernetes.name.is_some());
    let file = |name: &str| Some(seed?.join(name)).filter(|file| file.exists());
    let handlers = match file("handlers.yaml") {
        Some(file) => Some(Source::file(
            "kubernetes.seed",
            file,
            handler::MAX_DOCUMENT_BYTES,
        )),
        None => handlers_file(config),
    };
    let (store, source) = match file("routes.yaml") {
        Some(file) => of_file(file, config),
        None => open_store(config),
    };
    (store, source, handlers)
}

/// The store of routes that is no ConfigMap, and how to call it in logs.
fn open_store(config: &Config) -> (Arc<dyn RouteStore>, String) {
    if let Some(file) = &config.routes.file {
        return of_file(file.clone(), config);
    }
    // The embedded document is a constant that the tests parse.
    let store = MemoryStore::embedded().unwrap_or_else(|_| MemoryStore::new(Document::default()));
    (Arc::new(store), "the embedded defaults".to_owned())
}

fn of_file(file: PathBuf, config: &Config) -> (Arc<dyn RouteStore>, String) {
    let source = file.display().to_string();
    let parse = ParseOptions {
        strict: false,
        max_bytes: config.routes.max_bytes,
    };
    let options = FileStoreOptions {
        poll_interval: config.routes.poll_interval,
        parse,
    };
    (Arc::new(FileStore::new(file, options)), source)
}

#[cfg(feature = "kubernetes")]
mod shared {
    //! The documents of all replicas.

    use super::{Documents, principals_file};
    use crate::app::source::Source;
    use crate::config::{Config, KubernetesMode};
    use crate::kube::{
        Cluster, DocumentSettings, Events, Kind, MAX_DOCUMENT_BYTES, OtherPods, Others,
        SharedDocument,
    };
    use crate::router::store::{KubernetesStore, again};
    use std::sync::Arc;

    pub(super) fn open(config: &Config, name: &str, cluster: &Cluster) -> Documents {
        let keys = &config.kubernetes;
        let pod = pod();
        let settings = DocumentSettings {
            name: name.to_owned(),
            writes: keys.mode == KubernetesMode::Hot,
            create: keys.create,
            snapshots: keys.snapshots.clone(),
            poll: keys.poll,
            pod: pod.clone(),
        };
        let events = Events::new(cluster.clone(), pod.clone());
        let others = OtherPods::new(cluster.clone(), keys.peers_of(name), pod);
        let others: Arc<dyn Others> = Arc::new(others);
        let document = |kind, settings: DocumentSettings, again| {
            let (cluster, others, events) = (cluster.clone(), Arc::clone(&others), events.clone());
            SharedDocument::new(cluster, kind, settings, others, events, again)
        };
        let routes = document(Kind::Routes, settings.clone(), again);
        let as_it_was = |text: &str| Some(text.to_owned());
        let handlers = document(Kind::Handlers, settings.clone(), as_it_was);
        let principals = keys.principals.then(|| {
            // Whoever may change routes must not come by other rights that way.
            let settings = DocumentSettings {
                writes: false,
                ..settings
            };
            let document = document(Kind::Principals, settings, |_| None);
            Source::shared(document, None, crate::auth::MAX_BYTES)
        });
        let seed = keys
            .seed
            .as_ref()
            .map(|seed| seed.join(Kind::Handlers.key()));
        Documents {
            source: routes.to_string(),
            store: Arc::new(KubernetesStore::new(
                routes,
                config.routes.max_bytes,
                keys.seed.clone(),
            )),
            handlers: Some(Source::shared(handlers, seed, MAX_DOCUMENT_BYTES)),
            principals: principals.or_else(|| principals_file(config)),
        }
    }

    /// The name of the pod that this process runs in.
    fn pod() -> Option<String> {
        let named = |name| std::env::var(name).ok().filter(|pod| !pod.is_empty());
        named("POD_NAME").or_else(|| named("HOSTNAME"))
    }
}
