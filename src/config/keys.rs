//! The table of every configuration key. Parsing, limits, defaults, the
//! reload rule and `docs/configuration.md` all come from it, so none of them
//! can drift from the others.

use std::time::Duration;

/// What the value of a key looks like, with its limits (all inclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text without control characters, 1 to `max` bytes.
    Text {
        /// Longest, in bytes.
        max: usize,
        /// Only ASCII is allowed.
        ascii: bool,
    },
    /// A document of up to `max` bytes; line breaks are fine.
    Body {
        /// Longest, in bytes.
        max: usize,
    },
    /// An IP address or `localhost`, and a port: `127.0.0.1:8080`, `[::]:8080`.
    Address,
    /// A path, relative to the working directory of the process.
    Path,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Count {
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// A number of bytes: plain, or with a unit such as `64KiB` or `1MiB`.
    Size {
        /// Least, in bytes.
        min: u64,
        /// Greatest, in bytes.
        max: u64,
    },
    /// A time span with its unit: `250ms`, `30s`, `1m30s`.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
        /// `0s` is allowed too and switches the feature off.
        off: bool,
    },
    /// A fraction from 0 to 1.
    Ratio,
    /// How many times something else, such as `1.2`. Its limits are in hundredths.
    Factor {
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// A `tracing` filter: `info`, `info,mcpd::conn=debug`.
    Filter,
    /// An absolute URL of `http` or `https`, at most this many bytes.
    Url {
        /// Most bytes.
        max: usize,
    },
}

/// One key: what it means and what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The dotted key. Handlers have a name in the middle, written `<name>`.
    pub key: &'static str,
    /// The default as one would write it; `None` when unset is a choice.
    pub default: Option<&'static str>,
    /// Type and limits.
    pub kind: Kind,
    /// A reload (SIGHUP) applies it; otherwise it needs a restart.
    pub reload: bool,
    /// The handler type that alone understands this key; `None` for all else.
    pub handler: Option<&'static str>,
    /// One or two sentences for a reader who has never seen the key.
    pub help: &'static str,
}

/// Handler types, in the order of the documentation.
pub(super) const HANDLER_TYPES: &[&str] = &["echo", "monitor", "static", "discard", "delay"];

/// Longest body of a `static` handler. Every client takes 1 MiB + 64 KiB
/// unannounced, so this always fits with its metadata.
pub(super) const MAX_STATIC_BODY: u64 = MIB;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

const fn span(min: Duration, max: Duration) -> Kind {
    let off = false;
    Kind::Duration { min, max, off }
}

const fn span_or_off(min: Duration, max: Duration) -> Kind {
    let off = true;
    Kind::Duration { min, max, off }
}

const fn key(
    key: &'static str,
    default: &'static str,
    kind: Kind,
    reload: bool,
    help: &'static str,
) -> KeyDoc {
    KeyDoc {
        key,
        default: Some(default),
        kind,
        reload,
        handler: None,
        help,
    }
}

impl KeyDoc {
    const fn unset(mut self) -> Self {
        self.default = None;
        self
    }

    const fn of(mut self, handler: &'static str) -> Self {
        self.handler = Some(handler);
        self
    }
}

const RELOAD: bool = true;
const RESTART: bool = false;

const HOUR: Duration = secs(3_600);

/// Every key, in the order of the documentation.
#[rustfmt::skip]
pub const KEYS: &[KeyDoc] = &[
    key("server_id", "mcpd", Kind::Text { max: 128, ascii: false }, RESTART,
        "The name this server gives itself in HELLO, logs and status. Unless set, the environment variable HOSTNAME (a pod's name) is used."),
    key("handlers_file", "", Kind::Path, RESTART,
        "The handlers document (YAML or JSON, at most 1MiB): handlers that reach out, such as `http`, and others beside them, see docs/handlers.md. The file itself is looked at twice a second; while a changed one is invalid, the last good one stays.").unset(),

    key("data.listen", "127.0.0.1:8080", Kind::Address, RESTART,
        "Where MCP clients connect. `0.0.0.0:8080` takes connections on every IPv4 address, `[::]:8080` on every address; port 0 takes any free port."),
    key("data.threads", "0", count(0, 1_024), RESTART,
        "Threads that serve connections. 0 takes as many as the process may run at once (CPU affinity and cgroup quota count)."),
    key("data.backlog", "1024", count(1, 65_535), RESTART,
        "Connections that the kernel keeps waiting for accept. The kernel has a bound of its own (net.core.somaxconn)."),
    key("data.proxy_protocol", "off", Kind::Choice(&["off", "required"]), RESTART,
        "Whether every connection begins with a PROXY protocol v2 header that names the real client. `required` refuses connections without one; use it only behind a balancer that sends it. `false` and `true` mean the same two."),
    key("data.keepalive", "60s", span_or_off(secs(1), secs(7_200)), RESTART,
        "Idle time after which the kernel probes a peer that is silent on TCP. 0s: off."),
    key("data.user_timeout", "30s", span_or_off(secs(1), HOUR), RESTART,
        "How long sent bytes may stay unacknowledged before the kernel drops the connection (TCP_USER_TIMEOUT); at least twice limits.write_timeout plus limits.close_linger is taken, as those judge peers that do not read. 0s: the kernel's own bound."),
    key("data.max_connections", "10000", count(1, 10_000_000), RELOAD,
        "Open connections; one more is told TOO_MANY_CONNECTIONS and closed. Lowering it closes nobody. Fewer where the process may not open that many files (ulimit -n); the log says so."),
    key("data.accepts_per_second", "5000", count(0, 1_000_000), RELOAD,
        "Connections accepted in a second; one more is told TOO_MANY_CONNECTIONS and closed. 0: no limit."),
    key("data.allow_plaintext_token", "false", Kind::Bool, RESTART,
        "Accept AUTH_TOKEN over a connection that is neither encrypted nor loopback. Anybody on the way can read the token then."),

    key("data.tls.certificate", "", Kind::Path, RESTART,
        "The certificate of the data port and those that lead to its root (PEM, at most 1MiB). With it clients connect by TLS 1.2 or 1.3 and no other way. The file itself, and with it the key and the client CAs, is looked at twice a second; what does not fit together is refused, and the last good ones stay. Unset: plaintext.").unset(),
    key("data.tls.key", "", Kind::Path, RESTART,
        "The private key of data.tls.certificate (PEM).").unset(),
    key("data.tls.client_ca", "", Kind::Path, RESTART,
        "The CAs that vouch for clients' certificates (PEM, at most 1MiB).").unset(),
    key("data.tls.client_auth", "", Kind::Choice(&["off", "optional", "required"]), RESTART,
        "Whether clients show a certificate. What one shows has to be good, even if it is `optional`. Unset: `required` where data.tls.client_ca is set, else `off`.").unset(),
    key("data.tls.handshake_timeout", "10s", span(ms(100), secs(60)), RELOAD,
        "How long a client has from accept to the end of its TLS handshake."),
    key("data.tls.max_handshakes", "512", count(1, 65_535), RELOAD,
        "TLS handshakes under way at once; a connection above it is closed."),
    key("data.tls.handshakes_per_second", "1000", count(0, 1_000_000), RELOAD,
        "TLS handshakes begun in a second; a connection above it is closed. One costs as much CPU time as some hundred requests, which is why there is a bound below data.accepts_per_second. 0: no limit."),

    key("limits.max_payload", "1MiB", size(MIB, 64 * MIB), RELOAD,
        "Largest payload of one frame. Not below 1MiB, because the protocol promises that much to clients that never ask."),
    key("limits.max_in_flight", "1024", count(256, 65_535), RELOAD,
        "Unanswered requests on one connection; one more is refused with TOO_MANY_IN_FLIGHT. Not below 256, because the protocol promises that many unannounced."),
    key("limits.max_in_flight_bytes", "8MiB", size(MIB, GIB), RELOAD,
        "Payload bytes of unanswered requests on one connection. Above it the server stops reading from that connection. At least limits.max_payload."),
    key("limits.max_outbound_bytes", "4MiB", size(MIB, GIB), RELOAD,
        "Answer bytes that wait to be written to one connection. Above it the server stops taking requests from that connection. At least limits.max_payload."),
    key("limits.write_timeout", "30s", span(ms(100), secs(600)), RELOAD,
        "A peer that lets not one byte be written for this long is a SLOW_CONSUMER and is closed."),
    key("limits.require_hello", "false", Kind::Bool, RELOAD,
        "Refuse clients whose first frame is not HELLO."),
    key("limits.hello_timeout", "10s", span(ms(100), secs(60)), RELOAD,
        "How long a client has for its HELLO where limits.require_hello is set, and a balancer for its header where data.proxy_protocol is required."),
    key("limits.frame_timeout", "30s", span(ms(100), secs(600)), RELOAD,
        "A frame must be complete this long after its first byte, plus 1s for every 16KiB of its payload (that part is the protocol's)."),
    key("limits.control_frames_per_second", "2000", count(100, 1_000_000), RELOAD,
        "HEARTBEAT, CANCEL, CONFIRM, ERROR and ignored frames per connection and second; above it CALM_DOWN closes the connection."),
    key("limits.max_age", "30m", span_or_off(secs(1), secs(30 * 86_400)), RELOAD,
        "A connection this old is told GOAWAY, so that clients spread over new replicas. 0s: never."),
    key("limits.max_age_jitter", "20", count(0, 50), RELOAD,
        "Per cent by which each connection's max age is randomly longer or shorter, so that connections of one second do not end in one second."),
    key("limits.close_linger", "2s", span(ms(10), secs(30)), RELOAD,
        "After CLOSING, how long the server reads on until the client closes too. Closing with unread bytes would destroy answers on their way."),

    key("heartbeat.interval", "30s", span(secs(1), secs(600)), RELOAD,
        "Sign of life that this server promises and, as a start, keeps."),
    key("heartbeat.max_interval", "120s", span(secs(1), secs(600)), RELOAD,
        "How far the interval may stretch on a quiet, stable connection. At least heartbeat.interval."),

    key("goaway.grace", "60s", span(secs(0), HOUR), RELOAD,
        "After GOAWAY for max age or rebalancing, how long the connection is still served before DRAINING."),

    key("peers.addresses", "", Kind::Text { max: 4096, ascii: true }, RESTART,
        "The sidecar ports of all servers that serve the same routes, this one included, with commas between them: names, which stand for all their addresses, or addresses; the port is 8081 unless it is written. For servers outside of Kubernetes; with kubernetes.name they are known by themselves. Unset: there are no others.").unset(),
    key("rebalance.enabled", "false", Kind::Bool, RELOAD,
        "Ask connections to move (GOAWAY) while this server has more of them than its share, so that a server that is new gets some before they have reached limits.max_age. Needs to know the others: peers.addresses or kubernetes.name."),
    key("rebalance.interval", "30s", span(secs(1), HOUR), RELOAD,
        "How often the other servers are asked how many connections they have."),
    key("rebalance.threshold", "1.2", Kind::Factor { min: 105, max: 1_000 }, RELOAD,
        "How many times its share (the connections of all, divided by their number) a server keeps."),
    key("rebalance.rate", "0.01", Kind::Ratio, RELOAD,
        "The part of its connections that is asked to move in a second."),

    key("drain.delay", "10s", span(secs(0), HOUR), RELOAD,
        "First stage of a drain: serve as before while the endpoint is removed from balancers."),
    key("drain.spread", "25s", span(secs(0), HOUR), RELOAD,
        "Second stage: GOAWAY to every connection, evenly over this time."),
    key("drain.finish", "10s", span(secs(0), HOUR), RELOAD,
        "Third stage: new requests get DRAINING, what is in flight finishes. Not shorter than the longest timeout of a route that you care about."),
    key("drain.flush", "5s", span(secs(0), HOUR), RELOAD,
        "Last stage: the listener is closed and the last connections are waited for."),
    key("drain.readiness", "fail", Kind::Choice(&["keep", "fail"]), RELOAD,
        "What /readyz says during a drain. `fail`: 503 at once, for balancers that poll it. `keep`: 200 while new requests are still served, for Kubernetes, which removes the endpoint by itself."),

    key("scheduler.max_running", "10000", count(1, 1_000_000), RELOAD,
        "Requests of the whole server whose handlers work on them; those that handlers answer in place do not count. Others wait, by priority."),
    key("scheduler.max_waiting", "10000", count(0, 1_000_000), RELOAD,
        "Requests of the whole server that wait because of scheduler.max_running. When it is full, the lowest priority is refused with OVERLOADED. 0: nobody waits."),

    key("sidecar.listen", "127.0.0.1:8081", Kind::Address, RESTART,
        "Where health, readiness, status and metrics are served over HTTP. Not the address of data.listen."),

    key("admin.listen", "", Kind::Address, RESTART,
        "A port of its own for the admin API (/admin/v1 and /openapi.json). Unset: it is served on sidecar.listen. Health, status and metrics stay on the sidecar port in any case.").unset(),
    key("admin.tls.certificate", "", Kind::Path, RESTART,
        "The certificate of admin.listen, as data.tls.certificate is that of the data port. Unset: HTTP in plaintext.").unset(),
    key("admin.tls.key", "", Kind::Path, RESTART,
        "The private key of admin.tls.certificate (PEM).").unset(),
    key("admin.tls.client_ca", "", Kind::Path, RESTART,
        "The CAs that vouch for the certificates of clients of the admin API (PEM, at most 1MiB).").unset(),
    key("admin.tls.client_auth", "", Kind::Choice(&["off", "optional", "required"]), RESTART,
        "Whether clients of the admin API show a certificate, besides their token. Unset: `required` where admin.tls.client_ca is set, else `off`.").unset(),
    key("admin.tokens_file", "", Kind::Path, RELOAD,
        "Who may use the admin API: a file with `tokens: [{name: ops, sha256: <64 hex digits>, scopes: [read, operate]}]`, as `mcpd token new` prints it, at most 64KiB. Looked at twice a second; while a changed file is invalid, the last good tokens stay.").unset(),
    key("admin.tokens", "", Kind::Body { max: 64 * KIB as usize }, RELOAD,
        "The same as a text, for the environment: `[{name: ops, sha256: <64 hex digits>, scopes: [read]}]`. Adds to admin.tokens_file.").unset(),
    key("admin.allow_loopback", "", Kind::Bool, RELOAD,
        "Whether requests from this machine need no token. Unset: yes while neither admin.tokens_file nor admin.tokens is set, but never in Kubernetes, where `true` is refused: the other containers of a pod and everybody's port-forwards come from loopback, too.").unset(),
    key("admin.hosts", "", Kind::Text { max: 4096, ascii: true }, RELOAD,
        "Names, separated by commas, by which the admin API may be called besides IP addresses and localhost. Others are refused, lest a web page that has its name point here speak for whoever looks at it.").unset(),
    key("admin.timeout", "10s", span(ms(100), secs(300)), RELOAD,
        "Time for one request to the admin API, its body included. A write that takes longer is answered 504; its outcome is unknown then."),
    key("admin.max_concurrent", "8", count(1, 256), RELOAD,
        "Requests to the admin API that are worked on at once; one more is told 503 and when to come again. Probes and metrics do not count."),

    key("auth.principals", "", Kind::Path, RESTART,
        "Who clients are and what they may do: the principals document (YAML or JSON, at most 1MiB), see docs/security.md. Unset: nobody is asked who they are. The file itself is looked at twice a second; while a changed one is invalid, the last good one stays.").unset(),
    key("auth.jwt.jwks_file", "", Kind::Path, RESTART,
        "The public keys by which AUTH_TOKENs are judged that are JWTs: a JWKS document. Looked at twice a second; while a changed one is invalid, the last good keys stay. Either this or auth.jwt.jwks_url; neither: JWTs are tokens that nobody knows.").unset(),
    key("auth.jwt.jwks_url", "", Kind::Url { max: 2048 }, RESTART,
        "Where the same is got from: https, or plain http on this machine. No redirection is followed. At the start the server is not ready before it has keys.").unset(),
    key("auth.jwt.issuer", "", Kind::Text { max: 1024, ascii: false }, RESTART,
        "The `iss` that a JWT has to have, character by character. Needed where there are keys.").unset(),
    key("auth.jwt.audience", "", Kind::Text { max: 4096, ascii: false }, RESTART,
        "Names of this server, with commas between them: a JWT needs one of them in its `aud`. Needed where there are keys.").unset(),
    key("auth.jwt.subject_claim", "sub", Kind::Text { max: 255, ascii: false }, RESTART,
        "The claim that says whose a JWT is, which `subject` in the principals document and `${subject}` mean. A text of at most 255 bytes."),
    key("auth.jwt.algorithms", "RS256,PS256,ES256,ES384,EdDSA", Kind::Text { max: 255, ascii: true }, RESTART,
        "How JWTs may be signed, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA (Ed25519). There is none with a shared secret."),
    key("auth.jwt.leeway", "30s", span(secs(0), secs(600)), RESTART,
        "How wrong the clocks of issuer and server may be: a JWT is good so long before its `nbf` and after its `exp`."),
    key("auth.jwt.refresh", "5m", span(secs(1), secs(86_400)), RESTART,
        "How often auth.jwt.jwks_url is looked at; while that fails, every 10s. A JWT with an unknown key causes a look of its own, at most one in 10s."),
    key("auth.jwt.max_stale", "24h", span_or_off(secs(1), secs(30 * 86_400)), RESTART,
        "How long keys stay good while auth.jwt.jwks_url does not give any; then no JWT is, and connections by one are asked to authenticate again. 0s: for ever."),
    key("auth.jwt.timeout", "5s", span(ms(100), secs(60)), RESTART,
        "How long auth.jwt.jwks_url may take to answer."),
    key("auth.jwt.max_bytes", "256KiB", size(KIB, MIB), RESTART,
        "Largest JWKS document; a larger one is refused whole."),

    key("routes.file", "", Kind::Path, RESTART,
        "The routes document (YAML or JSON). Unset: two built-in routes, `echo` to the handler echo and `heartbeat` to the handler monitor.").unset(),
    key("routes.poll_interval", "500ms", span(ms(50), HOUR), RESTART,
        "How often the routes file is looked at for changes."),
    key("routes.max_bytes", "8MiB", size(KIB, 256 * MIB), RESTART,
        "Largest routes document; a larger one is refused whole."),
    key("routes.revision_on_answers", "false", Kind::Bool, RELOAD,
        "Put ROUTE_REVISION into the metadata of every answer."),
    key("routes.allow_faults", "false", Kind::Bool, RELOAD,
        "Take routes that inject faults (`fault`), which are there for tests. Otherwise a document with one is refused."),
    key("routes.max_mirrors", "1000", count(0, 1_000_000), RELOAD,
        "Copies for mirrors that may be under way, of all routes together. One more is dropped and counted; the request itself is not touched."),
    key("routes.max_mirror_bytes", "64MiB", size(0, 16 << 30), RELOAD,
        "Bytes of bodies and metadata that these copies may hold together. What would be more is dropped and counted."),

    key("kubernetes.name", "", Kind::Text { max: 200, ascii: true }, RESTART,
        "Keep the documents in ConfigMaps that all replicas share: `<name>-routes` (key routes.yaml) and `<name>-handlers` (key handlers.yaml), instead of routes.file and handlers_file, see docs/kubernetes.md. Unset: Kubernetes is not asked for anything.").unset(),
    key("kubernetes.namespace", "", Kind::Text { max: 63, ascii: true }, RESTART,
        "Where these ConfigMaps are. Unset: the namespace of the pod, or that of the KUBECONFIG's context.").unset(),
    key("kubernetes.mode", "hot", Kind::Choice(&["hot", "declarative"]), RESTART,
        "`hot`: the admin API changes the routes. `declarative`: they are changed by whoever applies the ConfigMaps (GitOps); the admin API answers 405, and nothing is ever written."),
    key("kubernetes.create", "true", Kind::Bool, RESTART,
        "Whether a ConfigMap that is not there may be created: the first time from kubernetes.seed or the built-in routes, and again from the last good document when somebody has deleted it. Only in mode hot."),
    key("kubernetes.principals", "false", Kind::Bool, RESTART,
        "Take the principals document from the ConfigMap `<name>-principals` (key principals.yaml) instead of auth.principals. It is never written. While there is no valid one at the start, nobody is served."),
    key("kubernetes.seed", "", Kind::Path, RESTART,
        "A directory with routes.yaml, handlers.yaml or both: what the ConfigMaps are created from. Unset: the built-in routes, and no handlers document.").unset(),
    key("kubernetes.snapshots", "", Kind::Path, RESTART,
        "A directory that outlives the process, such as an emptyDir: each document that comes into force is written there, and serves at the start when Kubernetes cannot be asked. Unset: there is nothing to start from then.").unset(),
    key("kubernetes.peers", "", Kind::Text { max: 63, ascii: true }, RESTART,
        "The headless Service of all replicas, by which they know each other. Unset: `<kubernetes.name>-headless`.").unset(),
    key("kubernetes.poll", "30s", span(secs(1), HOUR), RESTART,
        "How often the ConfigMaps are read, besides being watched: a watch that broke in silence is noticed so."),
    key("kubernetes.timeout", "5s", span(ms(100), secs(60)), RESTART,
        "How long a request to the API server may take, retries included."),

    key("handlers.<name>.type", "", Kind::Choice(HANDLER_TYPES), RELOAD,
        "What the handler does. `echo` answers with the body it got, `monitor` reports who sent on its topic and when, `static` always gives the same answer, `discard` answers with nothing, `delay` answers late or fails on purpose.").unset(),
    key("handlers.<name>.max_topics", "1000", count(1, 1_000_000), RELOAD,
        "Topics remembered; the one first heard of longest ago is forgotten first.").of("monitor"),
    key("handlers.<name>.body", "", Kind::Body { max: MAX_STATIC_BODY as usize }, RELOAD,
        "The answer. Either this or body_file.").unset().of("static"),
    key("handlers.<name>.body_file", "", Kind::Path, RELOAD,
        "A file with the answer, at most 1MiB, read anew by a reload. Either this or body.").unset().of("static"),
    key("handlers.<name>.content_type", "", Kind::Text { max: 255, ascii: true }, RELOAD,
        "Media type of the answer; unset sends none.").unset().of("static"),
    key("handlers.<name>.latency", "10ms", span(secs(0), HOUR), RELOAD,
        "Fixed time until the answer. Either this or min and max.").of("delay"),
    key("handlers.<name>.min", "", span(secs(0), HOUR), RELOAD,
        "Shortest time until the answer, which is uniformly random; needs max.").unset().of("delay"),
    key("handlers.<name>.max", "", span(secs(0), HOUR), RELOAD,
        "Longest time until the answer; needs min.").unset().of("delay"),
    key("handlers.<name>.failure_percent", "0", count(0, 100), RELOAD,
        "Per cent of requests answered with an error.").of("delay"),
    key("handlers.<name>.concurrency", "0", count(0, 1_000_000), RELOAD,
        "Requests worked on at once; others wait in a queue by priority. 0: only scheduler.max_running holds.").of("delay"),
    key("handlers.<name>.queue", "1000", count(0, 1_000_000), RELOAD,
        "Requests that wait for one of the places of concurrency. When it is full, the lowest priority is refused with OVERLOADED. 0: nobody waits.").of("delay"),

    key("log.format", "auto", Kind::Choice(&["auto", "pretty", "json", "ecs"]), RESTART,
        "`pretty` for people, `json` for collectors, `ecs` the same with the names of the Elastic Common Schema; `auto` is pretty on a terminal and JSON elsewhere."),
    key("log.filter", "info", Kind::Filter, RELOAD,
        "What is logged, in the syntax of tracing: `info`, or `info,mcpd::conn=debug`. `info,mcpd::frames=debug` gives a line for each frame."),

    key("metrics.enabled", "true", Kind::Bool, RESTART,
        "Count frames and requests. Off, the pages of the sidecar port show none; that is for measuring what counting costs, and for nothing else."),

    key("tracing.enabled", "true", Kind::Bool, RESTART,
        "Export spans to tracing.endpoint, where that is set. Else OTEL_SDK_DISABLED or OTEL_TRACES_EXPORTER."),
    key("tracing.endpoint", "", Kind::Url { max: 2048 }, RESTART,
        "URL of an OTLP receiver such as `http://localhost:4317`; for `http` the path /v1/traces is added where there is none. Unset, no request is sampled. Else OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT. Headers come from OTEL_EXPORTER_OTLP_HEADERS alone.").unset(),
    key("tracing.protocol", "grpc", Kind::Choice(&["grpc", "http"]), RESTART,
        "How spans travel: OTLP over gRPC, or over HTTP with protobuf bodies. Else OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL."),
    key("tracing.ratio", "0.01", Kind::Ratio, RELOAD,
        "Which part of the requests without TRACE is sampled. Else OTEL_TRACES_SAMPLER with OTEL_TRACES_SAMPLER_ARG."),
    key("tracing.control_ratio", "0", Kind::Ratio, RELOAD,
        "Which part of HELLO, HEARTBEAT and other frames that are no requests is sampled."),
    key("tracing.parent_per_second", "1000", count(0, 1_000_000), RELOAD,
        "Requests a second that are sampled because the client's TRACE is; above it they are not. 0: clients have no say."),
    key("tracing.parent_per_principal", "100", count(0, 1_000_000), RELOAD,
        "The same for each principal, within tracing.parent_per_second. 0: principals have no say."),
    key("tracing.slow", "1s", span_or_off(ms(1), HOUR), RELOAD,
        "An unsampled request that takes longer gets a late span. 0s: none for being slow."),
    key("tracing.late_per_second", "10", count(0, 1_000), RELOAD,
        "Late spans a second, for unsampled requests that failed or were slow."),
    key("tracing.queue", "8192", count(1, 1_000_000), RESTART,
        "Sampled frames that may wait to be exported; further ones are dropped and counted. Else OTEL_BSP_MAX_QUEUE_SIZE."),
    key("tracing.batch", "512", count(1, 10_000), RESTART,
        "Sampled frames in one export. Else OTEL_BSP_MAX_EXPORT_BATCH_SIZE."),
    key("tracing.interval", "1s", span(ms(10), secs(60)), RESTART,
        "How long a sampled frame waits for a batch to fill. Else OTEL_BSP_SCHEDULE_DELAY."),
    key("tracing.timeout", "10s", span(ms(10), secs(60)), RESTART,
        "How long the receiver may take to answer. Else OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT or OTEL_BSP_EXPORT_TIMEOUT."),
];

/// The part of a handler's key that stands for its name.
const NAME: &str = "handlers.<name>.";

/// Finds the entry of a concrete key such as `drain.delay` or
/// `handlers.slow.latency`.
pub(super) fn find(key: &str) -> Option<&'static KeyDoc> {
    match handler_field(key) {
        Some((_, field)) => field_doc(field),
        None => KEYS.iter().find(|doc| doc.key == key),
    }
}

/// Where a concrete key stands in the documentation.
pub(super) fn position(key: &str) -> Option<usize> {
    let doc = find(key)?;
    KEYS.iter().position(|other| other.key == doc.key)
}

/// The entry of a handler's field.
pub(super) fn field_doc(field: &str) -> Option<&'static KeyDoc> {
    handler_docs().find(|doc| doc.key.strip_prefix(NAME) == Some(field))
}

/// Splits `handlers.slow.latency` into `slow` and `latency`. Names may contain
/// dots, fields never do.
pub(super) fn handler_field(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("handlers.")?.rsplit_once('.')
}

/// The entries of handler fields.
pub(super) fn handler_docs() -> impl Iterator<Item = &'static KeyDoc> {
    KEYS.iter().filter(|doc| doc.key.starts_with(NAME))
}

/// The entries outside the handlers, whose keys are complete as they stand.
pub(super) fn plain_docs() -> impl Iterator<Item = &'static KeyDoc> {
    KEYS.iter().filter(|doc| !doc.key.starts_with(NAME))
}

/// Whether keys exist below `path`.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|doc| {
        doc.key
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}
