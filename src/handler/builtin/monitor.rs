//! `monitor`: who sent on a topic, when, how often, and who has fallen silent.

use crate::handler::{Handler, TopicSeen};
use crate::message::{Answer, Call, Outcome};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Senders remembered for one topic; the one that has been silent longest makes room.
const MAX_SENDERS: usize = 100;
/// Intervals in which a sender has been silent before it is called so.
const SILENT_AFTER: f64 = 3.0;
/// Weight of the newest interval in a sender's mean; ten or so intervals count.
const NEWEST: f64 = 0.2;

/// Notes every message and answers with what is known of its topic, as JSON:
///
/// ```json
/// {"topic":"heartbeat","count":12,"senders":[
///   {"sender":"edge-7","count":12,"last_s":0.0,"interval_s":5.0,"silent_s":null}]}
/// ```
///
/// `last_s` is how long ago a sender was heard, `interval_s` its usual interval, and `silent_s` how
/// long it has been silent if that is over three of its intervals. Senders are told apart by
/// CLIENT_ID, or by address. Topics and senders are bounded; the least recently heard is forgotten.
#[derive(Debug)]
pub struct Monitor {
    max_topics: usize,
    topics: Mutex<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<Box<str>, Topic>,
    /// Names in the order in which they were first heard; the oldest makes room.
    order: VecDeque<Box<str>>,
}

#[derive(Debug, Default)]
struct Topic {
    count: u64,
    last: Option<Instant>,
    senders: HashMap<Box<str>, Sender>,
}

#[derive(Debug)]
struct Sender {
    count: u64,
    last: Instant,
    interval: Option<f64>,
}

#[derive(Serialize)]
struct TopicView<'a> {
    topic: &'a str,
    count: u64,
    senders: Vec<SenderView<'a>>,
}

#[derive(Serialize)]
struct SenderView<'a> {
    sender: &'a str,
    count: u64,
    last_s: f64,
    interval_s: Option<f64>,
    silent_s: Option<f64>,
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Monitor {
    /// A monitor that remembers `max_topics` topics, 100 senders each.
    pub fn new(max_topics: usize) -> Monitor {
        Monitor {
            max_topics: max_topics.max(1),
            topics: Mutex::default(),
        }
    }

    fn seen(&self, limit: usize, now: Instant) -> Vec<TopicSeen> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heard: Vec<_> = topics.by_name.iter().collect();
        let newest_first = |a: &(_, &Topic), b: &(_, &Topic)| b.1.last.cmp(&a.1.last);
        // Requests wait for this lock: of very many topics only those that are shown are sorted.
        if limit < heard.len() {
            heard.select_nth_unstable_by(limit, newest_first);
            heard.truncate(limit);
        }
        heard.sort_unstable_by(|a, b| newest_first(a, b).then(a.0.cmp(b.0)));
        let seen = heard.into_iter().map(|(name, topic)| TopicSeen {
            topic: name.to_string(),
            last_seen: topic
                .last
                .map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
            count: topic.count,
            last_client: topic.last_sender().to_owned(),
        });
        seen.collect()
    }

    fn note(&self, name: &str, sender: &str, now: Instant) -> Vec<u8> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.by_name.contains_key(name) {
            if topics.by_name.len() >= self.max_topics
                && let Some(oldest) = topics.order.pop_front()
            {
                topics.by_name.remove(&oldest);
            }
            topics.order.push_back(name.into());
            topics.by_name.insert(name.into(), Topic::default());
        }
        let Some(topic) = topics.by_name.get_mut(name) else {
            return b"{}".to_vec();
        };
        topic.note(sender, now);
        // Serialising plain data cannot fail.
        serde_json::to_vec(&topic.view(name, now)).unwrap_or_default()
    }
}

impl Topic {
    fn last_sender(&self) -> &str {
        let mut senders = self.senders.iter();
        let last = senders.find(|(_, sender)| Some(sender.last) == self.last);
        last.map_or("", |(name, _)| name)
    }

    fn note(&mut self, name: &str, now: Instant) {
        self.count += 1;
        self.last = Some(now);
        if let Some(sender) = self.senders.get_mut(name) {
            let interval = now.saturating_duration_since(sender.last).as_secs_f64();
            let mean = |before: f64| before + NEWEST * (interval - before);
            sender.interval = Some(sender.interval.map_or(interval, mean));
            (sender.last, sender.count) = (now, sender.count + 1);
            return;
        }
        if self.senders.len() >= MAX_SENDERS {
            let quietest = self.senders.iter().min_by_key(|(_, sender)| sender.last);
            if let Some(name) = quietest.map(|(name, _)| name.clone()) {
                self.senders.remove(&name);
            }
        }
        self.senders.insert(
            name.into(),
            Sender {
                count: 1,
                last: now,
                interval: None,
            },
        );
    }

    fn view<'a>(&'a self, topic: &'a str, now: Instant) -> TopicView<'a> {
        let view = |(sender, state): (&'a str, &Sender)| {
            let last = now.saturating_duration_since(state.last);
            let silent = |interval: f64| last.as_secs_f64() > SILENT_AFTER * interval.max(0.001);
            SenderView {
                sender,
                count: state.count,
                last_s: millis(last),
                interval_s: state
                    .interval
                    .map(|s| millis(Duration::from_secs_f64(s.max(0.0)))),
                silent_s: state.interval.filter(|i| silent(*i)).map(|_| millis(last)),
            }
        };
        let mut senders: Vec<SenderView<'_>> = self
            .senders
            .iter()
            .map(|(name, state)| view((name, state)))
            .collect();
        senders.sort_by(|a, b| a.last_s.total_cmp(&b.last_s).then(a.sender.cmp(b.sender)));
        TopicView {
            topic,
            count: self.count,
            senders,
        }
    }
}

impl Handler for Monitor {
    fn topics(&self, limit: usize) -> Vec<TopicSeen> {
        self.seen(limit, Instant::now())
    }

    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let addr;
        let sender = match &call.peer.client_id {
            Some(id) => id,
            None => {
                addr = call.peer.addr.to_string();
                addr.as_str()
            }
        };
        Outcome::Now(Answer::json(self.note(
            call.topic.as_str(),
            sender,
            call.received,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monitor: &Monitor, topic: &str, sender: &str, now: Instant) -> serde_json::Value {
        serde_json::from_slice(&monitor.note(topic, sender, now)).unwrap()
    }

    #[test]
    fn tells_intervals_and_who_is_silent() {
        let (monitor, start) = (Monitor::new(10), Instant::now());
        let after = |s| start + Duration::from_secs(s);
        at(&monitor, "t", "a", after(0));
        at(&monitor, "t", "a", after(5));
        at(&monitor, "t", "b", after(19));
        let seen = at(&monitor, "t", "b", after(21));
        assert_eq!(seen["count"], 4);
        assert_eq!(seen["senders"][0]["sender"], "b");
        assert_eq!(seen["senders"][0]["silent_s"], serde_json::Value::Null);
        assert_eq!(seen["senders"][1]["interval_s"], 5.0);
        assert_eq!(seen["senders"][1]["silent_s"], 16.0);
    }

    #[test]
    fn the_topics_heard_last_come_first() {
        let (monitor, start) = (Monitor::new(10), Instant::now());
        let after = |s| start + Duration::from_secs(s);
        at(&monitor, "old", "a", after(0));
        at(&monitor, "new", "a", after(1));
        at(&monitor, "new", "b", after(2));
        let seen = monitor.seen(1, after(5));
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].topic.as_str(), seen[0].count), ("new", 2));
        assert_eq!(seen[0].last_client, "b");
        assert_eq!(seen[0].last_seen, Duration::from_secs(3));
    }

    #[test]
    fn topics_and_senders_are_bounded() {
        let (monitor, now) = (Monitor::new(2), Instant::now());
        for topic in ["a", "b", "c"] {
            at(&monitor, topic, "x", now);
        }
        assert_eq!(at(&monitor, "a", "x", now)["count"], 1, "a was forgotten");
        for n in 0..500u64 {
            at(
                &monitor,
                "c",
                &format!("s{n}"),
                now + Duration::from_millis(n),
            );
        }
        let seen = at(&monitor, "c", "s499", now + Duration::from_secs(1));
        assert_eq!(seen["senders"].as_array().unwrap().len(), MAX_SENDERS);
    }
}
