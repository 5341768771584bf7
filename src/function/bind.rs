//! From functions and layers to handlers.

use super::codec::Codecs;
use super::extract::FromRequest;
use super::reply::IntoReply;
use super::{Failure, Request};
use crate::handler::Handler;
use crate::message::{Call, Outcome, Reply};
use mcpd_proto::topic::Pattern;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// A future in a box.
type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// A function with its state: a [`tower`](https://docs.rs/tower) service that never fails and is always ready.
#[derive(Clone)]
pub struct Bound(Arc<dyn Fn(Request) -> Answering + Send + Sync>);

impl Bound {
    fn new<F>(call: impl Fn(Request) -> F + Send + Sync + 'static) -> Bound
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        Bound(Arc::new(move |request| Box::pin(call(request))))
    }

    /// Puts a layer around it.
    pub(crate) fn layered<L>(self, layer: &L) -> Bound
    where
        L: Layer<Bound>,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoReply,
        <L::Service as Service<Request>>::Error: Into<Box<dyn Error + Send + Sync>>,
        <L::Service as Service<Request>>::Future: Send,
    {
        let service = layer.layer(self);
        Bound::new(move |request| ask(service.clone(), request))
    }
}

/// Waits until a service is ready, and asks it.
async fn ask<T>(mut service: T, request: Request) -> Reply
where
    T: Service<Request>,
    T::Response: IntoReply,
    T::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if let Err(error) = poll_fn(|cx| service.poll_ready(cx)).await {
        return broken(error.into());
    }
    match service.call(request).await {
        Ok(response) => response.into_reply(),
        Err(error) => broken(error.into()),
    }
}

/// A layer gave an error in place of an answer. Unless it was made of a [`Failure`] by [`Layered`]'s
/// rules, nobody knows how far the request had come.
fn broken(error: Box<dyn Error + Send + Sync>) -> Reply {
    tracing::warn!(%error, "a layer of a function failed");
    Failure::failed(error.to_string()).into_reply()
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bound")
    }
}

impl Service<Request> for Bound {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answering = (self.0)(request);
        Box::pin(async move { Ok(answering.await) })
    }
}

/// What can take a route's requests: an `async fn` (or a closure that gives a future) of up to eight
/// arguments, with or without layers. `T` stands for the arguments and is found by the compiler.
pub trait Function<T, S>: Sized {
    /// Gives it its state.
    fn bind(self, state: S) -> Bound;

    /// Puts a layer of [`tower`](https://docs.rs/tower) around it: the last one is the outermost. It is made
    /// once, so what it keeps (a number of places, a rate) holds for all requests of the route. An
    /// error of the layer's own is answered with INTERNAL.
    ///
    /// ```
    /// use mcpd::function::Function;
    /// use std::time::Duration;
    /// use tower::limit::ConcurrencyLimitLayer;
    ///
    /// async fn slow() -> &'static str { "done" }
    ///
    /// let server = mcpd::Server::builder().route("slow", slow.layer(ConcurrencyLimitLayer::new(2)));
    /// # drop(server);
    /// ```
    fn layer<L>(self, layer: L) -> Layered<L, Self, T, S> {
        Layered {
            layer,
            function: self,
            takes: PhantomData,
        }
    }
}

/// A function with a layer around it; see [`Function::layer`].
pub struct Layered<L, F, T, S> {
    layer: L,
    function: F,
    takes: PhantomData<fn(T, S)>,
}

impl<L, F, T, S> fmt::Debug for Layered<L, F, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layered")
    }
}

/// Tells layered functions from plain ones.
#[derive(Debug)]
pub struct InLayer<T>(PhantomData<T>);

impl<L, F, T, S> Function<InLayer<T>, S> for Layered<L, F, T, S>
where
    F: Function<T, S>,
    L: Layer<Bound>,
    L::Service: Service<Request> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Response: IntoReply,
    <L::Service as Service<Request>>::Error: Into<Box<dyn Error + Send + Sync>>,
    <L::Service as Service<Request>>::Future: Send,
{
    fn bind(self, state: S) -> Bound {
        self.function.bind(state).layered(&self.layer)
    }
}

macro_rules! function {
    ($($argument:ident),*) => {
        impl<F, Fut, R, S, $($argument,)*> Function<($($argument,)*), S> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send,
            R: IntoReply,
            S: Send + Sync + 'static,
            $($argument: FromRequest<S> + Send,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn bind(self, state: S) -> Bound {
                let shared = Arc::new((self, state));
                Bound::new(move |request| {
                    let shared = Arc::clone(&shared);
                    async move {
                        let (function, state) = &*shared;
                        $(
                            let $argument = match $argument::from_request(&request, state) {
                                Ok(value) => value,
                                Err(rejection) => return rejection.into_reply(),
                            };
                        )*
                        drop(request);
                        function($($argument),*).await.into_reply()
                    }
                })
            }
        }
    };
}

function!();
function!(A);
function!(A, B);
function!(A, B, C);
function!(A, B, C, D);
function!(A, B, C, D, E);
function!(A, B, C, D, E, G);
function!(A, B, C, D, E, G, H);
function!(A, B, C, D, E, G, H, I);

/// A function as the handler of a route.
struct Routed {
    function: Bound,
    pattern: Arc<Pattern>,
    codecs: Arc<Codecs>,
}

/// The handler that has a function answer; `pattern` is what [`Params`](super::Params) go by.
pub(crate) fn routed(function: Bound, pattern: Pattern, codecs: &Arc<Codecs>) -> Arc<dyn Handler> {
    Arc::new(Routed {
        function,
        pattern: Arc::new(pattern),
        codecs: Arc::clone(codecs),
    })
}

impl Handler for Routed {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let request = Request::new(call, &self.pattern, &self.codecs);
        let function = Arc::clone(&self.function.0);
        // Not called before it is polled: until then nothing of it has happened.
        Outcome::Later(Box::pin(async move { function(request).await.into() }))
    }
}
