//! What is sampled for traces, as far as the admin API has to do with it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Which frames are traced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Share of requests, 0 to 1.
    pub ratio: f64,
    /// Share of HEARTBEAT, HELLO and GOAWAY frames, 0 to 1.
    pub control_ratio: f64,
    /// Shares of single routes, by name.
    pub routes: BTreeMap<String, f64>,
    /// From when on a request is slow, and traced after the fact; 0 for never.
    pub slow_seconds: f64,
    /// Sampled parents that are followed in a second.
    pub parent_per_second: u32,
    /// Spans made after the fact in a second.
    pub late_per_second: u32,
}

/// What decides about sampling.
pub trait Sampling: Send + Sync + 'static {
    /// What holds now.
    fn rates(&self) -> Rates;
    /// What holds from now on.
    fn set(&self, rates: Rates);
}

/// Keeps what it is told and does nothing else.
#[derive(Debug)]
pub struct Fixed(Mutex<Rates>);

impl Default for Fixed {
    fn default() -> Fixed {
        Fixed(Mutex::new(Rates {
            ratio: 0.0,
            control_ratio: 0.0,
            routes: BTreeMap::new(),
            slow_seconds: 1.0,
            parent_per_second: 100,
            late_per_second: 10,
        }))
    }
}

impl Sampling for Fixed {
    fn rates(&self) -> Rates {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, rates: Rates) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rates;
    }
}
