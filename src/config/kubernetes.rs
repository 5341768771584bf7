//! Keys `kubernetes.*`.

use std::path::PathBuf;
use std::time::Duration;

use super::build::Settings;
use super::problem::ProblemKind;
use super::value::show_duration;

/// Keys `kubernetes.*`; need a restart. Nothing of it matters without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// What the ConfigMaps' names begin with; `None` (default): Kubernetes is not asked for anything.
    pub name: Option<String>,
    /// Where they are; `None` (default) is the namespace of the pod.
    pub namespace: Option<String>,
    /// Who changes the routes. Default hot.
    pub mode: KubernetesMode,
    /// Whether what is not there may be created. Default true.
    pub create: bool,
    /// Whether the principals come from a ConfigMap. Default false.
    pub principals: bool,
    /// What ConfigMaps are created from.
    pub seed: Option<PathBuf>,
    /// Where documents in force are written to.
    pub snapshots: Option<PathBuf>,
    /// The headless Service of all replicas; `None` (default) is made of the name.
    pub peers: Option<String>,
    /// How often ConfigMaps are read besides being watched, 1 s to 1 h. Default 30 s.
    pub poll: Duration,
    /// Time for a request to the API server, 100 ms to 60 s. Default 5 s.
    pub timeout: Duration,
}

/// Who changes documents that are kept in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesMode {
    /// The admin API.
    Hot,
    /// Whoever applies the ConfigMaps; this server never writes.
    Declarative,
}

const NAME: &str = "kubernetes.name";
const NAMESPACE: &str = "kubernetes.namespace";
const PRINCIPALS: &str = "kubernetes.principals";
const PEERS: &str = "kubernetes.peers";

impl KubernetesConfig {
    /// The headless Service of all replicas of `name`.
    pub fn peers_of(&self, name: &str) -> String {
        self.peers
            .clone()
            .unwrap_or_else(|| format!("{name}-headless"))
    }

    pub(super) fn plain(&self) -> impl Iterator<Item = (&'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let mode = match self.mode {
            KubernetesMode::Hot => "hot",
            KubernetesMode::Declarative => "declarative",
        };
        let set = [
            (NAME, self.name.clone()),
            (NAMESPACE, self.namespace.clone()),
            ("kubernetes.mode", Some(mode.to_owned())),
            ("kubernetes.create", Some(self.create.to_string())),
            (PRINCIPALS, Some(self.principals.to_string())),
            ("kubernetes.seed", self.seed.as_ref().map(path)),
            ("kubernetes.snapshots", self.snapshots.as_ref().map(path)),
            (PEERS, self.peers.clone()),
            ("kubernetes.poll", Some(show_duration(self.poll))),
            ("kubernetes.timeout", Some(show_duration(self.timeout))),
        ];
        set.into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }
}

pub(super) fn build(s: &Settings) -> KubernetesConfig {
    KubernetesConfig {
        name: s.text(NAME),
        namespace: s.text(NAMESPACE),
        mode: match s.word("kubernetes.mode") {
            "declarative" => KubernetesMode::Declarative,
            _ => KubernetesMode::Hot,
        },
        create: s.flag("kubernetes.create"),
        principals: s.flag(PRINCIPALS),
        seed: s.path("kubernetes.seed"),
        snapshots: s.path("kubernetes.snapshots"),
        peers: s.text(PEERS),
        poll: s.duration("kubernetes.poll"),
        timeout: s.duration("kubernetes.timeout"),
    }
}

/// Values that are fine by themselves and not together, or that Kubernetes has no such names for.
pub(super) fn check(s: &mut Settings) {
    for (key, dots) in [(NAME, true), (NAMESPACE, false), (PEERS, false)] {
        if s.text(key).is_some_and(|text| !is_object_name(&text, dots)) {
            let message = "is no name in Kubernetes: it takes a-z, 0-9 and -, and begins and ends \
                           with a letter or digit";
            s.problem(key, ProblemKind::BadValue, message.to_owned());
        }
    }
    if !s.is_set(NAME) {
        if s.flag(PRINCIPALS) {
            wrong(
                s,
                PRINCIPALS,
                "does nothing without kubernetes.name, and everybody would be served; set it",
            );
        }
        return;
    }
    if cfg!(not(feature = "kubernetes")) {
        wrong(
            s,
            NAME,
            "asks for what this build leaves out; build it with the feature `kubernetes`",
        );
    }
    let principals = s.flag(PRINCIPALS).then_some("auth.principals");
    for key in ["routes.file", "handlers_file"]
        .into_iter()
        .chain(principals)
    {
        if s.is_set(key) {
            wrong(
                s,
                key,
                "and a ConfigMap of kubernetes.name are two places for the same document; remove one",
            );
        }
    }
}

fn wrong(s: &mut Settings, key: &str, message: &str) {
    s.problem(key, ProblemKind::Contradiction, message.to_owned());
}

/// Whether objects of Kubernetes may be called so: labels of DNS, with `dots` between them if that is allowed.
fn is_object_name(name: &str, dots: bool) -> bool {
    let is_label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = label.as_bytes().first().zip(label.as_bytes().last());
        ends.is_some_and(|(first, last)| plain(*first) && plain(*last))
            && label.bytes().all(|b| plain(b) || b == b'-')
    };
    match dots {
        true => name.split('.').all(is_label),
        false => is_label(name),
    }
}

#[cfg(test)]
mod tests {
    use super::is_object_name;
    use crate::config::{Flag, KubernetesMode, LoadOptions, load};

    fn with(flags: &[(&str, &str)]) -> Result<crate::config::Config, String> {
        let flag = |(key, value): &(&str, &str)| Flag::new(*key, *value, "--set");
        let options = LoadOptions {
            flags: flags.iter().map(flag).collect(),
            ..LoadOptions::default()
        };
        load(options).map_err(|errors| errors.to_string())
    }

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        for name in ["mcpd", "a", "7", "my-mcpd-2"] {
            assert!(is_object_name(name, false), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a b", "a/b", "ä", "a.b"] {
            assert!(!is_object_name(name, false), "{name}");
        }
        assert!(is_object_name("a.b-c", true));
        assert!(!is_object_name("a..b", true));
        let error = with(&[("kubernetes.name", "My_mcpd")]).unwrap_err();
        assert!(error.starts_with("kubernetes.name"), "{error}");
    }

    #[test]
    fn a_document_has_one_place() {
        let name = ("kubernetes.name", "mcpd");
        for key in ["routes.file", "handlers_file"] {
            let error = with(&[name, (key, "some.yaml")]).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
        let file = ("auth.principals", "p.yaml");
        assert!(with(&[name, file]).is_ok());
        let error = with(&[name, file, ("kubernetes.principals", "true")]).unwrap_err();
        assert!(error.starts_with("auth.principals"), "{error}");
        let error = with(&[("kubernetes.principals", "true")]).unwrap_err();
        assert!(error.contains("everybody would be served"), "{error}");
    }

    #[test]
    fn the_peers_are_called_after_the_server() {
        let config = with(&[
            ("kubernetes.name", "shop"),
            ("kubernetes.mode", "declarative"),
        ]);
        let kubernetes = config.unwrap().kubernetes;
        assert_eq!(kubernetes.peers_of("shop"), "shop-headless");
        assert_eq!(kubernetes.mode, KubernetesMode::Declarative);
        let config = with(&[("kubernetes.name", "shop"), ("kubernetes.peers", "all")]);
        assert_eq!(config.unwrap().kubernetes.peers_of("shop"), "all");
    }

    #[test]
    fn jwts_may_go_with_principals_of_a_configmap() {
        let flags = [
            ("kubernetes.name", "mcpd"),
            ("kubernetes.principals", "true"),
            ("auth.jwt.jwks_file", "keys.json"),
            ("auth.jwt.issuer", "i"),
            ("auth.jwt.audience", "a"),
        ];
        assert!(with(&flags).is_ok());
        let error = with(&flags[2..]).unwrap_err();
        assert!(error.contains("auth.principals"), "{error}");
    }
}
