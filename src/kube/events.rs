//! Events about ConfigMaps, for whoever runs `kubectl describe` or `kubectl get events`.
//!
//! They are news for people and nothing depends on them: who has one goes on at once, one too many is
//! dropped and counted, and a server that may not publish any serves as well. The same Event again is counted up
//! on the one that is there.

use super::config_map::MANAGER;
use super::{Cluster, Failure, Why};
use crate::telemetry::KubernetesMetrics;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events that may wait to be sent.
const MAX_WAITING: usize = 32;
/// Events at once, after a while without any; and how long until there is one more.
const BURST: u32 = 10;
const ONE_EVERY: Duration = Duration::from_secs(10);
/// How long an Event is the same again, and how many are remembered for it.
const SERIES: Duration = Duration::from_secs(360);
const MAX_REMEMBERED: usize = 32;
/// Longest note that the API takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Something that people should know of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// Whether something is wrong.
    pub(super) warning: bool,
    /// What has happened, in one word.
    pub(super) reason: &'static str,
    /// What has happened.
    pub(super) note: String,
    /// The ConfigMap, and which of all of that name; empty if there is none.
    pub(super) name: String,
    pub(super) uid: String,
}

/// Where Events are left to be published.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    news: mpsc::Sender<News>,
    metrics: KubernetesMetrics,
}

impl Events {
    /// Publishes what is left here as `instance`, on the current runtime, until nobody can leave anything.
    pub(crate) fn new(cluster: Cluster, instance: Option<String>) -> Events {
        let metrics = KubernetesMetrics;
        let (news, waiting) = mpsc::channel(MAX_WAITING);
        let publisher = Publisher {
            cluster,
            instance: instance.unwrap_or_else(|| MANAGER.to_owned()),
            metrics,
            sent: Vec::new(),
            room: Room::new(Instant::now()),
        };
        tokio::spawn(publisher.run(waiting));
        Events { news, metrics }
    }

    /// Leaves something to be published, or drops it.
    pub(super) fn tell(&self, mut news: News) {
        news.note.truncate(news.note.floor_char_boundary(MAX_NOTE));
        if self.news.try_send(news).is_err() {
            self.metrics.event("dropped");
        }
    }
}

struct Publisher {
    cluster: Cluster,
    instance: String,
    metrics: KubernetesMetrics,
    sent: Vec<Sent>,
    room: Room,
}

/// An Event that was published.
struct Sent {
    news: News,
    event: String,
    count: i32,
    at: Instant,
}

impl Publisher {
    async fn run(mut self, mut waiting: mpsc::Receiver<News>) {
        while let Some(news) = waiting.recv().await {
            if !self.room.take(Instant::now()) {
                self.metrics.event("dropped");
                continue;
            }
            let outcome = match self.publish(news).await {
                Ok(outcome) => outcome,
                Err(failure) if failure.why == Why::Forbidden => "forbidden",
                Err(failure) => {
                    tracing::debug!(%failure, "an Event cannot be published");
                    "failed"
                }
            };
            self.metrics.event(outcome);
        }
    }

    async fn publish(&mut self, news: News) -> Result<&'static str, Failure> {
        let now = Instant::now();
        self.sent.retain(|sent| now - sent.at < SERIES);
        if let Some(at) = self.sent.iter().position(|sent| sent.news == news) {
            self.repeat(at).await?;
            return Ok("repeated");
        }
        let event = self.create(&news).await?;
        if self.sent.len() == MAX_REMEMBERED {
            self.sent.remove(0);
        }
        self.sent.push(Sent {
            news,
            event,
            count: 1,
            at: now,
        });
        Ok("sent")
    }

    async fn create(&self, news: &News) -> Result<String, Failure> {
        let now = Timestamp::now();
        // Two servers may have the same to say at the same time.
        let random = crate::telemetry::random_unit() * f64::from(u32::MAX);
        let name = format!(
            "{}.{:x}{:08x}",
            news.name,
            now.as_microsecond(),
            random as u32
        );
        let (name, this) = (name.as_str(), self);
        let done = self.cluster.write(|client, namespace| async move {
            let event = this.event(news, name, &namespace, now);
            let events: Api<Event> = Api::namespaced(client, &namespace);
            events.create(&PostParams::default(), &event).await
        });
        this.counted(done.await)?;
        Ok(name.to_owned())
    }

    fn event(&self, news: &News, name: &str, namespace: &str, now: Timestamp) -> Event {
        let kind = if news.warning { "Warning" } else { "Normal" };
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: Some(news.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(news.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        };
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(kind.to_owned()),
            reason: Some(news.reason.to_owned()),
            action: Some(news.reason.to_owned()),
            note: Some(news.note.clone()),
            regarding: Some(regarding),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    async fn repeat(&mut self, at: usize) -> Result<(), Failure> {
        let sent = &mut self.sent[at];
        (sent.count, sent.at) = (sent.count.saturating_add(1), Instant::now());
        let series = EventSeries {
            count: sent.count,
            last_observed_time: MicroTime(Timestamp::now()),
        };
        let patch = Patch::Merge(serde_json::json!({ "series": series }));
        let (patch, event) = (&patch, sent.event.clone());
        let event = event.as_str();
        let done = self.cluster.write(|client, namespace| async move {
            let events: Api<Event> = Api::namespaced(client, &namespace);
            events.patch(event, &PatchParams::default(), patch).await
        });
        self.counted(done.await).map(drop)
    }

    fn counted<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        let outcome = done
            .as_ref()
            .err()
            .map_or("ok", |failure| failure.why.label());
        self.metrics.request("event", outcome);
        done
    }
}

/// How many Events there may be.
struct Room {
    left: u32,
    since: Instant,
}

impl Room {
    fn new(now: Instant) -> Room {
        Room {
            left: BURST,
            since: now,
        }
    }

    /// Takes room for one at `now`, if there is any.
    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now >= self.since + ONE_EVERY {
            self.since += ONE_EVERY;
            self.left += 1;
        }
        if self.left == BURST {
            self.since = now;
        }
        let there_is = self.left > 0;
        self.left = self.left.saturating_sub(1);
        there_is
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_burst_and_then_for_one_now_and_then() {
        let start = Instant::now();
        let mut room = Room::new(start);
        let taken = (0..20).filter(|_| room.take(start)).count();
        assert_eq!(taken, 10);
        assert!(!room.take(start + Duration::from_secs(9)));
        assert!(room.take(start + Duration::from_secs(10)));
        assert!(!room.take(start + Duration::from_secs(11)));
        // However long nothing happened, no more than a burst.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| room.take(later)).count(), 10);
    }
}
