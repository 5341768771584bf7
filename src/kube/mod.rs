//! Kubernetes: the one place that connects to the API server.
//!
//! [`Cluster`] is a handle that costs nothing until the first request. Then it takes the credentials of
//! the pod, or those of a kubeconfig, and keeps a pool of connections on the runtime it was made on, which
//! is never that of a data thread. Every request has an end ([`Settings::timeout`]); reads are tried
//! again until then, a write is made once, since only its maker knows whether twice is once too many.

mod config_map;
mod events;
mod failure;
#[cfg(test)]
mod fake;
mod follow;
mod headless;
mod others;
mod services;
mod shared;
mod slices;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use config_map::{Kind, MAX_DOCUMENT_BYTES};
pub(crate) use events::Events;
pub(crate) use failure::{Failure, Why};
pub(crate) use headless::Headless;
pub(crate) use others::{OtherPods, Others};
pub(crate) use services::Services;
pub(crate) use shared::{Origin, Settings as DocumentSettings, SharedDocument};
pub(crate) use slices::Family;

use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout_at};
use tower::{BoxError, ServiceExt};
use tower_layer::Layer;

/// How often a read is tried at most.
const ATTEMPTS: u32 = 4;
/// The pause after the first attempt that failed; each further one is twice as long, and a random part of it is left out.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where objects are looked for; `None` is the namespace of the pod or of the kubeconfig's context.
    pub(crate) namespace: Option<String>,
    /// How long a request may take, attempts and pauses included.
    pub(crate) timeout: Duration,
}

/// The way to a cluster. Clones share it.
#[derive(Clone)]
pub(crate) struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// Where connections live.
    runtime: Handle,
    connected: OnceCell<Connected>,
}

struct Connected {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// A way that is not taken yet: nothing is read and nobody is asked. Must be called on the runtime that
    /// connections are to live on.
    pub(crate) fn new(settings: Settings) -> Cluster {
        let inner = Inner {
            settings,
            runtime: Handle::current(),
            connected: OnceCell::new(),
        };
        Cluster {
            inner: Arc::new(inner),
        }
    }

    /// The same by a client that is there already.
    #[cfg(test)]
    pub(crate) fn by(client: Client, settings: Settings) -> Cluster {
        let namespace = client.default_namespace().to_owned();
        let cluster = Cluster::new(settings);
        let connected = Connected { client, namespace };
        assert!(cluster.inner.connected.set(connected).is_ok());
        cluster
    }

    /// How long a request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.inner.settings.timeout
    }

    /// The client, and the namespace where objects are.
    ///
    /// # Errors
    /// There are no credentials here, or they cannot be read: [`Why::Settings`].
    pub(crate) async fn client(&self) -> Result<(Client, &str), Failure> {
        let connect = || connect(&self.inner);
        let connected = self.inner.connected.get_or_try_init(connect).await?;
        Ok((connected.client.clone(), &connected.namespace))
    }

    /// Reads something, in as many attempts as fit into the time for one request.
    ///
    /// # Errors
    /// See [`Why`].
    pub(crate) async fn read<T, F>(
        &self,
        mut ask: impl FnMut(Client, String) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let end = Instant::now() + self.timeout();
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let failure = match self.until(end, &mut ask).await {
                Err(failure) if failure.why.passes() && attempt < ATTEMPTS => failure,
                done => return done,
            };
            let wait = pause.mul_f64(0.5 + crate::telemetry::random_unit() / 2.0);
            if Instant::now() + wait >= end {
                return Err(failure);
            }
            sleep(wait).await;
            (attempt, pause) = (attempt + 1, pause * 2);
        }
    }

    /// Writes something, once.
    ///
    /// # Errors
    /// See [`Why`]: it says whether the write may have been done.
    pub(crate) async fn write<T, F>(
        &self,
        ask: impl FnMut(Client, String) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>>,
    {
        self.until(Instant::now() + self.timeout(), ask).await
    }

    async fn until<T, F>(
        &self,
        end: Instant,
        mut ask: impl FnMut(Client, String) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let (client, namespace) = self.client().await?;
        match timeout_at(end, ask(client, namespace.to_owned())).await {
            Ok(done) => done.map_err(Failure::from),
            Err(_) => Err(Failure::late(self.timeout())),
        }
    }
}

async fn connect(inner: &Inner) -> Result<Connected, Failure> {
    let mut config = find().await?;
    if config.proxy_url.take().is_some() {
        tracing::warn!("the API server is not asked by way of a proxy");
    }
    let namespace = inner.settings.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    // What the client spawns belongs where this server's own work runs, whoever asks first.
    let _entered = inner.runtime.enter();
    let client = build(&config, &namespace).map_err(|error| Failure::settings(&error))?;
    tracing::info!(url = %config.cluster_url, namespace, "the way to Kubernetes");
    Ok(Connected { client, namespace })
}

/// The credentials of the pod; outside of one, or if `KUBECONFIG` is set, those of the kubeconfig.
async fn find() -> Result<Config, Failure> {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if in_pod && std::env::var_os("KUBECONFIG").is_none() {
        return Config::incluster().map_err(|error| Failure::settings(&error));
    }
    let options = KubeConfigOptions::default();
    let config = Config::from_kubeconfig(&options).await;
    config.map_err(|error| Failure::settings(&error))
}

/// A client without the retries and the log lines of the ready-made one: an API server that is away is
/// an ordinary thing here, and who asked knows what to do about it.
fn build(config: &Config, namespace: &str) -> kube::Result<Client> {
    let https = config.rustls_https_connector()?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(https);
    let service = config
        .extra_headers_layer()?
        .layer(http.map_err(BoxError::from));
    Ok(match config.auth_layer()? {
        Some(auth) => {
            let service = config.base_uri_layer().layer(auth.layer(service));
            ClientBuilder::new(service, namespace).build()
        }
        None => {
            let service = config.base_uri_layer().layer(service);
            ClientBuilder::new(service, namespace).build()
        }
    })
}
