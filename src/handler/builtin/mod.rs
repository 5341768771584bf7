//! Handlers that need nothing but this process.

mod delay;
mod fixed;
mod monitor;

pub use delay::{Delay, Latency};
pub use fixed::{Discard, Echo, Static};
pub use monitor::Monitor;
