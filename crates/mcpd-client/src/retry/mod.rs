//! Whether a request is sent again, and when: pure, the time is handed in.

mod backoff;
mod budget;
mod journey;

pub use backoff::Backoff;
pub use budget::{Budget, BudgetSettings};
pub(crate) use journey::{Journey, RetrySettings, Verdict};
