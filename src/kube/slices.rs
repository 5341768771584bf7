//! From the EndpointSlices of a Service to its endpoints. Pure.
//!
//! The API server keeps the endpoints of a Service in pieces: some pods each, one address family each, and now and
//! then a pod in two of them at once. Here they become one list in which each pod stands once.

use crate::upstream::Port;
use k8s_openapi::api::discovery::v1::{Endpoint as Raw, EndpointPort, EndpointSlice};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Most endpoints that are taken of a Service.
pub(super) const MAX_ENDPOINTS: usize = 1000;
/// Most addresses that are kept of all its slices: each pod may have one of either family.
const MAX_HOSTS: usize = 2 * MAX_ENDPOINTS;
/// Most slices that are kept, be they empty.
const MAX_SLICES: usize = 1000;

/// An endpoint of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    /// The pod; `None` for an address that somebody wrote down.
    pub(crate) pod: Option<Arc<str>>,
    /// The node that it is on, as far as that is known.
    pub(crate) node: Option<Arc<str>>,
    /// What is known of its state.
    pub(crate) conditions: Conditions,
}

/// The state of an endpoint, as the API server tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// It is to get traffic: it serves, or the Service has its endpoints published before they do.
    pub(crate) ready: bool,
    /// It passes its readiness probe, be it terminating or not.
    pub(crate) serving: bool,
    /// It is being stopped.
    pub(crate) terminating: bool,
}

impl Conditions {
    /// What is not said counts as good news, as the API has it.
    fn of(raw: &Raw) -> Conditions {
        let said = raw.conditions.as_ref();
        let ready = said.and_then(|said| said.ready).unwrap_or(true);
        Conditions {
            ready,
            serving: said.and_then(|said| said.serving).unwrap_or(ready),
            terminating: said.and_then(|said| said.terminating).unwrap_or(false),
        }
    }

    /// How much it is wanted for traffic: one that terminates only where no other is left, and where a Service
    /// publishes what is not ready yet, that only where nothing serves.
    fn rank(self) -> u8 {
        match (self.ready && !self.terminating, self.serving) {
            (true, true) => 3,
            (true, false) => 2,
            (false, true) => 1,
            (false, false) => 0,
        }
    }
}

/// The addresses that traffic should go to.
pub(crate) fn for_traffic(endpoints: &[Endpoint]) -> Vec<SocketAddr> {
    let rank = |one: &Endpoint| one.conditions.rank();
    let best = endpoints.iter().map(rank).max().unwrap_or(0);
    let wanted = endpoints.iter().filter(|one| best > 0 && rank(one) == best);
    wanted.map(|one| one.addr).collect()
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub(crate) fn of(ip: IpAddr) -> Family {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// An address in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    ip: IpAddr,
    pod: Option<Arc<str>>,
    node: Option<Arc<str>>,
    conditions: Conditions,
}

/// What is kept of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slice {
    hosts: Vec<Host>,
    /// Those of TCP; an empty list stands for all there are.
    ports: Vec<(String, u16)>,
}

/// The slices of one Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Slices(BTreeMap<String, Arc<Slice>>);

/// What tells endpoints apart: a pod has one name and maybe several addresses.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pod(Arc<str>),
    Addr(SocketAddr),
}

impl Slices {
    /// Takes a slice that is new or has changed. Gives how many of its addresses there was no room for.
    pub(super) fn take(&mut self, raw: &EndpointSlice) -> usize {
        let name = raw.metadata.name.clone().unwrap_or_default();
        self.0.remove(&name);
        let mut slice = Slice::of(raw);
        let kept: usize = self.0.values().map(|slice| slice.hosts.len()).sum();
        let room = match self.0.len() < MAX_SLICES {
            true => MAX_HOSTS.saturating_sub(kept),
            false => 0,
        };
        let too_many = slice.hosts.len().saturating_sub(room);
        slice.hosts.truncate(room);
        if self.0.len() < MAX_SLICES {
            self.0.insert(name, Arc::new(slice));
        }
        too_many
    }

    /// Forgets a slice.
    pub(super) fn remove(&mut self, raw: &EndpointSlice) {
        if let Some(name) = &raw.metadata.name {
            self.0.remove(name);
        }
    }

    /// The endpoints with this port, at most [`MAX_ENDPOINTS`], in the order of their addresses. Of a pod with
    /// addresses of both families the one of `family`.
    ///
    /// # Errors
    /// There are endpoints, and none has the port; the text says which ones they have.
    pub(super) fn endpoints(&self, port: &Port, family: Family) -> Result<Vec<Endpoint>, String> {
        let mut found: BTreeMap<Key, Endpoint> = BTreeMap::new();
        let mut others = Vec::new();
        for slice in self.0.values().filter(|slice| !slice.hosts.is_empty()) {
            let Some(number) = slice.number(port) else {
                others.extend(&slice.ports);
                continue;
            };
            for endpoint in slice.hosts.iter().map(|host| host.at(number)) {
                let key = match &endpoint.pod {
                    Some(pod) => Key::Pod(Arc::clone(pod)),
                    None => Key::Addr(endpoint.addr),
                };
                match found.entry(key) {
                    Entry::Vacant(place) => drop(place.insert(endpoint)),
                    Entry::Occupied(mut known) => {
                        if worth(&endpoint, family) > worth(known.get(), family) {
                            known.insert(endpoint);
                        }
                    }
                }
            }
        }
        if found.is_empty() && !others.is_empty() {
            return Err(no_port(port, others));
        }
        let mut endpoints: Vec<Endpoint> = found.into_values().collect();
        endpoints.sort_unstable_by_key(|one| one.addr);
        endpoints.dedup_by_key(|one| one.addr);
        endpoints.truncate(MAX_ENDPOINTS);
        Ok(endpoints)
    }
}

/// Of two that stand for the same pod the one of the family counts, then the newer news: what is better known.
fn worth(endpoint: &Endpoint, family: Family) -> (bool, u8) {
    let fits = Family::of(endpoint.addr.ip()) == family;
    (fits, endpoint.conditions.rank())
}

fn no_port(port: &Port, mut others: Vec<&(String, u16)>) -> String {
    others.sort_unstable();
    others.dedup();
    let shown = others.iter().take(10).map(|(name, number)| match name {
        name if name.is_empty() => number.to_string(),
        name => format!("{name} ({number})"),
    });
    let shown: Vec<String> = shown.collect();
    format!(
        "has no port {port}; its endpoints have {}",
        shown.join(", ")
    )
}

impl Slice {
    fn of(raw: &EndpointSlice) -> Slice {
        let family = match raw.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            // Names, which nobody makes any more: kube-proxy does not look at them either.
            _ => return Slice::default(),
        };
        let hosts = raw.endpoints.iter();
        let hosts = hosts.filter_map(|endpoint| Host::of(endpoint, family));
        let hosts = hosts.take(MAX_HOSTS).collect();
        let ports = raw.ports.iter().flatten().filter_map(port_of).collect();
        Slice { hosts, ports }
    }

    fn number(&self, port: &Port) -> Option<u16> {
        match port {
            Port::Number(number) if self.ports.is_empty() => Some(*number),
            Port::Number(number) => {
                let has = self.ports.iter().any(|(_, known)| known == number);
                has.then_some(*number)
            }
            Port::Name(name) => {
                let known = self.ports.iter().find(|(known, _)| known == name);
                known.map(|(_, number)| *number)
            }
        }
    }
}

fn port_of(raw: &EndpointPort) -> Option<(String, u16)> {
    let is_tcp = raw.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let number = raw.port.and_then(|port| u16::try_from(port).ok())?;
    is_tcp.then(|| (raw.name.clone().unwrap_or_default(), number))
}

impl Host {
    /// Its first address stands for all of them, as the API has it.
    fn of(raw: &Raw, family: Family) -> Option<Host> {
        let ip: IpAddr = raw.addresses.first()?.parse().ok()?;
        let pod = raw.target_ref.as_ref();
        let pod = pod.filter(|target| target.kind.as_deref() == Some("Pod"));
        (Family::of(ip) == family).then(|| Host {
            ip,
            pod: pod.and_then(|pod| pod.name.as_deref()).map(Arc::from),
            node: raw.node_name.as_deref().map(Arc::from),
            conditions: Conditions::of(raw),
        })
    }

    fn at(&self, port: u16) -> Endpoint {
        Endpoint {
            addr: SocketAddr::new(self.ip, port),
            pod: self.pod.clone(),
            node: self.node.clone(),
            conditions: self.conditions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `endpoints` as (pod, address, ready, serving, terminating).
    type Row<'a> = (&'a str, &'a str, Option<bool>, Option<bool>, bool);

    fn slice(name: &str, family: &str, ports: Value, rows: &[Row<'_>]) -> EndpointSlice {
        let endpoints = rows.iter().map(|(pod, ip, ready, serving, terminating)| {
            let target = (!pod.is_empty()).then(|| json!({"kind": "Pod", "name": pod}));
            json!({
                "addresses": [ip], "targetRef": target, "nodeName": "node-1",
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            })
        });
        let endpoints: Vec<Value> = endpoints.collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name}, "addressType": family, "ports": ports, "endpoints": endpoints,
        });
        serde_json::from_value(slice).unwrap()
    }

    fn http() -> Value {
        json!([{"name": "mcp", "port": 8080}, {"name": "http", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"}])
    }

    fn up<'a>(pod: &'a str, ip: &'a str) -> Row<'a> {
        (pod, ip, Some(true), Some(true), false)
    }

    fn of(slices: &[EndpointSlice]) -> Slices {
        let mut all = Slices::default();
        for slice in slices {
            assert_eq!(all.take(slice), 0);
        }
        all
    }

    fn addrs(slices: &Slices, port: Port, family: Family) -> Vec<String> {
        let endpoints = slices.endpoints(&port, family).unwrap();
        endpoints.iter().map(|one| one.addr.to_string()).collect()
    }

    fn name(port: &str) -> Port {
        Port::Name(port.to_owned())
    }

    #[test]
    fn slices_become_one_list_with_each_pod_once() {
        let mut slices = of(&[
            slice(
                "a",
                "IPv4",
                http(),
                &[up("p-2", "10.0.0.2"), up("p-1", "10.0.0.1")],
            ),
            // A pod that moves between slices stands in both for a moment.
            slice(
                "b",
                "IPv4",
                http(),
                &[up("p-2", "10.0.0.2"), up("p-3", "10.0.0.3")],
            ),
            slice(
                "c",
                "IPv6",
                http(),
                &[up("p-1", "fd00::1"), up("p-4", "fd00::4")],
            ),
            slice("d", "FQDN", http(), &[up("p-9", "example.org")]),
        ]);
        let v4 = [
            "10.0.0.1:8081",
            "10.0.0.2:8081",
            "10.0.0.3:8081",
            "[fd00::4]:8081",
        ];
        assert_eq!(addrs(&slices, name("http"), Family::V4), v4);
        let v6 = [
            "10.0.0.2:8080",
            "10.0.0.3:8080",
            "[fd00::1]:8080",
            "[fd00::4]:8080",
        ];
        assert_eq!(addrs(&slices, Port::Number(8080), Family::V6), v6);
        let first = &slices.endpoints(&name("http"), Family::V4).unwrap()[0];
        assert_eq!(first.pod.as_deref(), Some("p-1"));
        assert_eq!(first.node.as_deref(), Some("node-1"));
        // A change replaces a slice, and one that is gone takes its endpoints along.
        slices.take(&slice("a", "IPv4", http(), &[]));
        slices.remove(&slice("c", "IPv6", http(), &[]));
        let left = ["10.0.0.2:8080", "10.0.0.3:8080"];
        assert_eq!(addrs(&slices, name("mcp"), Family::V4), left);
    }

    #[test]
    fn a_port_that_is_not_there_is_told_with_those_that_are() {
        let slices = of(&[slice("a", "IPv4", http(), &[up("p", "10.0.0.1")])]);
        for port in [name("grpc"), Port::Number(80), name("dns")] {
            let told = slices.endpoints(&port, Family::V4).unwrap_err();
            assert!(told.contains(&format!("no port {port}")), "{told}");
            assert!(told.contains("http (8081), mcp (8080)"), "{told}");
        }
        // A Service without selector may leave out its ports: then every number is one.
        let slices = of(&[slice("a", "IPv4", Value::Null, &[up("", "10.0.0.1")])]);
        assert_eq!(addrs(&slices, Port::Number(9), Family::V4), ["10.0.0.1:9"]);
        // Nobody there is no mistake of the port.
        assert_eq!(
            of(&[slice("a", "IPv4", http(), &[])]).endpoints(&name("grpc"), Family::V4),
            Ok(Vec::new())
        );
    }

    #[test]
    fn what_terminates_gets_traffic_only_where_nothing_else_is_ready() {
        let leaving = ("p-1", "10.0.0.1", Some(false), Some(true), true);
        let gone = ("p-2", "10.0.0.2", Some(false), Some(false), true);
        let starting = ("p-3", "10.0.0.3", Some(false), Some(false), false);
        let good = up("p-4", "10.0.0.4");
        let published = ("p-5", "10.0.0.5", Some(true), Some(false), false);
        let published_leaving = ("p-6", "10.0.0.6", Some(true), Some(true), true);
        for (rows, wanted) in [
            (vec![leaving, gone, starting, good], vec![4]),
            (vec![leaving, gone, starting], vec![1]),
            (vec![gone, starting], vec![]),
            // Of a Service that publishes what is not ready.
            (vec![published, published_leaving, good], vec![4]),
            (vec![published, published_leaving], vec![5]),
            (vec![published_leaving, gone], vec![6]),
            // A producer that says nothing at all.
            (vec![("p-7", "10.0.0.7", None, None, false)], vec![7]),
        ] {
            let slices = of(&[slice("a", "IPv4", http(), &rows)]);
            let endpoints = slices.endpoints(&name("mcp"), Family::V4).unwrap();
            let wanted: Vec<SocketAddr> = wanted
                .iter()
                .map(|last| SocketAddr::from(([10, 0, 0, *last], 8080)))
                .collect();
            assert_eq!(for_traffic(&endpoints), wanted, "{rows:?}");
        }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let many = |name: &str, from: u32, count: u32| {
            let ips: Vec<String> = (from..from + count)
                .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string())
                .collect();
            let rows: Vec<Row<'_>> = ips.iter().map(|ip| up("", ip)).collect();
            slice(name, "IPv4", http(), &rows)
        };
        let mut slices = Slices::default();
        assert_eq!(slices.take(&many("a", 0, 1000)), 0);
        assert_eq!(slices.take(&many("b", 1000, 1000)), 0);
        assert_eq!(slices.take(&many("c", 2000, 5)), 5);
        assert_eq!(
            slices.endpoints(&name("mcp"), Family::V4).unwrap().len(),
            MAX_ENDPOINTS
        );
        // There is room again when a slice shrinks.
        slices.take(&many("b", 1000, 1));
        assert_eq!(slices.take(&many("c", 2000, 5)), 0);
        for n in 0..2 * MAX_SLICES {
            slices.take(&many(&format!("empty-{n}"), 0, 0));
        }
        assert_eq!(slices.0.len(), MAX_SLICES);
    }

    #[test]
    fn hostile_slices_are_no_endpoints() {
        let bad = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "x"},
            "addressType": "IPv4", "ports": [{"port": 99999}, {"port": -1}, {"name": "ok", "port": 80}],
            "endpoints": [{"addresses": []}, {"addresses": ["fd00::1"]}, {"addresses": ["::ffff"]}, {"addresses": ["a"]},
                {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Node", "name": "n"}}],
        });
        let slices = of(&[serde_json::from_value(bad).unwrap()]);
        let endpoints = slices.endpoints(&name("ok"), Family::V4).unwrap();
        assert_eq!(endpoints.len(), 1);
        assert_eq!(endpoints[0].pod, None);
    }
}
