//! Where endpoints come from: addresses that are written down, and names that are resolved.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// A future that is handed around.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Addresses that are taken of one upstream: a name that has more is a mistake, or somebody else's.
const MAX_ADDRESSES: usize = 1000;

/// Knows the endpoints there are.
pub trait Discover: Send + Sync + 'static {
    /// Those that never change, if none does.
    fn fixed(&self) -> Option<Vec<SocketAddr>>;

    /// The name by which an endpoint is known, which its certificate is to be for.
    fn name_of(&self, _addr: SocketAddr) -> Option<&str> {
        None
    }

    /// Those there are now.
    ///
    /// # Errors
    /// Why none are known.
    fn find(&self) -> BoxFuture<'_, Result<Vec<SocketAddr>, String>>;

    /// Waits until there is news since [`Discover::find`] was last called. For those who are told; who has to
    /// look never ends this, and is asked from time to time.
    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Turns a name into all its addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, with this port.
    ///
    /// # Errors
    /// There is no such name, or nobody who knows.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// A list of hosts with their ports. A name stands for all its addresses, as that of a headless Service
/// does.
pub struct Names {
    hosts: Vec<(String, u16)>,
    resolver: Arc<dyn Resolve>,
    /// What each host was last known as: one name that cannot be resolved takes no other with it.
    known: Mutex<Vec<Vec<SocketAddr>>>,
}

impl Names {
    /// IPv6 addresses may stand in brackets.
    pub fn new(hosts: Vec<(String, u16)>, resolver: Arc<dyn Resolve>) -> Names {
        let known = Mutex::new(vec![Vec::new(); hosts.len()]);
        Names {
            hosts,
            resolver,
            known,
        }
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Each once, in an order that does not depend on that of an answer.
fn tidy(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

impl Discover for Names {
    /// The first in the list that stands for the address.
    fn name_of(&self, addr: SocketAddr) -> Option<&str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = self.hosts.iter().zip(known.iter());
        let stands_for = |host: &(String, u16), known: &[SocketAddr]| {
            let written = literal(&host.0).map(|ip| SocketAddr::new(ip, host.1));
            written == Some(addr) || known.contains(&addr)
        };
        let found = hosts.find(|(host, known)| stands_for(host, known));
        found.map(|((name, _), _)| name.as_str())
    }

    fn fixed(&self) -> Option<Vec<SocketAddr>> {
        let literals = self.hosts.iter();
        let literals = literals.map(|(host, port)| Some(SocketAddr::new(literal(host)?, *port)));
        literals.collect::<Option<Vec<_>>>().map(tidy)
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<SocketAddr>, String>> {
        Box::pin(async move {
            let mut failed = Vec::new();
            for (at, (host, port)) in self.hosts.iter().enumerate() {
                let found = match literal(host) {
                    Some(ip) => Ok(vec![SocketAddr::new(ip, *port)]),
                    None => self.resolver.resolve(host, *port).await,
                };
                let known = self.known.lock();
                let mut known = known.unwrap_or_else(PoisonError::into_inner);
                match (found, known.get_mut(at)) {
                    (Ok(found), Some(known)) if !found.is_empty() => *known = found,
                    (Ok(_), _) => failed.push(format!("{host} has no address")),
                    (Err(error), _) => failed.push(format!("{host}: {error}")),
                }
            }
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let all = tidy(known.iter().flatten().copied().collect());
            for problem in failed.iter().filter(|_| !all.is_empty()) {
                tracing::warn!(%problem, "a name is not resolved, what was known stays");
            }
            match all.is_empty() {
                true => Err(failed.join("; ")),
                false => Ok(all),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Zone(Mutex<HashMap<String, Vec<IpAddr>>>);

    impl Resolve for Zone {
        fn resolve<'a>(
            &'a self,
            host: &'a str,
            port: u16,
        ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            let found = self.0.lock().unwrap().get(host).cloned();
            let with_port = |ips: Vec<IpAddr>| {
                let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, port));
                addresses.collect()
            };
            let found = found.map(with_port);
            Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
        }
    }

    fn hosts(hosts: &[(&str, u16)]) -> Vec<(String, u16)> {
        let hosts = hosts.iter();
        hosts
            .map(|(host, port)| ((*host).to_owned(), *port))
            .collect()
    }

    #[test]
    fn addresses_alone_are_fixed() {
        let names = |list: &[(&str, u16)]| Names::new(hosts(list), Arc::new(SystemResolver));
        let fixed = names(&[("10.0.0.2", 80), ("[::1]", 81), ("10.0.0.2", 80)]).fixed();
        let expected: Vec<SocketAddr> =
            vec!["10.0.0.2:80".parse().unwrap(), "[::1]:81".parse().unwrap()];
        assert_eq!(fixed, Some(expected));
        assert_eq!(names(&[("10.0.0.2", 80), ("orders", 80)]).fixed(), None);
    }

    #[tokio::test]
    async fn a_name_is_all_its_addresses_and_what_was_known_stays() {
        let zone = Arc::new(Zone::default());
        let set = |name: &str, ips: &[&str]| {
            let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            zone.0.lock().unwrap().insert(name.to_owned(), ips);
        };
        let list = hosts(&[("orders", 80), ("10.0.0.9", 80)]);
        let names = Names::new(list, Arc::clone(&zone) as Arc<dyn Resolve>);
        let found = async || {
            let found = names.find().await.unwrap();
            found
                .iter()
                .map(|addr| addr.ip().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found().await, ["10.0.0.9"]);
        set("orders", &["10.0.0.3", "10.0.0.2"]);
        assert_eq!(found().await, ["10.0.0.2", "10.0.0.3", "10.0.0.9"]);
        set("orders", &[]);
        assert_eq!(found().await, ["10.0.0.2", "10.0.0.3", "10.0.0.9"]);
        set("orders", &["10.0.0.4"]);
        assert_eq!(found().await, ["10.0.0.4", "10.0.0.9"]);
        let name_of = |addr: &str| names.name_of(addr.parse().unwrap());
        assert_eq!(name_of("10.0.0.4:80"), Some("orders"));
        assert_eq!(name_of("10.0.0.9:80"), Some("10.0.0.9"));
        assert_eq!(
            (name_of("10.0.0.9:81"), name_of("10.0.0.3:80")),
            (None, None)
        );

        let nobody = Names::new(hosts(&[("nobody", 80)]), zone);
        assert!(nobody.find().await.unwrap_err().contains("no such name"));
    }
}
