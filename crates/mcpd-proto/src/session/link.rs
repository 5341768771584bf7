//! Heartbeats: whether the peer is alive, and how rarely one may ask.
//!
//! A side sends a HEARTBEAT when it has sent nothing for its interval, and takes the peer for dead
//! after three silent intervals of the peer's. The interval starts at the configured one. While the
//! link is quiet and every heartbeat is answered it doubles, step by step, up to the configured
//! maximum and to what the peer announced; the new one is announced in a HEARTBEAT and used from the
//! answer on, when the peer is known to expect it. After a miss it falls back at once.

use super::Ended;
use crate::code::ErrorCode;
use crate::frame::Heartbeat;
use crate::limits::{DEAD_AFTER_INTERVALS, DEFAULT_HEARTBEAT, MAX_HEARTBEAT, MIN_HEARTBEAT};
use crate::meta::{Meta, MetaBuf};
use std::time::{Duration, Instant};

/// Quiet, answered heartbeats before the interval is stretched one step.
const ROUNDS_PER_STEP: u8 = 3;

/// How often a side shows that it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatSettings {
    /// The interval at the start and after a miss; 1–600 s, what is outside is taken for the nearer
    /// end, as nothing else can be announced.
    pub interval: Duration,
    /// The longest it may stretch to; not below `interval`.
    pub max_interval: Duration,
}

impl Default for HeartbeatSettings {
    fn default() -> HeartbeatSettings {
        HeartbeatSettings {
            interval: DEFAULT_HEARTBEAT,
            max_interval: DEFAULT_HEARTBEAT,
        }
    }
}

/// What a heartbeat taught, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkReport {
    /// An answer came, this long after the question.
    RoundTrip(Duration),
    /// A heartbeat was still unanswered when the next one was due.
    Miss,
}

#[derive(Debug, Clone, Copy)]
struct Ping {
    seq: u16,
    sent: Instant,
    /// When it counts as missed; not while this side does not read, as the answer may be there.
    due: Instant,
    /// The interval this one announces.
    proposes: Option<Duration>,
    missed: bool,
}

/// One side's view of the other's liveness.
#[derive(Debug)]
pub(super) struct Link {
    settings: HeartbeatSettings,
    /// Our interval.
    interval: Duration,
    /// Our interval as the peer knows it; never below `interval`.
    told: Duration,
    /// The peer's, as it announced or by default.
    peer_interval: Duration,
    peer_announced: bool,
    last_received: Instant,
    last_sent: Instant,
    /// Whether there was anything but heartbeats since the last one we sent.
    busy: bool,
    quiet_rounds: u8,
    next_seq: u16,
    ping: Option<Ping>,
    /// Set while this side does not read: silence is not the peer's fault then.
    paused_at: Option<Instant>,
}

impl Link {
    pub(super) fn new(settings: HeartbeatSettings, now: Instant) -> Link {
        let settings = HeartbeatSettings {
            interval: settings.interval.clamp(MIN_HEARTBEAT, MAX_HEARTBEAT),
            max_interval: settings.max_interval.min(MAX_HEARTBEAT),
        };
        Link {
            settings,
            // A peer that was told nothing expects the default; more often is always allowed.
            interval: settings.interval.min(DEFAULT_HEARTBEAT),
            told: DEFAULT_HEARTBEAT,
            peer_interval: DEFAULT_HEARTBEAT,
            peer_announced: false,
            last_received: now,
            last_sent: now,
            busy: false,
            quiet_rounds: 0,
            next_seq: 1,
            ping: None,
            paused_at: None,
        }
    }

    /// The interval to announce in a HELLO.
    pub(super) fn announced(&self) -> Duration {
        self.settings.interval
    }

    /// The HELLOs are exchanged, so the peer knows our interval.
    pub(super) fn known_to_peer(&mut self) {
        (self.interval, self.told) = (self.settings.interval, self.settings.interval);
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn peer_interval(&self) -> Duration {
        self.peer_interval
    }

    /// The last sign of life, not counting the time in which this side did not read.
    pub(super) fn last_received(&self, now: Instant) -> Instant {
        let paused = self.paused_at.map(|at| now.saturating_duration_since(at));
        (self.last_received + paused.unwrap_or_default()).min(now)
    }

    /// Any byte is a sign of life.
    #[inline]
    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    #[inline]
    pub(super) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// A frame went by that was not about the link itself: the link is not quiet.
    #[inline]
    pub(super) fn used(&mut self) {
        self.busy = true;
    }

    pub(super) fn peer_announces(&mut self, interval: Duration) {
        self.peer_interval = interval;
        self.peer_announced = true;
        // Shrinking needs no consent.
        self.interval = self.bounded(self.interval);
    }

    /// How far the interval may be stretched.
    fn ceiling(&self) -> Duration {
        self.settings.max_interval.min(self.peer_interval)
    }

    /// As much of `interval` as is allowed: what was configured needs nobody's leave.
    fn bounded(&self, interval: Duration) -> Duration {
        interval.min(self.ceiling().max(self.settings.interval))
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_at.get_or_insert(now);
    }

    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused_at.take() {
            let paused = now.saturating_duration_since(since);
            self.last_received = (self.last_received + paused).min(now);
            if let Some(ping) = &mut self.ping {
                ping.due += paused;
            }
        }
    }

    /// When `on_deadline` has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let reading = self.paused_at.is_none();
        let ours = match self.ping {
            None => Some(self.last_sent + self.interval),
            Some(ping) => (reading && !ping.missed).then_some(ping.due),
        };
        let dead = reading.then(|| self.dead_at());
        ours.into_iter().chain(dead).min()
    }

    fn dead_at(&self) -> Instant {
        self.last_received + self.peer_interval * DEAD_AFTER_INTERVALS
    }

    /// Sends a heartbeat if one is due, notes a miss, or declares the peer dead.
    pub(super) fn on_deadline(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Option<LinkReport>, Ended> {
        let reading = self.paused_at.is_none();
        if reading && now >= self.dead_at() {
            let silent = now.saturating_duration_since(self.last_received).as_secs();
            let text = format!("nothing received for {silent} s");
            return Err(Ended::new(ErrorCode::HEARTBEAT_TIMEOUT, text));
        }
        match &mut self.ping {
            None if now >= self.last_sent + self.interval => self.send(now, out),
            Some(ping) if reading && !ping.missed && now >= ping.due => {
                ping.missed = true;
                self.quiet_rounds = 0;
                self.interval = self.interval.min(self.settings.interval);
                return Ok(Some(LinkReport::Miss));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Sends a heartbeat for the caller's own reasons; `None` while one is unanswered. It does not
    /// count as quiet, or asking often would stretch the interval.
    pub(super) fn ping(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<u16> {
        if self.ping.is_some() {
            return None;
        }
        self.busy = true;
        self.send(now, out);
        self.ping.map(|ping| ping.seq)
    }

    fn send(&mut self, now: Instant, out: &mut Vec<u8>) {
        let seq = self.next_seq;
        self.next_seq = self.next_seq.checked_add(1).unwrap_or(1);
        if self.busy {
            self.quiet_rounds = 0;
        }
        let proposes = self.proposal();
        let mut meta = MetaBuf::new();
        if let Some(interval) = proposes {
            meta.set_heartbeat(interval);
        }
        Heartbeat {
            seq,
            meta: meta.view(),
            ..Heartbeat::default()
        }
        .encode(out);
        self.ping = Some(Ping {
            seq,
            sent: now,
            due: now + self.interval,
            proposes,
            missed: false,
        });
        (self.last_sent, self.busy) = (now, false);
    }

    /// The interval the next heartbeat should announce, if it is another than the peer knows.
    fn proposal(&self) -> Option<Duration> {
        if !self.peer_announced {
            return None;
        }
        let wanted = if self.quiet_rounds >= ROUNDS_PER_STEP {
            (self.interval * 2).min(self.ceiling()).max(self.interval)
        } else {
            self.interval
        };
        (wanted != self.told).then_some(wanted)
    }

    /// Takes a HEARTBEAT: appends the answer to a question, learns from the answer to ours.
    pub(super) fn heartbeat(
        &mut self,
        beat: &Heartbeat<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<LinkReport> {
        if let Some(interval) = beat.meta.heartbeat() {
            self.peer_announces(interval);
        }
        if beat.reply {
            return self.answered(now, beat.seq);
        }
        Heartbeat {
            reply: true,
            meta: Meta::EMPTY,
            ..*beat
        }
        .encode(out);
        None
    }

    /// The peer answered a heartbeat; `None` if it is not the one that is open.
    fn answered(&mut self, now: Instant, seq: u16) -> Option<LinkReport> {
        let ping = self.ping.take_if(|ping| ping.seq == seq)?;
        if let Some(interval) = ping.proposes {
            self.told = interval;
        }
        match ping.proposes {
            // The peer knows it now, but the reason for it is gone.
            _ if ping.missed => {}
            Some(interval) if interval > self.interval => {
                // Meanwhile the peer may have announced less.
                self.interval = self.bounded(interval);
                self.quiet_rounds = 0;
            }
            _ => self.quiet_rounds = self.quiet_rounds.saturating_add(1),
        }
        Some(LinkReport::RoundTrip(
            now.saturating_duration_since(ping.sent),
        ))
    }
}
