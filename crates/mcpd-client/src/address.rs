//! Where servers are: `host`, `host:port`, `mcp://host:port` or `mcps://host:port`, and lists of these.

use crate::error::{Error, Result};

/// The port a server listens on unless told otherwise, with TLS or without: it has one data port.
const DEFAULT_PORT: u16 = 8080;

/// Most addresses in a list: a fleet larger than this has a name that stands for it.
const MAX_ADDRESSES: usize = 64;

/// A list of addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// `mcps://`: none of them is spoken to without TLS.
    pub(crate) secure: bool,
    pub(crate) places: Vec<(String, u16)>,
}

/// One address, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) secure: bool,
    /// It says with which scheme.
    explicit: bool,
}

/// Splits a list with commas, as in `mcps://a:8080,b:8080`, into hosts and ports. Addresses without
/// a scheme have that of the first.
pub(crate) fn parse_list(list: &str) -> Result<Places> {
    let mut found = Vec::new();
    let mut secure = None;
    for address in list.split(',') {
        let place = parse(address.trim())?;
        let secure = *secure.get_or_insert(place.secure);
        if place.explicit && place.secure != secure {
            let text = "the addresses mix mcp:// and mcps://; a client speaks either with TLS or \
                        without, so use one scheme for all of them";
            return Err(Error::invalid(text));
        }
        let place = (place.host.to_owned(), place.port);
        if !found.contains(&place) {
            found.push(place);
        }
        if found.len() > MAX_ADDRESSES {
            let text = format!("more than {MAX_ADDRESSES} addresses; use a name for all of them");
            return Err(Error::invalid(text));
        }
    }
    Ok(Places {
        secure: secure.unwrap_or(false),
        places: found,
    })
}

/// Takes an address apart.
pub(crate) fn parse(address: &str) -> Result<Place<'_>> {
    let wrong = |why: &str| Error::invalid(format!("the address {address:?} {why}"));
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest.strip_suffix('/').unwrap_or(rest)),
        None => (None, address),
    };
    let secure = is_secure(scheme, cfg!(feature = "tls")).map_err(wrong)?;
    let (host, port) = split(rest).map_err(wrong)?;
    Ok(Place {
        host,
        port,
        secure,
        explicit: scheme.is_some(),
    })
}

/// Whether a scheme stands for TLS, which not every program has.
fn is_secure(scheme: Option<&str>, has_tls: bool) -> Result<bool, &'static str> {
    match scheme {
        None | Some("mcp") => Ok(false),
        Some("mcps") if has_tls => Ok(true),
        Some("mcps") => Err(
            "asks for TLS, which this program was built without: it is the feature `tls` of \
             mcpd-client",
        ),
        Some(_) => Err("has a scheme other than mcp:// and mcps://"),
    }
}

fn split(rest: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => v6.split_once(']').ok_or("lacks the closing bracket")?,
        None => match rest.split_once(':') {
            Some((_, port)) if !port.contains(':') => rest.split_at(rest.len() - port.len() - 1),
            // More than one colon without brackets is a bare IPv6 address.
            Some(_) if !is_ipv6(rest) => return Err("has more than one colon"),
            _ => (rest, ""),
        },
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err("has no host; write host:port");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, DEFAULT_PORT)),
        Some(port) => match port.parse() {
            Ok(port) => Ok((host, port)),
            Err(_) => Err("has a port that is not a number of 0 to 65535"),
        },
        None => Err("has something behind its host; write host:port"),
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
            let place = parse(address).unwrap();
            assert_eq!((place.host, place.port), (host, port), "{address}");
            assert!(!place.secure);
        }
    }

    #[test]
    fn a_bad_address_says_what_is_wrong_with_it() {
        for (address, why) in [
            ("", "no host"),
            (":80", "no host"),
            ("http://a:80", "scheme"),
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
        assert_eq!((found.secure, &found.places[..]), (false, &expected[..]));
        for (list, why) in [
            ("", "no host"),
            ("a,", "no host"),
            ("mcp://a,http://b", "scheme"),
        ] {
            let error = parse_list(list).unwrap_err();
            assert!(error.to_string().contains(why), "{list}: {error}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("h{n}")).collect();
        assert!(parse_list(&many.join(",")).is_err());
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_list_is_with_tls_or_without() {
        for (list, secure) in [
            ("mcps://a", true),
            ("mcps://a:1,b,mcps://c", true),
            ("a,mcp://b", false),
        ] {
            assert_eq!(parse_list(list).unwrap().secure, secure, "{list}");
        }
        assert_eq!(parse("mcps://a").unwrap().port, 8080);
        for list in ["mcps://a,mcp://b", "mcp://a,mcps://b", "a,mcps://b"] {
            let error = parse_list(list).unwrap_err();
            assert!(error.to_string().contains("one scheme"), "{list}: {error}");
        }
    }

    #[test]
    fn without_the_feature_tls_is_refused_by_its_name() {
        let why = is_secure(Some("mcps"), false).unwrap_err();
        assert!(why.contains("feature `tls`"), "{why}");
        assert_eq!(is_secure(Some("mcp"), false), Ok(false));
    }
}
