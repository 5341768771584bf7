//! Whether a request is sent again, and when: pure, the time is handed in.

mod backoff;
mod budget;
mod journey;

pub(crate) use backoff::Backoff;
pub(crate) use budget::{Budget, BudgetSettings};
pub(crate) use journey::{Journey, RetrySettings, Verdict};
