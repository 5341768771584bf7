//! `delay`: answers late, or fails on purpose; for trying things out.

use crate::handler::Handler;
use crate::message::{Answer, Body, Call, Outcome};
use crate::telemetry::random_unit;
use bytes::Bytes;
use mcpd_proto::ErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How late a [`Delay`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Always this late.
    Fixed(Duration),
    /// Anywhere in between, both ends included.
    Uniform(Duration, Duration),
}

impl Latency {
    fn draw(self) -> Duration {
        match self {
            Latency::Fixed(time) => time,
            Latency::Uniform(min, max) => min + max.saturating_sub(min).mul_f64(random_unit()),
        }
    }
}

/// Echoes the body after a while.
#[derive(Debug)]
pub struct Delay {
    latency: Latency,
    failure_percent: u8,
    /// `None` is any number at once.
    room: Option<Arc<Semaphore>>,
}

impl Delay {
    /// A handler that answers after `latency`, fails `failure_percent` of its requests with
    /// HANDLER_ERROR, and works on at most `concurrency` at once; the others wait their turn.
    pub fn new(latency: Latency, failure_percent: u8, concurrency: Option<usize>) -> Delay {
        let room = concurrency.map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS))));
        Delay {
            latency,
            failure_percent,
            room,
        }
    }
}

impl Handler for Delay {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let body = Bytes::copy_from_slice(call.body);
        let (latency, room) = (self.latency.draw(), self.room.clone());
        let fails = random_unit() * 100.0 < f64::from(self.failure_percent);
        Outcome::Later(Box::pin(async move {
            // The semaphore is never closed; without a permit there is merely no bound.
            let _turn = match &room {
                Some(room) => room.acquire().await.ok(),
                None => None,
            };
            tokio::time::sleep(latency).await;
            if fails {
                return Answer::error(
                    ErrorCode::HANDLER_ERROR,
                    "the delay handler was told to fail",
                );
            }
            Answer::Response {
                body: Body::Shared(body),
                content_type: None,
            }
        }))
    }
}
