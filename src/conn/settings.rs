//! What connections are held to. Each limit has its default and its reason in
//! `docs/configuration.md`.

use mcpd_proto::session::ServerSettings;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a listener and of the connections it accepts from now on.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The listener's own. Address, backlog and socket options hold from the start.
    pub listen: Arc<ListenSettings>,
    /// Each new connection's.
    pub conn: Arc<ConnSettings>,
}

/// Limits of one connection. A connection keeps those it was accepted with. The default is what a
/// server without configuration runs with.
#[derive(Debug, Clone)]
pub struct ConnSettings {
    /// What the protocol's own state machine needs.
    pub session: Arc<ServerSettings>,
    /// Bytes of requests that are being worked on; above it the connection is not read.
    pub max_in_flight_bytes: usize,
    /// Bytes that wait to be written; above it the connection is not read.
    pub max_outbound_bytes: usize,
    /// How long not a single byte may be taken by the peer before it is a SLOW_CONSUMER.
    pub write_timeout: Duration,
    /// Age at which a client is asked to move; zero for never.
    pub max_age: Duration,
    /// Spread of `max_age`, in percent either way, so that connections do not move together.
    pub max_age_jitter: u32,
    /// Time between asking a client to move for its age and refusing its requests.
    pub goaway_grace: Duration,
    /// How long the read side stays open after the last frame.
    pub close_linger: Duration,
    /// Time from accept to a complete HELLO, where credentials are demanded, and for deciding it.
    pub hello_timeout: Duration,
    /// Takes AUTH_TOKEN over plaintext from addresses other than loopback.
    pub allow_plaintext_token: bool,
}

/// What the listener is held to. The default is what a server without configuration runs with.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Where to listen.
    pub addr: SocketAddr,
    /// Connections the kernel queues before they are accepted.
    pub backlog: u32,
    /// Connections at one time.
    pub max_connections: usize,
    /// Connections accepted in a second; 0 for any number.
    pub accepts_per_second: u32,
    /// Whether every connection begins with a PROXY protocol v2 header.
    pub proxy_protocol: bool,
    /// Time for that header.
    pub proxy_timeout: Duration,
    /// TCP keepalive; zero for none.
    pub keepalive: Duration,
    /// TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged; zero for the system's choice. At
    /// least twice the write timeout and the linger time is taken.
    pub user_timeout: Duration,
    /// Time from accept to the end of a TLS handshake.
    pub handshake_timeout: Duration,
    /// TLS handshakes under way at one time.
    pub max_handshakes: usize,
    /// TLS handshakes begun in a second; 0 for any number.
    pub handshakes_per_second: u32,
}

impl Default for ConnSettings {
    fn default() -> ConnSettings {
        ConnSettings {
            session: Arc::default(),
            max_in_flight_bytes: 8 << 20,
            max_outbound_bytes: 4 << 20,
            write_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(1800),
            max_age_jitter: 20,
            goaway_grace: Duration::from_secs(60),
            close_linger: Duration::from_secs(2),
            hello_timeout: Duration::from_secs(10),
            allow_plaintext_token: false,
        }
    }
}

impl ConnSettings {
    /// The age at which one connection is asked to move, if it is; `random` is from 0 to 1.
    pub(super) fn age_limit(&self, random: f64) -> Option<Duration> {
        let spread = f64::from(self.max_age_jitter) / 100.0;
        let factor = 1.0 + spread * (2.0 * random - 1.0);
        (!self.max_age.is_zero()).then(|| self.max_age.mul_f64(factor))
    }
}

impl Default for ListenSettings {
    fn default() -> ListenSettings {
        ListenSettings {
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            backlog: 1024,
            max_connections: 10_000,
            accepts_per_second: 5000,
            proxy_protocol: false,
            proxy_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(60),
            user_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 512,
            handshakes_per_second: 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections of one second must not all move in one second.
    #[test]
    fn the_greatest_age_is_spread_around_what_is_set() {
        let settings = ConnSettings::default();
        let minutes = |random| settings.age_limit(random).unwrap().as_secs_f64() / 60.0;
        assert_eq!([0.0, 0.5, 1.0].map(minutes), [24.0, 30.0, 36.0]);
        let never = ConnSettings {
            max_age: Duration::ZERO,
            ..settings
        };
        assert_eq!(never.age_limit(0.5), None);
    }
}
