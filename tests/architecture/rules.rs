//! The arrows, as a table. `docs/architecture.md` says them in prose.

use crate::source::{Found, Source};

/// One arrow and why it points that way.
pub(crate) struct Rule {
    /// Shown with every violation: what to do instead.
    pub(crate) why: &'static str,
    /// Files and directories, without `.rs`. What does not exist yet breaks nothing.
    pub(crate) within: &'static [&'static str],
    pub(crate) except: &'static [&'static str],
    pub(crate) check: Check,
}

pub(crate) enum Check {
    /// None of these paths, or parts of paths, is named.
    Forbid(&'static [&'static str]),
    /// Of our own crate nothing but this is named.
    OwnCrateOnly(&'static [&'static str]),
    /// No string looks like the name of a metric.
    NoMetricNames,
}

/// What would make a pure part depend on a runtime, the network or the time of day.
const IO_AND_CLOCKS: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "mio",
    "socket2",
    "std::net",
    "std::os::unix::net",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "SystemTime::now",
    "Instant::now",
    ".elapsed()",
];

/// The same for parts that handle addresses as plain values.
const CLOCKS: &[&str] = &[
    "tokio",
    "SystemTime::now",
    "Instant::now",
    ".elapsed()",
    "clock::now",
    "clock::held",
];

const DAEMON_AND_CRATES: &[&str] = &["src", "crates/mcpd-proto/src", "crates/mcpd-client/src"];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        why: "the protocol is sans-IO: bytes and `now` go in, frames and deadlines come out",
        within: &["crates/mcpd-proto/src"],
        except: &[],
        check: Check::Forbid(IO_AND_CLOCKS),
    },
    Rule {
        why: "inside the protocol crate `session` uses the frames, never the reverse",
        within: &["crates/mcpd-proto/src"],
        except: &["crates/mcpd-proto/src/session", "crates/mcpd-proto/src/lib"],
        check: Check::Forbid(&["crate::session"]),
    },
    Rule {
        why: "the routing table and the phase machines are pure: hand them `now`, do the IO outside",
        within: &[
            "src/router/table",
            "src/lifecycle/machine",
            "src/lifecycle/backoff",
            "src/lifecycle/drain",
        ],
        except: &[],
        check: Check::Forbid(IO_AND_CLOCKS),
    },
    Rule {
        why: "`app` is the composition root: it knows every part, and no part knows it",
        within: &["src"],
        // The command line starts it, and programs do by its builder.
        except: &["src/main", "src/app", "src/cli", "src/server"],
        check: Check::Forbid(&["crate::app"]),
    },
    Rule {
        why: "a part owns its own settings type; only `app` and those who start it read the configuration",
        within: &["src"],
        // The library's face re-exports it.
        except: &["src/lib", "src/app", "src/cli", "src/config", "src/server"],
        check: Check::Forbid(&["crate::config"]),
    },
    Rule {
        why: "`conn` sees the daemon only through the trait it owns; give it what it needs from `app`",
        within: &["src/conn"],
        except: &[],
        // `message` is what the trait speaks in.
        check: Check::OwnCrateOnly(&[
            "crate::conn",
            "crate::message",
            "crate::telemetry",
            "crate::clock",
        ]),
    },
    Rule {
        why: "what the client decides is pure: hand it `now`, do the IO in the pool's keeper",
        within: &[
            "crates/mcpd-client/src/pool/plan",
            "crates/mcpd-client/src/retry",
            "crates/mcpd-client/src/throttle",
        ],
        except: &[],
        check: Check::Forbid(CLOCKS),
    },
    Rule {
        why: "who is asked, how often and how many at a time is decided by pure code: hand it `now`",
        within: &[
            "src/upstream/balance",
            "src/upstream/breaker",
            "src/upstream/ejection",
            "src/upstream/limit",
            "src/upstream/retry",
            "src/upstream/window",
        ],
        except: &[],
        check: Check::Forbid(CLOCKS),
    },
    Rule {
        why: "which endpoints a Service has and which connections are to go is arithmetic: hand it `now`",
        within: &["src/kube/slices", "src/peers/share"],
        except: &[],
        check: Check::Forbid(CLOCKS),
    },
    Rule {
        why: "an upstream runs attempts and knows nothing of what they do: that is its handlers'",
        within: &["src/upstream"],
        except: &[],
        check: Check::OwnCrateOnly(&["crate::upstream", "crate::telemetry", "crate::clock"]),
    },
    Rule {
        why: "`kube` carries documents and knows who is there; what a document says is not its business",
        within: &["src/kube"],
        except: &[],
        check: Check::OwnCrateOnly(&[
            "crate::kube",
            "crate::telemetry",
            "crate::background",
            "crate::lifecycle",
            "crate::peers",
            "crate::upstream",
        ]),
    },
    Rule {
        why: "third parties use the client without the daemon",
        within: &["crates/mcpd-client"],
        except: &[],
        check: Check::Forbid(&["mcpd"]),
    },
    Rule {
        why: "metric names live in `telemetry`, so that one page lists them all; use its constants",
        within: DAEMON_AND_CRATES,
        except: &["src/telemetry", "crates/mcpd-client/src/telemetry"],
        check: Check::NoMetricNames,
    },
];

/// What a manifest may depend on: an import needs an entry there first.
pub(crate) struct ManifestRule {
    pub(crate) why: &'static str,
    pub(crate) manifest: &'static str,
    /// Only these are allowed, where the list is not empty.
    pub(crate) only: &'static [&'static str],
    /// Never these, tests included.
    pub(crate) never: &'static [&'static str],
}

pub(crate) const MANIFEST_RULES: &[ManifestRule] = &[
    ManifestRule {
        why: "whoever speaks the protocol gets a runtime or a framework from nobody but themselves",
        manifest: "crates/mcpd-proto/Cargo.toml",
        only: &["bytes", "thiserror"],
        never: &["mcpd", "mcpd-client", "tokio", "axum"],
    },
    ManifestRule {
        why: "third parties use the client without the daemon",
        manifest: "crates/mcpd-client/Cargo.toml",
        only: &[],
        never: &["mcpd"],
    },
];

/// Above this a file holds more than one idea.
pub(crate) const MAX_LINES: usize = 500;

/// Whether a file belongs to `src/conn` (as `src/conn.rs` or anything below `src/conn/`).
fn is_within(stem: &str, scopes: &[&str]) -> bool {
    scopes.iter().any(|scope| {
        let rest = stem.strip_prefix(scope);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether `part` occurs in `path`, segment by segment.
fn names(path: &str, part: &str) -> bool {
    let path: Vec<&str> = path.split("::").collect();
    let part: Vec<&str> = part.split("::").collect();
    path.windows(part.len()).any(|window| window == part)
}

/// A metric's name, and not a crate's as it stands in a log filter.
fn is_metric_name(text: &str) -> bool {
    let word_end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    let word = &text[..word_end.unwrap_or(text.len())];
    let is_crate = matches!(word, "mcpd_proto" | "mcpd_client" | "mcpd_load");
    word.starts_with("mcpd_") && !is_crate
}

impl Rule {
    /// Every line of the file that points the wrong way.
    pub(crate) fn violations(&self, source: &Source) -> Vec<String> {
        let stem = source.stem();
        if !is_within(stem, self.within) || is_within(stem, self.except) {
            return Vec::new();
        }
        let tell = |found: &Found| {
            let Found { line, text } = found;
            format!("{}:{line}: `{text}`: {}", source.file, self.why)
        };
        let paths = |is_wrong: &dyn Fn(&str) -> bool| {
            let wrong = source.paths.iter().filter(|path| is_wrong(&path.text));
            wrong.map(tell).collect()
        };
        match self.check {
            Check::Forbid(parts) => paths(&|path| parts.iter().any(|part| names(path, part))),
            Check::OwnCrateOnly(parts) => paths(&|path| {
                path.starts_with("crate::") && !parts.iter().any(|part| names(path, part))
            }),
            Check::NoMetricNames => {
                let strings = source.strings.iter();
                let wrong = strings.filter(|string| is_metric_name(&string.text));
                wrong.map(tell).collect()
            }
        }
    }
}

impl ManifestRule {
    /// Reads the manifest line by line; ours have one dependency a line.
    pub(crate) fn violations(&self, manifest: &str) -> Vec<String> {
        let mut section = "";
        let mut wrong = Vec::new();
        for (n, line) in manifest.lines().enumerate() {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
                continue;
            }
            let name = line.split(['=', '.', ' ']).next().unwrap_or("");
            let is_entry = section.ends_with("dependencies") && !name.starts_with('#');
            if !is_entry || name.is_empty() {
                continue;
            }
            let is_normal = !section.ends_with("dev-dependencies") && !self.only.is_empty();
            if self.never.contains(&name) || (is_normal && !self.only.contains(&name)) {
                wrong.push(format!(
                    "{}:{}: `{name}`: {}",
                    self.manifest,
                    n + 1,
                    self.why
                ));
            }
        }
        wrong
    }
}
