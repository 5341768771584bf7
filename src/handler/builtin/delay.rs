//! `delay`: answers late, or fails on purpose; for trying things out.

use crate::handler::Handler;
use crate::message::{Answer, Body, Call, Outcome};
use crate::telemetry::random_unit;
use bytes::Bytes;
use mcpd_proto::ErrorCode;
use std::time::Duration;

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
}

impl Delay {
    /// A handler that answers after `latency` and fails `failure_percent` of its requests with
    /// HANDLER_ERROR.
    pub fn new(latency: Latency, failure_percent: u8) -> Delay {
        Delay {
            latency,
            failure_percent,
        }
    }
}

impl Handler for Delay {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let body = Bytes::copy_from_slice(call.body);
        let latency = self.latency.draw();
        let fails = random_unit() * 100.0 < f64::from(self.failure_percent);
        Outcome::Later(Box::pin(async move {
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
