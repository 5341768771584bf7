//! The numbers of the metadata tags.

macro_rules! tags {
    ($($value:literal $name:ident;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`, see the accessor of [`super::Meta`].")]
        pub const $name: u8 = $value;)*

        /// The tag's name in the protocol, `"?"` for an unknown one.
        pub const fn name(tag: u8) -> &'static str {
            match tag { $($value => stringify!($name),)* _ => "?" }
        }

        /// Bit n is set when tag n is known; all known tags are below 64.
        const KNOWN: u64 = $(1 << $value)|*;
    };
}

/// Whether this build knows the tag.
#[inline]
pub(super) const fn is_known(tag: u8) -> bool {
    tag < 64 && KNOWN & (1 << tag) != 0
}

tags! {
    0x01 TRACE;
    0x02 TRACESTATE;
    0x03 TIMEOUT_MS;
    0x04 MESSAGE_ID;
    0x05 CONTENT_TYPE;
    0x06 RETRY_AFTER_MS;
    0x07 HEADER;
    0x08 ROUTE_REVISION;
    0x09 HOPS;
    0x0A AGE_MS;
    0x0B STATUS;
    0x20 CLIENT_ID;
    0x21 AUTH_TOKEN;
    0x22 HEARTBEAT_MS;
    0x23 MAX_PAYLOAD;
    0x24 MAX_IN_FLIGHT;
    0x25 SERVER_ID;
    0x26 AGENT;
    0x27 INCARNATION;
    0x28 DEDUP_WINDOW_S;
    0x29 FEATURES;
}

/// The lowest tag that a receiver must understand.
pub const CRITICAL: u8 = 0x80;
