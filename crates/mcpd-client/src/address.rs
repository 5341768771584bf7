//! Where servers are: `host`, `host:port` or `mcp://host:port`, and lists of these.

use crate::error::{Error, Result};

/// The port a server listens on unless told otherwise.
const DEFAULT_PORT: u16 = 8080;

/// Most addresses in a list: a fleet larger than this has a name that stands for it.
const MAX_ADDRESSES: usize = 64;

/// Splits a list with commas, as in `mcp://a:8080,b:8080`, into hosts and ports.
pub(crate) fn parse_list(list: &str) -> Result<Vec<(String, u16)>> {
    let mut found = Vec::new();
    for address in list.split(',') {
        let (host, port) = parse(address.trim())?;
        let place = (host.to_owned(), port);
        if !found.contains(&place) {
            found.push(place);
        }
        if found.len() > MAX_ADDRESSES {
            let text = format!("more than {MAX_ADDRESSES} addresses; use a name for all of them");
            return Err(Error::invalid(text));
        }
    }
    Ok(found)
}

/// Splits an address into host and port.
pub(crate) fn parse(address: &str) -> Result<(&str, u16)> {
    let wrong = |why: &str| Error::invalid(format!("the address {address:?} {why}"));
    let rest = match address.split_once("://") {
        Some(("mcp", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(("mcps", _)) => {
            return Err(wrong(
                "asks for TLS, which this version does not speak; use mcp://, or a connector of \
                 your own",
            ));
        }
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
            ("mcps://a:80", "asks for TLS"),
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

    #[test]
    fn a_list_has_each_place_once() {
        let found = parse_list("mcp://a:1,b, mcp://[::1]:2/,a:1").unwrap();
        let expected = [("a", 1), ("b", 8080), ("::1", 2)];
        let expected = expected.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(found, expected);
        for (list, why) in [
            ("", "no host"),
            ("a,", "no host"),
            ("mcp://a,mcps://b", "TLS"),
        ] {
            let error = parse_list(list).unwrap_err();
            assert!(error.to_string().contains(why), "{list}: {error}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("h{n}")).collect();
        assert!(parse_list(&many.join(",")).is_err());
    }
}
