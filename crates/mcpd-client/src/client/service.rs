//! The client as a [`tower_service::Service`], so that its layers apply: timeouts, rate and
//! concurrency limits, load shedding.

use super::Client;
use crate::connector::BoxFuture;
use crate::error::{Error, Result};
use crate::reply::Answer;
use crate::request::Request;
use std::task::{Context, Poll};
use tower_service::Service;

impl Service<Request> for Client {
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer>>;

    /// Always ready: a call waits for its connection by itself, within its own time.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}
