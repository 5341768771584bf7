//! From the configuration to the settings that each part has of its own.

use crate::config::{
    Config, HandlerConfig, Latency, LogFormat, OtlpProtocol, ProxyProtocol, Readiness, StaticBody,
};
use crate::conn::{ConnSettings, ListenSettings, Settings};
use crate::dispatch::MirrorLimits;
use crate::handler::{self, Handler, Handlers};
use crate::scheduler::Limits;
use crate::telemetry::{self, LogSettings, LogStyle, SamplingSettings, TraceSettings};
use mcpd_proto::session::{HeartbeatSettings, ServerSettings};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};

/// The settings of the listener and of the connections it accepts.
pub(super) fn connections(config: &Config) -> Settings {
    let (data, limits) = (&config.data, &config.limits);
    let session = ServerSettings {
        server_id: config.server_id.clone(),
        incarnation: incarnation(),
        max_payload: u32::try_from(limits.max_payload).unwrap_or(u32::MAX),
        max_in_flight: limits.max_in_flight,
        heartbeat: HeartbeatSettings {
            interval: config.heartbeat.interval,
            max_interval: config.heartbeat.max_interval,
        },
        control_per_second: limits.control_frames_per_second,
        frame_timeout: limits.frame_timeout,
        demand_hello: limits.require_hello.then_some(limits.hello_timeout),
    };
    let conn = ConnSettings {
        session: Arc::new(session),
        max_in_flight_bytes: limits.max_in_flight_bytes,
        max_outbound_bytes: limits.max_outbound_bytes,
        write_timeout: limits.write_timeout,
        max_age: limits.max_age.unwrap_or_default(),
        max_age_jitter: limits.max_age_jitter.into(),
        goaway_grace: config.goaway.grace,
        close_linger: limits.close_linger,
        hello_timeout: limits.hello_timeout,
        allow_plaintext_token: data.allow_plaintext_token,
    };
    let http_ports = 1 + usize::from(config.admin.listen.is_some());
    let listen = ListenSettings {
        addr: data.listen,
        backlog: data.backlog,
        max_connections: super::descriptors::room_for(data.max_connections, http_ports),
        accepts_per_second: data.accepts_per_second.unwrap_or_default(),
        proxy_protocol: data.proxy_protocol == ProxyProtocol::Required,
        proxy_timeout: limits.hello_timeout,
        keepalive: data.keepalive.unwrap_or_default(),
        user_timeout: data.user_timeout.unwrap_or_default(),
        handshake_timeout: data.handshakes.timeout,
        max_handshakes: data.handshakes.max,
        handshakes_per_second: data.handshakes.per_second.unwrap_or_default(),
    };
    Settings {
        listen: Arc::new(listen),
        conn: Arc::new(conn),
    }
}

/// How many copies of requests there may be.
pub(super) fn mirrors(config: &Config) -> MirrorLimits {
    MirrorLimits {
        copies: config.routes.max_mirrors,
        bytes: config.routes.max_mirror_bytes,
    }
}

/// How and what to log.
pub(super) fn logs(config: &Config) -> LogSettings {
    LogSettings {
        style: match config.log.format {
            LogFormat::Auto => LogStyle::Auto,
            LogFormat::Pretty => LogStyle::Pretty,
            LogFormat::Json => LogStyle::Json,
            LogFormat::Ecs => LogStyle::Ecs,
        },
        filter: config.log.filter.clone(),
        server_id: config.server_id.clone(),
    }
}

/// Where spans go.
pub(super) fn traces(config: &Config) -> TraceSettings {
    let tracing = &config.tracing;
    TraceSettings {
        endpoint: tracing.endpoint.clone().filter(|_| tracing.enabled),
        protocol: match tracing.protocol {
            OtlpProtocol::Grpc => telemetry::OtlpProtocol::Grpc,
            OtlpProtocol::Http => telemetry::OtlpProtocol::Http,
        },
        queue: tracing.queue,
        batch: tracing.batch,
        interval: tracing.interval,
        timeout: tracing.timeout,
        server_id: config.server_id.clone(),
        sampling: sampling(config),
    }
}

/// What is sampled, without the routes that have a ratio of their own: these are set at run time.
pub(super) fn sampling(config: &Config) -> SamplingSettings {
    let tracing = &config.tracing;
    SamplingSettings {
        ratio: tracing.ratio,
        control_ratio: tracing.control_ratio,
        routes: BTreeMap::new(),
        parent_per_second: tracing.parent_per_second,
        parent_per_principal: tracing.parent_per_principal,
        slow: tracing.slow,
        late_per_second: tracing.late_per_second,
    }
}

/// Names this process' memory of message ids: it has a new one with every start.
fn incarnation() -> [u8; 16] {
    static INCARNATION: OnceLock<[u8; 16]> = OnceLock::new();
    *INCARNATION.get_or_init(|| {
        let mut id = [0; 16];
        if getrandom::fill(&mut id).is_err() {
            id[..4].copy_from_slice(&std::process::id().to_be_bytes());
        }
        id
    })
}

/// Whether `/readyz` stays at 200 while a drain still serves.
pub(super) fn keeps_ready(config: &Config) -> bool {
    config.drain.readiness == Readiness::Keep
}

/// The limits of the whole server.
pub(super) fn server_limits(config: &Config) -> Limits {
    Limits {
        running: config.scheduler.max_running,
        waiting: config.scheduler.max_waiting,
    }
}

/// The limits of configured handlers that have some.
pub(super) fn limits(handlers: &BTreeMap<String, HandlerConfig>) -> BTreeMap<String, Limits> {
    let limits = handlers.iter().filter_map(|(name, handler)| {
        let HandlerConfig::Delay {
            concurrency, queue, ..
        } = handler
        else {
            return None;
        };
        let limits = Limits {
            running: (*concurrency)?,
            waiting: *queue,
        };
        Some((name.clone(), limits))
    });
    limits.collect()
}

/// Builds the configured handlers. One whose configuration is as it was stays the same handler, with
/// what it remembers; but a body file is read anew, for it may have changed under its name.
///
/// # Errors
/// A body file that cannot be read, by the handler's name.
pub(super) fn handlers(
    config: &BTreeMap<String, HandlerConfig>,
    before: Option<(&BTreeMap<String, HandlerConfig>, &Handlers)>,
) -> Result<Handlers, String> {
    let mut handlers = Handlers::new();
    for (name, config) in config {
        let same = before.filter(|(configs, _)| configs.get(name) == Some(config));
        let same = same.filter(|_| !reads_a_file(config));
        let kept = same
            .and_then(|(_, handlers)| handlers.get(name))
            .map(Arc::clone);
        let built = match kept {
            Some(kept) => kept,
            None => build(config).map_err(|error| format!("handlers.{name}: {error}"))?,
        };
        handlers.insert(name.clone(), built);
    }
    Ok(handlers)
}

fn reads_a_file(config: &HandlerConfig) -> bool {
    matches!(
        config,
        HandlerConfig::Static {
            body: StaticBody::File(_),
            ..
        }
    )
}

fn build(config: &HandlerConfig) -> io::Result<Arc<dyn Handler>> {
    Ok(match config {
        HandlerConfig::Echo => Arc::new(handler::Echo),
        HandlerConfig::Discard => Arc::new(handler::Discard),
        HandlerConfig::Monitor { max_topics } => Arc::new(handler::Monitor::new(*max_topics)),
        HandlerConfig::Static { body, content_type } => {
            let body = match body {
                StaticBody::Inline(text) => text.clone().into(),
                StaticBody::File(path) => std::fs::read(path)?.into(),
            };
            Arc::new(handler::Static {
                body,
                content_type: content_type.clone(),
            })
        }
        HandlerConfig::Delay {
            latency,
            failure_percent,
            ..
        } => {
            let latency = match latency {
                Latency::Fixed(time) => handler::Latency::Fixed(*time),
                Latency::Uniform { min, max } => handler::Latency::Uniform(*min, *max),
            };
            Arc::new(handler::Delay::new(latency, *failure_percent))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_by_default_are_those_of_the_configuration() {
        assert_eq!(traces(&Config::default()), TraceSettings::default());
    }

    /// Whoever embeds a listener starts from the same limits as a server without configuration.
    #[test]
    fn the_defaults_of_the_parts_are_those_of_the_configuration() {
        let Settings { listen, conn } = connections(&Config::default());
        let session = Arc::clone(&conn.session);
        let expected = ConnSettings {
            session: Arc::clone(&session),
            ..ConnSettings::default()
        };
        assert_eq!(format!("{conn:?}"), format!("{expected:?}"));
        let expected = ListenSettings {
            // Fewer where descriptors are short.
            max_connections: listen.max_connections,
            ..ListenSettings::default()
        };
        assert_eq!(format!("{listen:?}"), format!("{expected:?}"));
        let expected = ServerSettings {
            incarnation: session.incarnation,
            heartbeat: session.heartbeat,
            ..ServerSettings::default()
        };
        assert_eq!(*session, expected);
        assert_eq!(
            session.heartbeat.interval,
            HeartbeatSettings::default().interval
        );
    }
}
