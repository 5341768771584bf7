//! What a document is known by: the hash of what it says, and the tag of one version of it.

use super::Document;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Bytes of the hash that an [`ETag`] shows.
const TAG_HASH_BYTES: usize = 8;

impl Document {
    /// SHA-256 of the canonical form: the document as JSON with sorted keys, defaults written out
    /// and routes in the order of their names, without its revision. Two documents that say the
    /// same have the same hash, however they are written down.
    ///
    /// Costs about as much as parsing the document did (5 ms for 1,000 routes): keep it.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.canonical().as_bytes()).into()
    }

    /// The hash in lower-case hex, 64 digits.
    pub fn hash_hex(&self) -> String {
        hex(&self.hash())
    }

    /// The tag of this version; costs a [`Document::hash`].
    pub fn etag(&self) -> ETag {
        self.etag_of(&self.hash())
    }

    /// The tag of this version, whose hash is known.
    pub(crate) fn etag_of(&self, digest: &[u8; 32]) -> ETag {
        let mut hash = [0; TAG_HASH_BYTES];
        hash.copy_from_slice(&digest[..TAG_HASH_BYTES]);
        ETag {
            revision: self.revision,
            hash,
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names one version of a document as HTTP's header does, quotes included:
/// `"<revision>-<first 16 hex digits of the hash>"`.
///
/// ```
/// use mcpd::router::document::{Document, ETag};
///
/// let tag = Document::default().etag();
/// assert!(tag.to_string().starts_with("\"0-"));
/// assert_eq!(tag.to_string().parse::<ETag>()?, tag);
/// # Ok::<(), mcpd::router::document::ETagError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ETag {
    revision: u64,
    hash: [u8; TAG_HASH_BYTES],
}

impl ETag {
    /// The tag of the same content under the next revision.
    pub(crate) fn next(self) -> ETag {
        let revision = self.revision.saturating_add(1);
        ETag { revision, ..self }
    }

    /// The revision it names.
    pub fn revision(self) -> u64 {
        self.revision
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}-{}\"", self.revision, hex(&self.hash))
    }
}

/// The text is not the tag of a route document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ETag of routes; it looks like \"7-0123456789abcdef\", quotes included")]
pub struct ETagError;

impl FromStr for ETag {
    type Err = ETagError;

    fn from_str(text: &str) -> Result<ETag, ETagError> {
        let read = || {
            let inner = text.strip_prefix('"')?.strip_suffix('"')?;
            let (revision, digits) = inner.split_once('-')?;
            let plain = |c: char| matches!(c, '0'..='9' | 'a'..='f');
            if digits.len() != 2 * TAG_HASH_BYTES || !digits.chars().all(plain) {
                return None;
            }
            let tag = ETag {
                revision: revision.parse().ok()?,
                hash: u64::from_str_radix(digits, 16).ok()?.to_be_bytes(),
            };
            // Only what `Display` writes: `+7` or `007` would be two names for one version.
            (tag.to_string() == text).then_some(tag)
        };
        read().ok_or(ETagError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_text_is_a_tag() {
        let tag: ETag = "\"7-0123456789abcdef\"".parse().unwrap();
        assert_eq!(tag.revision(), 7);
        assert_eq!(tag.to_string(), "\"7-0123456789abcdef\"");
        for other in [
            "7-0123456789abcdef",
            "\"07-0123456789abcdef\"",
            "\"+7-0123456789abcdef\"",
            "\"7-0123456789ABCDEF\"",
            "\"7-0123456789abcde\"",
            "W/\"7-0123456789abcdef\"",
            "*",
            "",
        ] {
            assert_eq!(other.parse::<ETag>(), Err(ETagError), "{other}");
        }
    }
}
