//! How many connections are to be asked to move, so that all servers have about as many. Pure: the time is handed in.
//!
//! A server looks at what all have together, and at what would be its share. That sum does not change when
//! connections move, so between two looks its own count is enough to know when it has given away enough. What comes
//! to it between two looks is taken to come to all of them alike.

use super::Asked;
use std::time::{Duration, Instant};

/// When a server gives connections away, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShareSettings {
    /// It begins above so many times its share.
    pub(crate) threshold: f64,
    /// It asks this part of its connections to move in a second.
    pub(crate) rate: f64,
    /// How old what is known of the others may be.
    pub(crate) max_age: Duration,
}

/// What all servers have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    /// Servers that serve.
    pub(crate) servers: usize,
    /// Their connections.
    pub(crate) connections: u64,
}

impl Census {
    /// What those who were asked have together, if all have said it and this server is one of them.
    ///
    /// # Errors
    /// Why that says nothing.
    pub(crate) fn of(asked: &[Asked], own: &str) -> Result<Census, Paused> {
        let mut census = Census {
            servers: asked.len(),
            connections: 0,
        };
        let mut found = 0;
        for one in asked {
            let status = one.status.as_ref().map_err(|_| Paused::Unreachable)?;
            found += usize::from(status.server_id == own);
            census.connections = census.connections.saturating_add(status.connections);
        }
        let draining = asked.iter().filter_map(|one| one.status.as_ref().ok());
        match found {
            _ if draining.into_iter().any(|status| status.is_draining()) => Err(Paused::Draining),
            1 => Ok(census),
            _ => Err(Paused::NotAmongThem),
        }
    }

    /// What each had if all had as many.
    pub(crate) fn share(&self) -> f64 {
        self.connections as f64 / self.servers.max(1) as f64
    }
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paused {
    /// The others were not asked yet, or not for too long.
    Unknown,
    /// One of the others has not answered, so the sum is not known.
    Unreachable,
    /// A server drains: what is moved now would be moved twice, or come here anyway.
    Draining,
    /// Nobody of them calls itself as this one does, or several do.
    NotAmongThem,
}

impl Paused {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Paused::Unknown => "unknown",
            Paused::Unreachable => "unreachable",
            Paused::Draining => "draining",
            Paused::NotAmongThem => "not_among_them",
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: this server has no more than it should.
    Level,
    /// So many connections are to be asked to move; none if it is not time for the next one yet.
    Shed(usize),
    /// Nothing, although it may have too many.
    Paused(Paused),
}

/// Plans it for one server.
#[derive(Debug)]
pub(crate) struct Planner {
    census: Result<Census, Paused>,
    taken: Instant,
    /// What this server had then.
    own: usize,
    /// Connections that may be asked to move by now, or parts of one.
    allowance: f64,
    planned: Instant,
}

impl Planner {
    pub(crate) fn new(now: Instant) -> Planner {
        Planner {
            census: Err(Paused::Unknown),
            taken: now,
            own: 0,
            allowance: 0.0,
            planned: now,
        }
    }

    /// All were asked while this server had `own` connections that were not asked to move.
    pub(crate) fn learn(&mut self, census: Result<Census, Paused>, own: usize, now: Instant) {
        (self.census, self.own, self.taken) = (census, own, now);
    }

    /// What is known of all, if it is.
    pub(crate) fn census(&self) -> Option<Census> {
        self.census.ok()
    }

    /// What to do when this server has `own` connections that were not asked to move yet.
    pub(crate) fn plan(&mut self, own: usize, settings: ShareSettings, now: Instant) -> Step {
        // What was not used is not saved: after a pause as much goes in a second as in any other.
        let passed = now.saturating_duration_since(self.planned).as_secs_f64();
        let passed = passed.min(1.0);
        self.planned = now;
        let is_old = now.saturating_duration_since(self.taken) > settings.max_age;
        let census = match self.census {
            Ok(_) if is_old => Err(Paused::Unknown),
            known => known,
        };
        let census = match census {
            Ok(census) => census,
            Err(why) => return self.rest(Step::Paused(why)),
        };
        // Rounded up: a connection cannot be divided, and one too many is no reason to move it.
        let grown = own.saturating_sub(self.own) as f64;
        let most = ((census.share() + grown) * settings.threshold).ceil() as usize;
        let excess = own.saturating_sub(most);
        if excess == 0 || census.servers < 2 {
            return self.rest(Step::Level);
        }
        self.allowance += own as f64 * settings.rate * passed;
        let now = (self.allowance as usize).min(excess);
        self.allowance -= now as f64;
        Step::Shed(now)
    }

    fn rest(&mut self, step: Step) -> Step {
        self.allowance = 0.0;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ShareSettings = ShareSettings {
        threshold: 1.2,
        rate: 0.01,
        max_age: Duration::from_secs(90),
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn census(servers: usize, connections: u64) -> Result<Census, Paused> {
        Ok(Census {
            servers,
            connections,
        })
    }

    /// Runs for so many seconds, with every connection going where chance sends it; what is left each second.
    fn run(planner: &mut Planner, mut own: usize, from: Instant, seconds: u32) -> Vec<usize> {
        let mut left = Vec::new();
        for second in 1..=seconds {
            if let Step::Shed(moved) = planner.plan(own, SETTINGS, from + SECOND * second) {
                own -= moved;
            }
            left.push(own);
        }
        left
    }

    #[test]
    fn the_excess_goes_at_the_rate_and_no_further() {
        let start = Instant::now();
        let mut planner = Planner::new(start);
        planner.learn(census(3, 900), 900, start);
        let left = run(&mut planner, 900, start, 89);
        assert_eq!(left[0], 891);
        for pair in left.windows(2) {
            let moved = pair[0] - pair[1];
            assert!(moved as f64 <= pair[0] as f64 * 0.01 + 1.0, "{pair:?}");
        }
        // 1 % a second of what is left: 900 · 0.99^89, within what is rounded.
        assert!((365..=375).contains(&left[88]), "{left:?}");
        planner.learn(census(3, 900), left[88], start + SECOND * 89);
        let left = run(&mut planner, left[88], start + SECOND * 89, 60);
        assert_eq!(*left.last().unwrap(), 360, "1.2 times the share");
        assert_eq!(
            planner.plan(360, SETTINGS, start + SECOND * 150),
            Step::Level
        );
    }

    #[test]
    fn a_few_connections_go_one_by_one() {
        let start = Instant::now();
        let mut planner = Planner::new(start);
        planner.learn(census(2, 10), 10, start);
        let left = run(&mut planner, 10, start, 60);
        // A tenth of a connection a second: the first after ten seconds, or eleven, as tenths add up.
        assert_eq!((left[8], left[10]), (10, 9));
        assert_eq!(*left.last().unwrap(), 6);
    }

    #[test]
    fn one_too_many_is_no_reason_to_move_it() {
        let start = Instant::now();
        let mut planner = Planner::new(start);
        for (servers, connections, own) in [(3, 4, 2), (2, 1, 1), (3, 900, 360), (1, 50, 50)] {
            planner.learn(census(servers, connections), own, start);
            let step = planner.plan(own, SETTINGS, start + SECOND * 60);
            assert_eq!(step, Step::Level, "{servers} {connections} {own}");
        }
    }

    /// A wave of new clients is no reason to send them on to servers that have it, too.
    #[test]
    fn what_came_since_came_to_all() {
        let start = Instant::now();
        let mut planner = Planner::new(start);
        planner.learn(census(3, 900), 300, start);
        for own in [300, 500, 5000] {
            let step = planner.plan(own, SETTINGS, start + SECOND);
            assert_eq!(step, Step::Level, "{own}");
        }
        // Unless the next look says otherwise.
        planner.learn(census(3, 1100), 500, start);
        assert_ne!(planner.plan(500, SETTINGS, start + SECOND), Step::Level);
    }

    #[test]
    fn a_census_needs_everybody_and_this_server_once() {
        let asked = |all: &[(&str, &str, u64)]| -> Vec<Asked> {
            let one = |(n, (name, lifecycle, connections)): (usize, &(&str, &str, u64))| Asked {
                peer: super::super::Peer::at(([10, 0, 0, 1], n as u16 + 1).into()),
                status: match *lifecycle {
                    "gone" => Err("has not answered".to_owned()),
                    _ => Ok(serde_json::from_value(serde_json::json!({
                        "server_id": name, "revision": 1, "hash": "", "lifecycle": lifecycle,
                        "connections": connections,
                    }))
                    .unwrap()),
                },
            };
            all.iter().enumerate().map(one).collect()
        };
        let (a, b) = (("a", "running", 9), ("b", "running", 3));
        assert_eq!(Census::of(&asked(&[a, b]), "a"), census(2, 12));
        for (all, why) in [
            (vec![a, b], Paused::NotAmongThem),
            (
                vec![a, b, ("c", "running", 0), ("c", "running", 0)],
                Paused::NotAmongThem,
            ),
            (vec![a, ("c", "gone", 0)], Paused::Unreachable),
            (vec![a, ("c", "shutting_down", 5)], Paused::Draining),
            (vec![], Paused::NotAmongThem),
        ] {
            assert_eq!(Census::of(&asked(&all), "c"), Err(why), "{all:?}");
        }
    }

    #[test]
    fn nothing_goes_while_the_sum_is_not_known_or_a_server_drains() {
        let start = Instant::now();
        let mut planner = Planner::new(start);
        let paused = |why| Step::Paused(why);
        assert_eq!(planner.plan(900, SETTINGS, start), paused(Paused::Unknown));
        for why in [Paused::Draining, Paused::Unreachable, Paused::NotAmongThem] {
            planner.learn(Err(why), 900, start);
            assert_eq!(planner.plan(900, SETTINGS, start + SECOND), paused(why));
        }
        planner.learn(census(3, 900), 900, start);
        let old = start + SETTINGS.max_age + SECOND;
        assert_eq!(planner.plan(900, SETTINGS, old), paused(Paused::Unknown));
        // What was not done meanwhile is not made up for.
        planner.learn(census(3, 900), 900, old);
        assert_eq!(planner.plan(900, SETTINGS, old + SECOND), Step::Shed(9));
        assert_eq!(
            planner.plan(900, SETTINGS, old + SECOND * 60),
            Step::Shed(9)
        );
    }
}
