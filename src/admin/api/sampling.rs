//! What is sampled for traces, as far as the admin API has to do with it.

use crate::telemetry::SamplingSettings;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which frames are traced.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The same for each principal, within that.
    pub parent_per_principal: u32,
    /// Spans made after the fact in a second.
    pub late_per_second: u32,
}

impl From<SamplingSettings> for Rates {
    fn from(settings: SamplingSettings) -> Rates {
        Rates {
            ratio: settings.ratio,
            control_ratio: settings.control_ratio,
            routes: settings.routes,
            slow_seconds: settings.slow.unwrap_or_default().as_secs_f64(),
            parent_per_second: settings.parent_per_second,
            parent_per_principal: settings.parent_per_principal,
            late_per_second: settings.late_per_second,
        }
    }
}

impl From<Rates> for SamplingSettings {
    /// A time that cannot be is none.
    fn from(rates: Rates) -> SamplingSettings {
        let slow = Duration::try_from_secs_f64(rates.slow_seconds).ok();
        SamplingSettings {
            ratio: rates.ratio,
            control_ratio: rates.control_ratio,
            routes: rates.routes,
            parent_per_second: rates.parent_per_second,
            parent_per_principal: rates.parent_per_principal,
            slow: slow.filter(|slow| !slow.is_zero()),
            late_per_second: rates.late_per_second,
        }
    }
}
