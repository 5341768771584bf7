//! A whole server inside a program, with functions of that program as handlers.

use crate::app::{self, Addresses, Embedding, Host, Observed};
use crate::config::Config;
use crate::function::{Bound, Codec, Codecs, Function, IntoReply, Request, routed};
use crate::handler::{Handler, Handlers};
use crate::router::document::{
    Document, ParseOptions, PriorityBounds, RateLimitSpec, RouteSpec, Target, is_name,
};
use mcpd_proto::topic::Pattern;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

/// A server that is a part of a program.
///
/// It has all that `mcpd serve` has: both ports, limits, priorities, traces, the admin API, the orderly stop. What differs
/// is where handlers and routes come from.
///
/// ```
/// use mcpd::function::{Json, Params};
/// use mcpd_client::Client;
///
/// async fn greet(Params(params): Params) -> Json<String> {
///     Json(format!("hello {}", params[0]))
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = mcpd::Server::builder()
///     .listen("127.0.0.1:0".parse()?)   // any free port
///     .sidecar("127.0.0.1:0".parse()?)
///     .route("greet/+", greet)
///     .start()
///     .await?;
///
/// let client = Client::builder(server.data().to_string()).build().await?;
/// let answer = client.request("greet/ada").send().await?;
/// assert_eq!(&answer.body()[..], b"\"hello ada\"");
///
/// server.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    addresses: Addresses,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// A server cannot be built or started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl Server {
    /// Begins with the defaults of `mcpd serve` and no routes.
    pub fn builder() -> Builder<()> {
        Builder {
            config: Config::default(),
            state: (),
            routes: Vec::new(),
            functions: Vec::new(),
            handlers: Handlers::new(),
            layers: Vec::new(),
            codecs: Codecs::default(),
            problems: Vec::new(),
        }
    }

    /// Where it speaks MCP.
    pub fn data(&self) -> SocketAddr {
        self.addresses.data
    }

    /// Where it speaks HTTP: health, readiness, metrics and the admin API.
    pub fn sidecar(&self) -> SocketAddr {
        self.addresses.sidecar
    }

    /// Stops in order, as after Ctrl-C: new requests are refused, what is under way is answered, for at
    /// most `drain.finish`; then clients are told CLOSING. Dropping the server begins the same and does
    /// not wait for it.
    ///
    /// # Errors
    /// The server had ended before, and badly.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.stop);
        let broken = |_| Err(io::Error::other("the server's thread has broken off"));
        self.ended.await.unwrap_or_else(broken)
    }
}

/// A topic or pattern, and what holds for its requests. A text is one with the defaults.
///
/// ```
/// use mcpd::Route;
/// use std::time::Duration;
///
/// async fn slow() {}
///
/// let reports = Route::new("report/+").timeout(Duration::from_secs(5)).ordered();
/// let server = mcpd::Server::builder().route(reports, slow);
/// # drop(server);
/// ```
#[derive(Debug, Clone)]
pub struct Route(Result<RouteSpec, String>);

impl Route {
    /// A route for this topic or pattern, named after it.
    pub fn new(topic: impl AsRef<str>) -> Route {
        let topic = topic.as_ref();
        let pattern = Pattern::parse(topic).map_err(|error| format!("route {topic:?}: {error}"));
        Route(pattern.map(|pattern| {
            let mut route = RouteSpec::new(pattern, String::new());
            route.target = Target::Handler(route.name.clone());
            route
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut RouteSpec)) -> Route {
        if let Ok(route) = &mut self.0 {
            change(route);
        }
        self
    }

    /// Another name: 1 to 63 of `a-z 0-9 . _ -`. Metrics call it so, and the handler that it leads to.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Route {
        let name = name.into();
        if !is_name(&name) {
            return Route(Err(format!(
                "route name {name:?}: write 1 to 63 of a-z 0-9 . _ -"
            )));
        }
        self.with(|route| (route.name, route.target) = (name.clone(), Target::Handler(name)))
    }

    /// How long a request may take (default 30 s), from its last byte to its answer.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Route {
        self.with(|route| route.timeout = timeout)
    }

    /// Requests of one connection to one topic run one at a time, as they were sent.
    #[must_use]
    pub fn ordered(self) -> Route {
        self.with(|route| route.ordered = true)
    }

    /// At most so many requests a second.
    #[must_use]
    pub fn rate_limit(self, limit: RateLimitSpec) -> Route {
        self.with(|route| route.rate_limit = Some(limit))
    }

    /// Bounds for the priority by which requests get their turn.
    #[must_use]
    pub fn priority(self, bounds: PriorityBounds) -> Route {
        self.with(|route| route.priority = bounds)
    }
}

impl From<&str> for Route {
    fn from(topic: &str) -> Route {
        Route::new(topic)
    }
}

impl From<String> for Route {
    fn from(topic: String) -> Route {
        Route::new(topic)
    }
}

type Layering = Box<dyn Fn(Bound) -> Bound + Send>;

/// Puts a server together. `S` is the state that functions may ask for.
pub struct Builder<S> {
    config: Config,
    state: S,
    routes: Vec<RouteSpec>,
    functions: Vec<(String, Pattern, Bound)>,
    handlers: Handlers,
    layers: Vec<Layering>,
    codecs: Codecs,
    problems: Vec<String>,
}

impl<S> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}

impl<S: Clone + Send + Sync + 'static> Builder<S> {
    /// Another configuration, for all that has no method here; see [`config::load`](crate::config::load).
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where clients connect (default 127.0.0.1:8080); port 0 takes any free one.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.config.data.listen = addr;
        self
    }

    /// Where health, metrics and the admin API are (default 127.0.0.1:8081).
    #[must_use]
    pub fn sidecar(mut self, addr: SocketAddr) -> Self {
        self.config.sidecar.listen = addr;
        self
    }

    /// The state of the functions that are added from here on. It is cloned: put what is large or
    /// changes behind an `Arc`.
    #[must_use]
    pub fn with_state<T: Clone + Send + Sync + 'static>(self, state: T) -> Builder<T> {
        Builder {
            config: self.config,
            state,
            routes: self.routes,
            functions: self.functions,
            handlers: self.handlers,
            layers: self.layers,
            codecs: self.codecs,
            problems: self.problems,
        }
    }

    /// Has a function take the requests of a route. It becomes a handler of the route's name, to which other routes
    /// may lead, too, for example by the admin API.
    #[must_use]
    pub fn route<T>(mut self, route: impl Into<Route>, function: impl Function<T, S>) -> Self {
        match route.into().0 {
            Err(problem) => self.problems.push(problem),
            Ok(route) => {
                let bound = function.bind(self.state.clone());
                let (name, pattern) = (route.name.clone(), route.pattern.clone());
                self.functions.push((name, pattern, bound));
                self.routes.push(route);
            }
        }
        self
    }

    /// Has a route lead to a handler of some name: one that is configured or built in (`echo`, `monitor`), or stands
    /// in the handlers document (`handlers_file`).
    #[must_use]
    pub fn route_to(mut self, route: impl Into<Route>, handler: impl Into<String>) -> Self {
        match route.into().0 {
            Err(problem) => self.problems.push(problem),
            Ok(mut route) => {
                route.target = Target::Handler(handler.into());
                self.routes.push(route);
            }
        }
        self
    }

    /// Names a function without a route, for routes that come from a file (`routes.file`) or the admin
    /// API. [`Params`](crate::function::Params) has the whole topic then.
    #[must_use]
    pub fn function<T>(mut self, name: &str, function: impl Function<T, S>) -> Self {
        match (is_name(name), Pattern::parse("#")) {
            (true, Ok(all)) => {
                let bound = function.bind(self.state.clone());
                self.functions.push((name.to_owned(), all, bound));
            }
            _ => self.problems.push(format!(
                "function name {name:?}: write 1 to 63 of a-z 0-9 . _ -"
            )),
        }
        self
    }

    /// Names a handler that sees frames as they are; it may answer in place, which takes no task and no allocation.
    #[must_use]
    pub fn handler(mut self, name: &str, handler: impl Handler) -> Self {
        self.handlers.insert(name, Arc::new(handler));
        self
    }

    /// Puts a layer of [`tower`](https://docs.rs/tower) around every function, whenever it is added; what
    /// the layer keeps is each function's own. The last one is the outermost.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Bound> + Send + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoReply,
        <L::Service as Service<Request>>::Error: Into<Box<dyn Error + Send + Sync>>,
        <L::Service as Service<Request>>::Future: Send,
    {
        let layering = move |bound: Bound| bound.layered(&layer);
        self.layers.push(Box::new(layering));
        self
    }

    /// Adds a format to those that [`Payload`](crate::function::Payload) knows.
    #[must_use]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codecs.add(codec);
        self
    }

    /// Starts the server on threads of its own and waits until it listens. Signals, standard output and logs stay
    /// the program's.
    ///
    /// # Errors
    /// What is wrong with the routes, or what keeps it from listening.
    pub async fn start(self) -> Result<Server, StartError> {
        let (started, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let host = Host {
            started,
            stop: stopped,
        };
        let (config, embedding) = self.build(Some(host))?;
        let observed = Observed::unlogged(&config);
        let thread = std::thread::Builder::new().name("mcpd".to_owned());
        let run = move || {
            let result = serve(config, observed, embedding);
            // Whoever dropped the server does not wait for its end.
            let _ = end.send(result);
        };
        let failed = |error: io::Error| StartError(format!("no thread for the server: {error}"));
        thread.spawn(run).map_err(failed)?;
        match listening.await {
            Ok(Ok(addresses)) => Ok(Server {
                addresses,
                stop,
                ended,
            }),
            Ok(Err(what)) => Err(StartError(what)),
            Err(_) => Err(match ended.await {
                Ok(Err(error)) => StartError(error.to_string()),
                _ => StartError("the server ended before it listened".to_owned()),
            }),
        }
    }

    /// Is the whole program from here on: logs, tells its ports on standard output, stops in order on SIGTERM and Ctrl-C. Returns
    /// when that is done.
    ///
    /// # Errors
    /// What is wrong with the routes, or no threads or signals are to be had.
    pub fn run(self) -> io::Result<()> {
        let (config, embedding) = self.build(None).map_err(io::Error::other)?;
        let observed = app::observe(&config).map_err(io::Error::other)?;
        serve(config, observed, embedding)
    }

    fn build(self, host: Option<Host>) -> Result<(Config, Embedding), StartError> {
        let Builder {
            config,
            routes,
            functions,
            mut handlers,
            layers,
            codecs,
            mut problems,
            ..
        } = self;
        if config.routes.file.is_some() && !routes.is_empty() {
            let text = "routes.file: the routes of this program would not be those of the file; name \
                        functions with `function`, or do without the file";
            problems.push(text.to_owned());
        }
        let document = Document {
            revision: 1,
            routes,
            ..Document::default()
        };
        // By the rules of a document that comes from a file.
        let read = Document::parse(document.to_yaml().as_bytes(), &ParseOptions::default());
        problems.extend(read.err().map(|error| error.to_string()));
        if !problems.is_empty() {
            return Err(StartError(problems.join("\n")));
        }
        let codecs = Arc::new(codecs);
        for (name, pattern, bound) in functions {
            let layered = layers.iter().fold(bound, |bound, layer| layer(bound));
            handlers.insert(name, routed(layered, pattern, &codecs));
        }
        let embedding = Embedding {
            handlers,
            document: Some(document),
            host,
        };
        Ok((config, embedding))
    }
}

fn serve(config: Config, observed: Observed, embedding: Embedding) -> io::Result<()> {
    let same = config.clone();
    app::serve_with(
        config,
        observed,
        Box::new(move || Ok(same.clone())),
        embedding,
    )
}
