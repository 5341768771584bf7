//! A Service of Kubernetes as the place where endpoints come from: how it is written down, and who knows it.

use super::discover::{BoxFuture, Discover};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Longest name of a Service or a namespace.
const MAX_LABEL: usize = 63;
/// Longest name of a port.
const MAX_PORT_NAME: usize = 15;

/// A Service by its name, and the namespace where that is not this server's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceName {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
}

impl ServiceName {
    /// Reads `orders` or `orders.shop`.
    ///
    /// # Errors
    /// It is neither.
    ///
    /// ```
    /// use mcpd::upstream::ServiceName;
    ///
    /// let orders = ServiceName::parse("orders.shop").unwrap();
    /// assert_eq!((orders.name.as_str(), orders.namespace.as_deref()), ("orders", Some("shop")));
    /// assert!(ServiceName::parse("orders.shop.svc").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<ServiceName, String> {
        let (name, namespace) = match text.split_once('.') {
            Some((name, namespace)) => (name, Some(namespace)),
            None => (text, None),
        };
        if !is_label(name) || !namespace.is_none_or(is_label) {
            return Err(
                "is no Service; write its name, or name.namespace, each 1 to 63 of a-z 0-9 -"
                    .to_owned(),
            );
        }
        Ok(ServiceName {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        })
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}.{namespace}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A label of DNS: the name ends up in a selector and a URL.
fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len()) && is_dashed(text)
}

fn is_dashed(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(known) && !text.starts_with('-') && !text.ends_with('-')
}

/// A port of the endpoints of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// By the name that it has in the Service.
    Name(String),
    /// By its number in the pods.
    Number(u16),
}

impl Port {
    /// Reads a name or a number.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Port, String> {
        if let Ok(number) = text.parse::<u16>()
            && number > 0
        {
            return Ok(Port::Number(number));
        }
        let has_letter = text.bytes().any(|byte| byte.is_ascii_lowercase());
        match has_letter && text.len() <= MAX_PORT_NAME && is_dashed(text) {
            true => Ok(Port::Name(text.to_owned())),
            false => Err(
                "is no port; write the name that it has in the Service, or its number in the pods"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Name(name) => f.write_str(name),
            Port::Number(number) => number.fmt(f),
        }
    }
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service.
    pub service: ServiceName,
    /// Its port.
    pub port: Port,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service {}, port {}", self.service, self.port)
    }
}

/// Knows Services.
pub trait Services: Send + Sync {
    /// Those who serve this port, from the first time on that they are asked for.
    fn discover(&self, of: &ServicePort) -> Arc<dyn Discover>;
}

/// Services of a cluster that nobody asks: what a document says can be checked against them, and no more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unasked;

impl Services for Unasked {
    fn discover(&self, _: &ServicePort) -> Arc<dyn Discover> {
        Arc::new(Unasked)
    }
}

impl Discover for Unasked {
    fn fixed(&self) -> Option<Vec<SocketAddr>> {
        None
    }

    fn find(&self) -> BoxFuture<'_, Result<Vec<SocketAddr>, String>> {
        Box::pin(async { Err("the cluster is not asked".to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_what_kubernetes_takes() {
        for good in ["a", "orders", "orders-2.shop", "7a.x"] {
            assert_eq!(ServiceName::parse(good).unwrap().to_string(), good);
        }
        let long = "x".repeat(64);
        for bad in [
            "", ".", "a.", ".a", "a.b.c", "A", "-a", "a-", "a/b", "a=b", "a,b", &long,
        ] {
            assert!(ServiceName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Port::parse("8080"), Ok(Port::Number(8080)));
        assert_eq!(Port::parse("mcp-2"), Ok(Port::Name("mcp-2".to_owned())));
        for bad in [
            "",
            "0",
            "65536",
            "-1",
            "1-2",
            "Http",
            "a_b",
            "abcdefghijklmnop",
        ] {
            assert!(Port::parse(bad).is_err(), "{bad}");
        }
    }
}
