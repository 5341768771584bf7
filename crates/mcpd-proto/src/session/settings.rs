//! What a caller decides about each end of its connections.

use super::link::HeartbeatSettings;
use crate::limits::{CLIENT_MAX_PAYLOAD, FRAME_TIMEOUT, SERVER_MAX_PAYLOAD};
use std::time::Duration;

/// What a server tells its clients and holds them to. Shared by all connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// SERVER_ID, ≤ 128 bytes.
    pub server_id: String,
    /// INCARNATION of the memory of message ids.
    pub incarnation: [u8; 16],
    /// Largest payload taken, in bytes; at least 1 MiB, as clients may count on that unannounced.
    pub max_payload: u32,
    /// Unanswered requests a connection may have; at least 256, as for `max_payload`.
    pub max_in_flight: u16,
    /// Our heartbeats.
    pub heartbeat: HeartbeatSettings,
    /// HEARTBEAT, CANCEL, CONFIRM, ERROR and ignored frames a client may send in a second.
    pub control_per_second: u32,
    /// Time for one frame, to which a second is added for each 16 KiB.
    pub frame_timeout: Duration,
    /// Set where a HELLO is demanded of everybody: time from accept until it is complete. See also
    /// [`Server::demand_hello`](super::Server::demand_hello).
    pub demand_hello: Option<Duration>,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            server_id: "mcpd".to_owned(),
            incarnation: [0; 16],
            max_payload: SERVER_MAX_PAYLOAD,
            max_in_flight: 1024,
            heartbeat: HeartbeatSettings::default(),
            control_per_second: 2000,
            frame_timeout: FRAME_TIMEOUT,
            demand_hello: None,
        }
    }
}

/// The parts of a HELLO answer that a driver decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Welcome {
    /// DEDUP_WINDOW_S, where there is a memory of message ids.
    pub dedup_window_s: Option<u32>,
}

/// How a client behaves on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Our heartbeats.
    pub heartbeat: HeartbeatSettings,
    /// Largest payload taken, in bytes.
    pub max_payload: u32,
    /// Time for one frame, to which a second is added for each 16 KiB.
    pub frame_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings {
            heartbeat: HeartbeatSettings::default(),
            max_payload: CLIENT_MAX_PAYLOAD,
            frame_timeout: FRAME_TIMEOUT,
        }
    }
}
