//! Keys `peers.*` and `rebalance.*`: the servers of the same routes.

use std::time::Duration;

use super::build::Settings;
use super::problem::ProblemKind;
use super::value::show_duration;
use crate::handler::host_and_port;

/// Keys `peers.*`; need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersConfig {
    /// Sidecar ports of all servers of the same routes, as they are written; `None` (default): there are no
    /// others, or Kubernetes knows them.
    pub addresses: Option<String>,
}

impl PeersConfig {
    /// The hosts with their ports.
    pub fn hosts(&self) -> Vec<(String, u16)> {
        let hosts = self.addresses.iter().flat_map(|text| parts(text));
        hosts
            .filter_map(|text| host_and_port(text, SIDECAR).ok())
            .collect()
    }
}

/// Keys `rebalance.*`, all reloadable.
#[derive(Clone, Debug, PartialEq)]
pub struct RebalanceConfig {
    /// Whether connections are asked to move to servers that have fewer. Default false.
    pub enabled: bool,
    /// How often the others are asked, 1 s to 1 h. Default 30 s.
    pub interval: Duration,
    /// How many times its share a server keeps, 1.05 to 10. Default 1.2.
    pub threshold: f64,
    /// The part of its connections that is asked in a second, 0 to 1. Default 0.01.
    pub rate: f64,
}

const ADDRESSES: &str = "peers.addresses";
const ENABLED: &str = "rebalance.enabled";
/// The port of HTTP where an address has none.
const SIDECAR: u16 = 8081;
/// Most addresses that are written down.
const MAX_ADDRESSES: usize = 256;

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

impl PeersConfig {
    pub(super) fn plain(&self) -> Option<(&'static str, String)> {
        Some((ADDRESSES, self.addresses.clone()?))
    }
}

impl RebalanceConfig {
    pub(super) fn plain(&self) -> [(&'static str, String); 4] {
        [
            (ENABLED, self.enabled.to_string()),
            ("rebalance.interval", show_duration(self.interval)),
            ("rebalance.threshold", self.threshold.to_string()),
            ("rebalance.rate", self.rate.to_string()),
        ]
    }
}

pub(super) fn build(s: &Settings) -> (PeersConfig, RebalanceConfig) {
    let peers = PeersConfig {
        addresses: s.text(ADDRESSES),
    };
    let rebalance = RebalanceConfig {
        enabled: s.flag(ENABLED),
        interval: s.duration("rebalance.interval"),
        threshold: s.ratio("rebalance.threshold"),
        rate: s.ratio("rebalance.rate"),
    };
    (peers, rebalance)
}

/// Values that are fine by themselves and not together.
pub(super) fn check(s: &mut Settings) {
    if let Some(text) = s.text(ADDRESSES) {
        let wrong = parts(&text).find_map(|part| host_and_port(part, SIDECAR).err());
        let count = parts(&text).count();
        let message = match wrong {
            None if (1..=MAX_ADDRESSES).contains(&count) => None,
            None => Some(format!("names {count} servers; write 1 to {MAX_ADDRESSES}")),
            wrong => wrong,
        };
        if let Some(message) = message {
            s.problem(ADDRESSES, ProblemKind::BadValue, message);
        }
        if s.is_set("kubernetes.name") {
            let message = "is not looked at where Kubernetes knows the others; remove this or kubernetes.name";
            s.problem(ADDRESSES, ProblemKind::Contradiction, message.to_owned());
        }
    } else if s.flag(ENABLED) && !s.is_set("kubernetes.name") {
        let message = "needs to know the other servers; set peers.addresses or kubernetes.name";
        s.problem(ENABLED, ProblemKind::Contradiction, message.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flag, LoadOptions, load};

    fn with(flags: &[(&str, &str)]) -> Result<Config, String> {
        let flag = |(key, value): &(&str, &str)| Flag::new(*key, *value, "--set");
        let options = LoadOptions {
            flags: flags.iter().map(flag).collect(),
            ..LoadOptions::default()
        };
        load(options).map_err(|errors| errors.to_string())
    }

    #[test]
    fn addresses_are_hosts_with_or_without_a_port() {
        let config = with(&[("peers.addresses", "mcpd-headless, 10.0.0.1:9000,[::1]")]).unwrap();
        let hosts = config.peers.hosts();
        let expected = [("mcpd-headless", 8081), ("10.0.0.1", 9000), ("[::1]", 8081)];
        assert_eq!(hosts, expected.map(|(host, port)| (host.to_owned(), port)));
        for wrong in ["a b", "http://a", " , ", "a:0"] {
            let told = with(&[("peers.addresses", wrong)]).unwrap_err();
            assert!(told.contains("peers.addresses"), "{wrong}: {told}");
        }
    }

    #[test]
    fn rebalancing_needs_to_know_the_others_from_one_place() {
        let on = ("rebalance.enabled", "true");
        let told = with(&[on]).unwrap_err();
        assert!(told.contains("set peers.addresses"), "{told}");
        assert!(with(&[on, ("peers.addresses", "a")]).is_ok());
        assert!(with(&[on, ("kubernetes.name", "mcpd")]).is_ok());
        let both = [("peers.addresses", "a"), ("kubernetes.name", "mcpd")];
        assert!(with(&both).unwrap_err().contains("remove this"));
    }

    #[test]
    fn a_threshold_is_a_factor_above_one() {
        for good in ["1.05", "1.2", "2", "10"] {
            assert!(with(&[("rebalance.threshold", good)]).is_ok(), "{good}");
        }
        for wrong in ["1", "0", "-2", "10.1", "NaN", "inf", "much"] {
            let told = with(&[("rebalance.threshold", wrong)]).unwrap_err();
            assert!(told.contains("rebalance.threshold"), "{wrong}: {told}");
        }
    }
}
