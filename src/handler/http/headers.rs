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

/// What a client may say only where it is configured that it may: who it is, what we say ourselves, and what
/// services believe of those that stand before them: where a request is from, and that its method or path is
/// another.
const RESERVED: [&str; 11] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "traceparent",
    "tracestate",
    "idempotency-key",
    "forwarded",
    "x-real-ip",
    "x-http-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The same of all that begin so.
const RESERVED_STARTS: [&str; 2] = ["mcp-", "x-forwarded-"];

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

/// Whether two names are the same to servers. Many take `_` for `-` when they hand headers on.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|one| is_same(name, one))
}

/// Whether a header is about the connection or the framing of a message.
pub(super) fn is_of_the_connection(name: &str) -> bool {
    is_one_of(name, &CONNECTION)
}

/// Whether a HEADER goes along only where it is configured, or never.
pub(crate) fn is_reserved(name: &str) -> bool {
    let begins = |start: &&str| name.get(..start.len()).is_some_and(|it| is_same(it, start));
    RESERVED_STARTS.iter().any(begins) || is_of_the_connection(name) || is_one_of(name, &RESERVED)
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
            "x-forwarded-for",
            "X_Forwarded_Host",
            "forwarded",
            "x-http-method-override",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in [
            "x-user",
            "accept",
            "hosts",
            "mcp",
            "x-mcp-topic",
            "x-forwarded",
            "tea",
            "é",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(!goes_back("set-cookie") && !goes_back("content_type") && goes_back("etag"));
    }
}
