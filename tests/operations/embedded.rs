//! The data port inside this process, with handlers that tests write themselves.

use mcpd::conn::{ListenSettings, Listener, Registry, Settings};
use mcpd::dispatch::{BindOptions, BoundRoute, Dispatcher, bind};
use mcpd::handler::{Handler, Handlers};
use mcpd::router::document::{Document, ParseOptions};
use mcpd::router::handle::Handle;
use mcpd::scheduler::Scheduler;
use mcpd::telemetry::{ConnMetrics, RouteCatalog};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// A listener on a free port with two data threads.
#[allow(dead_code, reason = "each test binary uses its part of this")]
pub(crate) struct Embedded {
    pub(crate) addr: SocketAddr,
    pub(crate) registry: Arc<Registry>,
    table: Handle<Arc<BoundRoute>>,
    handlers: Handlers,
    pub(crate) scheduler: Scheduler,
    pub(crate) catalog: Arc<RouteCatalog>,
    pub(crate) options: BindOptions,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// A document of `(topic, handler)`.
pub(crate) fn document(routes: &[(&str, &str)]) -> Document {
    let mut text = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n".to_owned();
    for (topic, handler) in routes {
        text += &format!("  - {{topic: {topic}, handler: {handler}}}\n");
    }
    let loaded = Document::parse(text.as_bytes(), &ParseOptions::default());
    loaded.expect("a valid document").document
}

impl Embedded {
    /// Serves `document`, whose handlers are given.
    pub(crate) fn start(handlers: Vec<(&str, Arc<dyn Handler>)>, document: &Document) -> Embedded {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (table, registry) = (Handle::default(), Arc::<Registry>::default());
        let catalog = Arc::<RouteCatalog>::default();
        let mut named = Handlers::new();
        for (name, handler) in handlers {
            named.insert(name, handler);
        }
        let listener = runtime.block_on(async {
            Listener::bind(
                watch::channel(settings()).1,
                Dispatcher::new(table.clone()),
                Arc::new(ConnMetrics::new(Arc::clone(&catalog))),
                Arc::clone(&registry),
                Vec::new(),
            )
        });
        let listener = listener.expect("a free port");
        let addr = listener.local_addr();
        runtime.spawn(listener.run());
        let handlers = named;
        let options = BindOptions {
            allow_faults: true,
            ..BindOptions::new(runtime.handle().clone())
        };
        let embedded = Embedded {
            addr,
            registry,
            table,
            handlers,
            scheduler: Scheduler::default(),
            catalog,
            options,
            runtime,
        };
        embedded.swap(document);
        embedded
    }

    /// Makes a document live.
    pub(crate) fn swap(&self, document: &Document) {
        let before = self.table.table();
        let table = bind(
            document,
            &self.handlers,
            &self.scheduler,
            &self.catalog,
            &before,
            &self.options,
        );
        self.table.store(table.expect("its handlers are there"));
    }
}

fn settings() -> Settings {
    let listen = ListenSettings {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ListenSettings::default()
    };
    Settings {
        listen: Arc::new(listen),
        ..Settings::default()
    }
}
