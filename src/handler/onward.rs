//! What every handler that asks somebody else passes on of a call.

use crate::message::Call;
use mcpd_proto::Trace;
use sha2::{Digest, Sha256};

/// Hops that a request may take from the server it first comes to, unless it says itself.
pub(crate) const DEFAULT_HOPS: u8 = 8;

/// The name of a message beyond this server: the first 16 bytes of SHA-256 over principal, client id
/// and message id, each behind its length as a `u32`. So clients that chose the same id do not meet,
/// and none can choose another's. `None` where the message has no id.
pub(crate) fn message_key(call: &Call<'_>) -> Option<[u8; 16]> {
    let id = call.meta.message_id()?;
    let principal = call.peer.identity.as_ref().map_or("", |who| who.name());
    let client = call.peer.client_id.as_deref().unwrap_or("");
    Some(key_of(principal, client, id))
}

fn key_of(principal: &str, client: &str, id: [u8; 16]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [principal.as_bytes(), client.as_bytes(), &id] {
        // Names are far shorter than that.
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let [first, _] = hash.as_chunks::<16>().0 else {
        return [0; 16];
    };
    *first
}

/// The trace that goes along: the handler's span where the call is sampled, else what the client
/// sent, so that the next one still knows where it belongs.
pub(crate) fn trace(call: &Call<'_>) -> Option<Trace> {
    let sampled = call.span.map(|span| span.trace());
    sampled.or_else(|| call.meta.trace())
}

/// HOPS for the next server: one less than are left, of at most `most`.
pub(crate) fn hops(call: &Call<'_>, most: u8) -> u8 {
    call.meta.hops().unwrap_or(most).min(most).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_documented_hash() {
        // printf '\0\0\0\3ada\0\0\0\6till-7\0\0\0\x10aaaaaaaaaaaaaaaa' | sha256sum
        let key = key_of("ada", "till-7", [b'a'; 16]);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "d7d95db19c208acb79cdebcdd72e09bb");
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        let id = [7; 16];
        assert_ne!(key_of("ab", "c", id), key_of("a", "bc", id));
        assert_ne!(key_of("", "a", id), key_of("a", "", id));
    }
}
