//! Where a server is: `host`, `host:port` or `mcp://host:port`.

use crate::error::{Error, Result};

/// The port a server listens on unless told otherwise.
const DEFAULT_PORT: u16 = 8080;

/// Splits an address into host and port.
pub(crate) fn parse(address: &str) -> Result<(&str, u16)> {
    let wrong = |why: &str| Error::invalid(format!("the address {address:?} {why}"));
    let rest = match address.split_once("://") {
        Some(("mcp", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(_) => return Err(wrong("has a scheme other than mcp://")),
        None => address,
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => v6
            .split_once(']')
            .ok_or_else(|| wrong("lacks the closing bracket"))?,
        None => match rest.split_once(':') {
            Some((_, port)) if !port.contains(':') => rest.split_at(rest.len() - port.len() - 1),
            // More than one colon without brackets is a bare IPv6 address.
            Some(_) if !is_ipv6(rest) => return Err(wrong("has more than one colon")),
            _ => (rest, ""),
        },
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(wrong("has no host; write host:port"));
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, DEFAULT_PORT)),
        Some(port) => match port.parse() {
            Ok(port) => Ok((host, port)),
            Err(_) => Err(wrong("has a port that is not a number of 0 to 65535")),
        },
        None => Err(wrong("has something behind its host; write host:port")),
    }
}

/// Whether this is an IPv6 address, with or without a zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_address() {
        for (address, host, port) in [
            ("example.org:9000", "example.org", 9000),
            ("mcp://example.org:9000", "example.org", 9000),
            ("mcp://example.org:9000/", "example.org", 9000),
            ("example.org", "example.org", 8080),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:9000", "::1", 9000),
            ("mcp://[::1]", "::1", 8080),
            ("::1", "::1", 8080),
            ("fe80::1%eth0", "fe80::1%eth0", 8080),
        ] {
            assert_eq!(parse(address).unwrap(), (host, port), "{address}");
        }
    }

    #[test]
    fn a_bad_address_says_what_is_wrong_with_it() {
        for (address, why) in [
            ("", "no host"),
            (":80", "no host"),
            ("http://a:80", "scheme"),
            ("mcps://a:80", "scheme"),
            ("a:70000", "0 to 65535"),
            ("a:", "0 to 65535"),
            ("a:b", "0 to 65535"),
            ("a:80:1", "more than one colon"),
            ("127.0.0.1:80:", "more than one colon"),
            ("[::1", "bracket"),
            ("[::1]80", "behind its host"),
            ("mcp://a/path:80", "no host"),
            ("mcp://user@a:80", "no host"),
        ] {
            let error = parse(address).unwrap_err();
            assert!(error.to_string().contains(why), "{address}: {error}");
        }
    }
}
