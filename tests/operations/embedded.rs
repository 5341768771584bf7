//! The data port inside this process, with handlers that tests write themselves.

use mcpd::conn::{ConnSettings, ListenSettings, Listener, Registry, Settings};
use mcpd::dispatch::{BoundRoute, Dispatcher, bind};
use mcpd::handler::{Handler, Handlers};
use mcpd::router::document::{Document, ParseOptions};
use mcpd::router::handle::Handle;
use mcpd::telemetry::{ConnMetrics, RouteCatalog};
use mcpd_proto::session::ServerSettings;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A listener on a free port with two data threads.
pub(crate) struct Embedded {
    pub(crate) addr: SocketAddr,
    pub(crate) registry: Arc<Registry>,
    table: Handle<Arc<BoundRoute>>,
    handlers: Handlers,
    catalog: Arc<RouteCatalog>,
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
        let embedded = Embedded {
            addr,
            registry,
            table,
            handlers,
            catalog,
            runtime,
        };
        embedded.swap(document);
        embedded
    }

    /// Makes a document live.
    pub(crate) fn swap(&self, document: &Document) {
        let before = self.table.table();
        let table = bind(document, &self.handlers, &self.catalog, &before, false);
        self.table.store(table.expect("its handlers are there"));
    }
}

fn settings() -> Settings {
    let conn = ConnSettings {
        session: Arc::new(ServerSettings::default()),
        max_in_flight_bytes: 8 << 20,
        max_outbound_bytes: 4 << 20,
        write_timeout: Duration::from_secs(30),
        max_age: Duration::ZERO,
        max_age_jitter: 0,
        goaway_grace: Duration::from_secs(60),
        close_linger: Duration::from_secs(2),
        allow_plaintext_token: false,
    };
    let listen = ListenSettings {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        backlog: 1024,
        max_connections: 1000,
        accepts_per_second: 0,
        proxy_protocol: false,
        proxy_timeout: Duration::from_secs(10),
        keepalive: Duration::ZERO,
        user_timeout: Duration::ZERO,
    };
    Settings {
        listen: Arc::new(listen),
        conn: Arc::new(conn),
    }
}
