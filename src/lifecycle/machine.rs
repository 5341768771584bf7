//! The pure phase machine: no clock, no IO, no tasks.
//!
//! ```text
//!                 Started
//! Initializing ------------> Running
//!   |  ^  |                   |   |
//!   |  |  | Fault       Fault |   |
//!   |  |  +----> Error <------+   |
//!   |  +--Recover--+ |            |
//!   |                | Drain      |
//!   | Drain          v      Drain |
//!   +----------> ShuttingDown <---+
//!                     |
//!                     | Stopped
//!                     v
//!                  Stopped
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Transitions remembered for `/statusz`. A process that flaps between
/// `Error` and `Initializing` for days must not grow; 32 covers ten minutes of
/// the slowest flapping and every orderly life.
pub const HISTORY: usize = 32;

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Starting, or starting again after a fault; not ready.
    Initializing,
    /// Serving.
    Running,
    /// Draining: finishing what it has accepted.
    ShuttingDown,
    /// Over; the process is about to exit.
    Stopped,
    /// A fault of this process alone keeps it from serving; it will retry.
    Error,
}

impl Phase {
    /// Every phase, in the order of an ordinary life, for metrics that must
    /// exist from the start.
    pub const ALL: [Self; 5] = [
        Self::Initializing,
        Self::Running,
        Self::ShuttingDown,
        Self::Stopped,
        Self::Error,
    ];

    /// The stable name used in metrics labels, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::ShuttingDown => "shutting_down",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who asked for the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainCause {
    /// SIGTERM: the orchestrator takes this process out of service.
    Terminate,
    /// SIGINT: a person at a terminal pressed Ctrl-C.
    Interrupt,
    /// A request to the admin API.
    Admin,
    /// The program that has this server in it.
    Host,
}

impl fmt::Display for DrainCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Admin => "the admin API",
            Self::Host => "its program",
        })
    }
}

/// Something that happened to the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything is bound and loaded.
    Started,
    /// A fault of this process alone, such as a port in use.
    Fault {
        /// One line for the operator: what failed, and on what.
        what: String,
    },
    /// The backoff is over; try again.
    Recover,
    /// Stop in order.
    Drain {
        /// Who asked.
        cause: DrainCause,
    },
    /// Everything is flushed and closed.
    Stopped,
}

impl Event {
    /// The stable name of the event, without its details.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Fault { .. } => "fault",
            Self::Recover => "recover",
            Self::Drain { .. } => "drain",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a transition happened. It is shown as one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Start-up completed.
    Started,
    /// This fault.
    Fault(String),
    /// Another attempt after a fault.
    Recover,
    /// Somebody asked for a drain.
    Drain(DrainCause),
    /// The drain completed.
    Stopped,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("everything is bound and loaded"),
            Self::Fault(what) => f.write_str(what),
            Self::Recover => f.write_str("trying again after a fault"),
            Self::Drain(by) => write!(f, "drain asked for by {by}"),
            Self::Stopped => f.write_str("drained and closed"),
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One step of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
    /// When, by the wall clock; serialised as RFC 3339 in UTC with milliseconds.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    // A clock set before 1970 or after 9999 must not take `/statusz` down:
    // the formatter cannot write such times.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    serializer.collect_str(&humantime::format_rfc3339_millis(UNIX_EPOCH + since))
}

/// An event that the current phase does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event `{event}` is not allowed while {phase}; the phase stays {phase}")]
pub struct InvalidTransition {
    /// The phase that the machine is in, and stays in.
    pub phase: Phase,
    /// The [name](Event::name) of the refused event.
    pub event: &'static str,
}

/// The phase machine with its recent history.
///
/// ```
/// use std::time::SystemTime;
/// use mcpd::lifecycle::{Event, Machine, Phase};
///
/// let mut machine = Machine::new();
/// machine.apply(Event::Started, SystemTime::now())?;
/// assert_eq!(machine.phase(), Phase::Running);
/// assert!(machine.apply(Event::Started, SystemTime::now()).is_err());
/// # Ok::<(), mcpd::lifecycle::InvalidTransition>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    phase: Phase,
    transitions: u64,
    history: VecDeque<Transition>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine in [`Phase::Initializing`] with an empty history.
    pub fn new() -> Self {
        Self {
            phase: Phase::Initializing,
            transitions: 0,
            history: VecDeque::with_capacity(HISTORY),
        }
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How many transitions there have been, forgotten ones included.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// The last [`HISTORY`] transitions, oldest first.
    pub fn history(&self) -> impl ExactSizeIterator<Item = &Transition> {
        self.history.iter()
    }

    /// The most recent transition, if there was one.
    pub fn last(&self) -> Option<&Transition> {
        self.history.back()
    }

    /// Takes the step that `event` asks for and returns it.
    ///
    /// # Errors
    /// [`InvalidTransition`] when the current phase does not allow the event;
    /// nothing changes then.
    pub fn apply(
        &mut self,
        event: Event,
        now: SystemTime,
    ) -> Result<&Transition, InvalidTransition> {
        let from = self.phase;
        let to = target(from, &event).ok_or(InvalidTransition {
            phase: from,
            event: event.name(),
        })?;
        let cause = match event {
            Event::Started => Cause::Started,
            Event::Fault { what } => Cause::Fault(what),
            Event::Recover => Cause::Recover,
            Event::Drain { cause } => Cause::Drain(cause),
            Event::Stopped => Cause::Stopped,
        };
        self.phase = to;
        self.transitions += 1;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Transition {
            from,
            to,
            cause,
            at: now,
        });
        Ok(&self.history[self.history.len() - 1])
    }
}

/// The whole table of what may follow what.
fn target(from: Phase, event: &Event) -> Option<Phase> {
    match (from, event) {
        (Phase::Initializing, Event::Started) => Some(Phase::Running),
        (Phase::Initializing | Phase::Running, Event::Fault { .. }) => Some(Phase::Error),
        (Phase::Error, Event::Recover) => Some(Phase::Initializing),
        (Phase::Initializing | Phase::Running | Phase::Error, Event::Drain { .. }) => {
            Some(Phase::ShuttingDown)
        }
        (Phase::ShuttingDown, Event::Stopped) => Some(Phase::Stopped),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Event {
        Event::Fault {
            what: "cannot listen on 127.0.0.1:8080: address in use".to_owned(),
        }
    }

    fn drain() -> Event {
        Event::Drain {
            cause: DrainCause::Terminate,
        }
    }

    /// A machine led into `phase` by its shortest way.
    fn machine_in(phase: Phase) -> Machine {
        let way = match phase {
            Phase::Initializing => vec![],
            Phase::Running => vec![Event::Started],
            Phase::Error => vec![fault()],
            Phase::ShuttingDown => vec![drain()],
            Phase::Stopped => vec![drain(), Event::Stopped],
        };
        let mut machine = Machine::new();
        for event in way {
            machine.apply(event, UNIX_EPOCH).unwrap();
        }
        assert_eq!(machine.phase(), phase);
        machine
    }

    #[test]
    fn every_pair_of_phase_and_event_does_what_the_diagram_says() {
        use Phase::{Error, Initializing, Running, ShuttingDown, Stopped};
        let events = [
            Event::Started,
            fault(),
            Event::Recover,
            drain(),
            Event::Stopped,
        ];
        let expected = [
            (
                Initializing,
                [Some(Running), Some(Error), None, Some(ShuttingDown), None],
            ),
            (Running, [None, Some(Error), None, Some(ShuttingDown), None]),
            (ShuttingDown, [None, None, None, None, Some(Stopped)]),
            (Stopped, [None, None, None, None, None]),
            (
                Error,
                [None, None, Some(Initializing), Some(ShuttingDown), None],
            ),
        ];
        for (phase, row) in expected {
            for (event, to) in events.iter().zip(row) {
                let mut machine = machine_in(phase);
                let before = machine.transitions();
                let result = machine.apply(event.clone(), UNIX_EPOCH).cloned();
                let name = event.name();
                match to {
                    Some(to) => {
                        let step = result.unwrap();
                        assert_eq!((step.from, step.to), (phase, to), "{phase} + {name}");
                        assert_eq!(machine.phase(), to);
                        assert_eq!(machine.transitions(), before + 1);
                    }
                    None => {
                        let refused = InvalidTransition { phase, event: name };
                        assert_eq!(result, Err(refused), "{phase} + {name}");
                        assert_eq!(machine.phase(), phase, "a refused event changes nothing");
                        assert_eq!(machine.transitions(), before);
                    }
                }
            }
        }
    }

    #[test]
    fn the_history_keeps_the_newest_and_stays_bounded() {
        let mut machine = Machine::new();
        for round in 0..100_u64 {
            let at = UNIX_EPOCH + Duration::from_secs(round);
            machine.apply(fault(), at).unwrap();
            machine.apply(Event::Recover, at).unwrap();
        }
        assert_eq!(machine.history().len(), HISTORY);
        assert_eq!(machine.transitions(), 200);
        let newest = machine.last().unwrap();
        assert_eq!(newest.at, UNIX_EPOCH + Duration::from_secs(99));
        assert_eq!(newest.cause, Cause::Recover);
    }

    #[test]
    fn it_serialises_for_status_pages() {
        let mut machine = Machine::new();
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        machine.apply(fault(), at).unwrap();
        machine.apply(drain(), at).unwrap();
        let json = serde_json::to_value(&machine).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "phase": "shutting_down",
                "transitions": 2,
                "history": [
                    {
                        "from": "initializing", "to": "error",
                        "cause": "cannot listen on 127.0.0.1:8080: address in use",
                        "at": "1970-01-01T00:00:01.500Z"
                    },
                    {
                        "from": "error", "to": "shutting_down",
                        "cause": "drain asked for by SIGTERM",
                        "at": "1970-01-01T00:00:01.500Z"
                    }
                ]
            })
        );
    }

    #[test]
    fn a_wrong_clock_does_not_break_the_status_page() {
        for at in [
            UNIX_EPOCH - Duration::from_secs(5),
            UNIX_EPOCH + Duration::from_secs(300_000_000_000),
        ] {
            let mut machine = Machine::new();
            machine.apply(Event::Started, at).unwrap();
            assert!(serde_json::to_string(&machine).is_ok());
        }
    }

    #[test]
    fn json_names_are_the_metric_names() {
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
        }
    }

    #[test]
    fn a_refused_event_explains_itself() {
        let refused = machine_in(Phase::Stopped)
            .apply(Event::Started, UNIX_EPOCH)
            .unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("`started`") && text.contains("stopped"),
            "{text}"
        );
    }
}
