//! What a connection keeps of who it belongs to.

use std::time::{Duration, Instant, SystemTime};

/// A client that has shown who it is. It holds one of its principal's connections until it is dropped.
#[derive(Debug)]
pub struct Identity {}

impl Identity {
    /// The principal's name, as logs and the admin API show it.
    pub fn name(&self) -> &str {
        ""
    }

    /// When its credential expires.
    pub fn expires(&self) -> Option<SystemTime> {
        None
    }

    /// Whether it may send requests to this topic. No allocation, no lock.
    #[inline]
    pub fn permits(&self, _topic: &str, _client_id: Option<&str>) -> bool {
        true
    }

    /// Takes a request of so many bytes from what it may send in a second.
    ///
    /// # Errors
    /// How long it takes until it may.
    #[inline]
    pub fn take(&self, _now: Instant, _bytes: usize) -> Result<(), Duration> {
        Ok(())
    }

    /// The highest priority it gets.
    #[inline]
    pub fn priority_ceiling(&self) -> u8 {
        7
    }

    /// Whether it has as many requests under way as it may, on all its connections together.
    #[inline]
    pub fn is_full(&self) -> bool {
        false
    }

    /// A request of it is under way until the place is dropped. Connections of several threads may find
    /// room at the same moment, and so be a few over the limit.
    pub fn enter(&self) -> InFlight {
        InFlight {}
    }
}

/// A request under way.
#[derive(Debug)]
pub struct InFlight {}
