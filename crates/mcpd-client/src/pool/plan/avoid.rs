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
        self.0.retain(|(id, until)| *id != server_id && *until > now);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push((server_id, now + AVOID_FOR));
    }

    pub(super) fn contains(&self, server_id: &str, now: Instant) -> bool {
        let is_it = |(id, until): &(String, Instant)| id == server_id && *until > now;
        self.0.iter().any(is_it)
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
        assert!(avoid.contains("a", now + Duration::from_secs(59)));
        assert!(!avoid.contains("a", now + AVOID_FOR));
        assert!(!avoid.contains("b", now));
        for n in 0..1000 {
            avoid.add(format!("s{n}"), now);
        }
        assert_eq!(avoid.0.len(), MOST);
        assert!(avoid.contains("s999", now) && !avoid.contains("a", now));
    }
}
