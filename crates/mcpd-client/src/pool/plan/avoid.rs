//! Servers that said they are about to stop.

use std::time::{Duration, Instant};

/// How long such a server is avoided: by then it is gone, or another process of the same name runs.
const AVOID_FOR: Duration = Duration::from_secs(60);
/// Most that are remembered: more than a rollout takes down in that time. The oldest makes room.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Avoid(Vec<(String, Instant)>);

impl Avoid {
    pub(super) fn add(&mut self, server_id: String, now: Instant) {
        self.0
            .retain(|(id, until)| *id != server_id && *until > now);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push((server_id, now + AVOID_FOR));
    }

    /// Until when a server is to be avoided, if it is. `None` comes before any time, and what said
    /// so longest ago before the others.
    pub(super) fn until(&self, server_id: Option<&str>, now: Instant) -> Option<Instant> {
        let server_id = server_id?;
        let is_it = |(id, until): &&(String, Instant)| id == server_id && *until > now;
        self.0.iter().find(is_it).map(|(_, until)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_avoided_for_a_minute_and_few_are_remembered() {
        let now = Instant::now();
        let mut avoid = Avoid::default();
        avoid.add("a".to_owned(), now);
        let late = now + Duration::from_secs(59);
        assert_eq!(avoid.until(Some("a"), late), Some(now + AVOID_FOR));
        assert_eq!(avoid.until(Some("a"), now + AVOID_FOR), None);
        assert_eq!(avoid.until(Some("b"), now), None);
        assert_eq!(avoid.until(None, now), None);
        for n in 0..1000 {
            avoid.add(format!("s{n}"), now);
        }
        assert_eq!(avoid.0.len(), MOST);
        assert!(avoid.until(Some("s999"), now).is_some());
        assert!(avoid.until(Some("a"), now).is_none());
    }
}
