//! Metadata to headers and back.

/// About the connection or the framing of a message: nobody's to say but ours.
const CONNECTION: [&str; 11] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "expect",
    "content-type",
];

/// What a client may say only where it is configured that it may: who it is, and what we say ourselves.
const RESERVED: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "traceparent",
    "tracestate",
    "idempotency-key",
];

/// What of an answer does not go back to the client: what is about the connection or the server's side of
/// it, and cookies, which nobody keeps there.
const NOT_BACK: [&str; 8] = [
    "date",
    "server",
    "set-cookie",
    "alt-svc",
    "retry-after",
    "www-authenticate",
    "proxy-authenticate",
    "accept-ranges",
];

/// Many servers take `_` for `-` when they hand headers on, so that is how they are compared.
fn is_one_of(name: &str, list: &[&str]) -> bool {
    let same = |a: u8, b: u8| {
        b == if a == b'_' {
            b'-'
        } else {
            a.to_ascii_lowercase()
        }
    };
    let is = |one: &&str| {
        one.len() == name.len() && name.bytes().zip(one.bytes()).all(|(a, b)| same(a, b))
    };
    list.iter().any(is)
}

/// Whether a header is about the connection or the framing of a message.
pub(super) fn is_of_the_connection(name: &str) -> bool {
    is_one_of(name, &CONNECTION)
}

/// Whether a HEADER goes along only where it is configured, or never.
pub(crate) fn is_reserved(name: &str) -> bool {
    let ours = name
        .get(..4)
        .is_some_and(|start| is_one_of(start, &["mcp-"]));
    ours || is_of_the_connection(name) || is_one_of(name, &RESERVED)
}

/// Whether a header of an answer may go back.
pub(super) fn goes_back(name: &str) -> bool {
    !is_reserved(name) && !is_one_of(name, &NOT_BACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_must_not_say_is_reserved_however_it_is_spelt() {
        for name in [
            "host",
            "content-length",
            "connection",
            "transfer-encoding",
            "te",
            "upgrade",
            "authorization",
            "cookie",
            "traceparent",
            "idempotency-key",
            "mcp-topic",
            "mcp-",
            "Transfer_Encoding",
            "idempotency_key",
            "mcp_priority",
            "AUTHORIZATION",
            "content_length",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "x-user",
            "accept",
            "hosts",
            "mcp",
            "x-mcp-topic",
            "tea",
            "é",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(!goes_back("set-cookie") && !goes_back("content_type") && goes_back("etag"));
    }
}
