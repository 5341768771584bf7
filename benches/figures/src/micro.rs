//! Small pieces of code on one core: what each costs, measured in turn in this process.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::report::{Goal, Spread, table};

/// A run that could not have its core for more than this share of the time is called disturbed.
/// Its figure, which counts CPU time only, is kept; but other work empties the caches.
const DISTURBED: f64 = 0.05;

/// Does its work that many times.
type Work = Box<dyn FnMut(u32) -> Result<()>>;

/// One piece of code.
pub(crate) struct Case {
    name: &'static str,
    /// Nanoseconds that one repetition should stay below.
    goal: Option<f64>,
    work: Work,
}

impl Case {
    pub(crate) fn new(name: &'static str, work: impl FnMut(u32) -> Result<()> + 'static) -> Self {
        Case {
            name,
            goal: None,
            work: Box::new(work),
        }
    }

    pub(crate) fn at_most(self, nanos: f64) -> Self {
        Case {
            goal: Some(nanos),
            ..self
        }
    }
}

/// All runs, what they come to and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    repeats: u32,
    runs: Vec<Run>,
    figures: Vec<Figure>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    case: &'static str,
    run: u32,
    nanos: f64,
    /// Share of the time in which other work had the core.
    waited: f64,
}

#[derive(Debug, Serialize)]
struct Figure {
    case: &'static str,
    nanos: Spread,
    waited: Spread,
}

impl Costs {
    /// Runs every case `runs` times in changing order, `repeats` repetitions each, after one round
    /// that warms up. `unit` is what a nanosecond per repetition is called in this section.
    pub(crate) fn measure(
        section: &str,
        unit: &'static str,
        cases: &mut [Case],
        runs: u32,
        repeats: u32,
    ) -> Result<Self> {
        for case in cases.iter_mut() {
            (case.work)(repeats / 10).context(case.name)?;
        }
        let mut done = Vec::new();
        for run in 0..runs {
            for turn in 0..cases.len() {
                let at = (turn + run as usize) % cases.len();
                done.push(one_run(&mut cases[at], run, repeats)?);
            }
            eprintln!("{section} {}/{runs}", run + 1);
        }
        let mut figures = Vec::new();
        let mut goals = Vec::new();
        for case in cases.iter() {
            let own = done.iter().filter(|run| run.case == case.name);
            let figure = Figure {
                case: case.name,
                nanos: Spread::of(own.clone().map(|run| run.nanos)).context("no run")?,
                waited: Spread::of(own.map(|run| run.waited)).context("no run")?,
            };
            let measured = Some(figure.nanos.median);
            goals.extend(
                case.goal
                    .map(|goal| Goal::at_most(case.name, goal, unit, measured)),
            );
            figures.push(figure);
        }
        Ok(Costs {
            repeats,
            runs: done,
            figures,
            goals,
        })
    }

    /// Prints the figures below a line that says what they are.
    pub(crate) fn print(&self, title: &str, unit: &str, notes: &[&str]) {
        println!("\n{title}, median (min..max)");
        let mut rows = vec![["", unit, "waited"].map(str::to_owned).to_vec()];
        for figure in &self.figures {
            rows.push(vec![
                figure.case.to_owned(),
                figure.nanos.text(2),
                format!("{:.0} %", figure.waited.median * 100.0),
            ]);
        }
        print!("{}", table(&rows));
        for note in notes {
            println!("  {note}");
        }
        if let Some(warning) = disturbance(&self.runs) {
            println!("{warning}");
        }
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}

fn one_run(case: &mut Case, run: u32, repeats: u32) -> Result<Run> {
    let (start, before) = (Instant::now(), cpu_time());
    (case.work)(repeats).context(case.name)?;
    let spent = cpu_time().saturating_sub(before);
    // Nothing in here sleeps: time that was not spent computing was spent waiting for the core.
    let waited = start.elapsed().saturating_sub(spent);
    Ok(Run {
        case: case.name,
        run,
        nanos: spent.as_nanos() as f64 / f64::from(repeats),
        waited: waited.as_secs_f64() / (spent + waited).as_secs_f64().max(f64::MIN_POSITIVE),
    })
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn disturbance(runs: &[Run]) -> Option<String> {
    let disturbed = runs.iter().filter(|run| run.waited > DISTURBED).count();
    (disturbed > 0).then(|| {
        format!(
            "  warning: other work held the core for over {:.0} % of the time in {disturbed} of {} runs; measure again on a quiet machine before quoting these",
            DISTURBED * 100.0,
            runs.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn cases_take_turns_after_a_round_to_warm_up() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let case = |name| {
            let seen = Rc::clone(&seen);
            Case::new(name, move |repeats| {
                seen.borrow_mut().push((name, repeats));
                Ok(())
            })
        };
        let mut cases = [case("a"), case("b").at_most(1e9)];
        let costs = Costs::measure("test", "ns", &mut cases, 2, 10).unwrap();
        let order = [
            ("a", 1),
            ("b", 1),
            ("a", 10),
            ("b", 10),
            ("b", 10),
            ("a", 10),
        ];
        assert_eq!(*seen.borrow(), order);
        assert_eq!(costs.figures.len(), 2);
        assert!(costs.goals[0].text().contains("goal  b ≤"));
    }

    #[test]
    fn a_case_that_fails_ends_the_section_by_its_name() {
        let mut cases = [Case::new("odd one", |_| anyhow::bail!("no"))];
        let said = Costs::measure("test", "ns", &mut cases, 1, 1).unwrap_err();
        assert_eq!(format!("{said:#}"), "odd one: no");
    }

    #[test]
    fn a_disturbed_run_is_warned_of() {
        let run = |waited| Run {
            case: "a",
            run: 0,
            nanos: 1.0,
            waited,
        };
        assert_eq!(disturbance(&[run(0.04)]), None);
        let warning = disturbance(&[run(0.04), run(0.5)]).unwrap();
        assert!(warning.contains("in 1 of 2 runs"), "{warning}");
    }
}
