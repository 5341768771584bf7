//! The sizes and times that the protocol itself fixes.
//!
//! What an operator may choose (how many connections, how large a payload) is configuration of the
//! server; what is here holds between any two ends.

use std::time::Duration;

/// Bytes of the fixed frame header.
pub const HEADER_LEN: usize = 10;
/// The only version of the protocol there is.
pub const VERSION: u8 = 1;
/// The most urgent priority; 0 is the least.
pub const MAX_PRIORITY: u8 = 7;
/// Largest metadata block, without its own length field.
pub const MAX_META_LEN: usize = 16 * 1024;
/// Most HEADER entries in one metadata block.
pub const MAX_HEADERS: usize = 64;
/// Longest key of a HEADER entry.
pub const MAX_HEADER_KEY_LEN: usize = 64;
/// Longest value of a HEADER entry.
pub const MAX_HEADER_VALUE_LEN: usize = 4 * 1024;
/// Longest TRACESTATE.
pub const MAX_TRACESTATE_LEN: usize = 512;
/// Longest CONTENT_TYPE.
pub const MAX_CONTENT_TYPE_LEN: usize = 255;
/// Longest CLIENT_ID, SERVER_ID and AGENT.
pub const MAX_ID_LEN: usize = 128;
/// Opaque bytes a HEARTBEAT may carry.
pub const MAX_HEARTBEAT_LEN: usize = 64;
/// Longest text of an ERROR or GOAWAY.
pub const MAX_TEXT_LEN: usize = 1024;
/// Largest payload a server takes until it has announced MAX_PAYLOAD.
pub const SERVER_MAX_PAYLOAD: u32 = 1024 * 1024;
/// Largest payload a client takes until it has announced MAX_PAYLOAD.
pub const CLIENT_MAX_PAYLOAD: u32 = SERVER_MAX_PAYLOAD + 64 * 1024;
/// Unanswered requests a server takes until it has announced MAX_IN_FLIGHT.
pub const UNANNOUNCED_IN_FLIGHT: u16 = 256;
/// Largest HELLO where credentials are demanded.
pub const MAX_DEMANDED_HELLO_LEN: u32 = 16 * 1024;
/// Shortest interval a HEARTBEAT_MS may announce.
pub const MIN_HEARTBEAT: Duration = Duration::from_millis(1_000);
/// Longest interval a HEARTBEAT_MS may announce.
pub const MAX_HEARTBEAT: Duration = Duration::from_millis(600_000);
/// Interval of a side that has announced none.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
/// Silent intervals of the peer after which a connection is dead.
pub const DEAD_AFTER_INTERVALS: u32 = 3;
/// Time a frame may take from its first byte to its last, whatever its size…
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// …plus one second for each of these many bytes.
pub const FRAME_BYTES_PER_SECOND: u32 = 16 * 1024;
/// How long an end reads on after its half-close, waiting for the peer's.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);
