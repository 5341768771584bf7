//! What the process is doing right now, why, and how it stops.
//!
//! [`Machine`] is the pure phase machine, [`Lifecycle`] the handle that the
//! rest of the program shares, [`Backoff`] the pause between two attempts to
//! recover and [`DrainPlan`] the timetable of an orderly stop.

mod backoff;
mod drain;
mod handle;
mod machine;

pub use backoff::Backoff;
pub use drain::{DrainPlan, DrainWindows, Stage};
pub use handle::Lifecycle;
pub use machine::{
    Cause, DrainCause, Event, HISTORY, InvalidTransition, Machine, Phase, Transition,
};
