//! Building a block, entry by entry, in the order the protocol wants.

use super::check::is_valid;
use super::{Meta, Trace, tag};
use crate::limits::{MAX_HEADERS, MAX_META_LEN};
use std::time::Duration;

/// A metadata block under construction. Setting a tag again replaces it; HEADERs add up.
///
/// The setters that take fixed-size values cannot fail; those that take text or bytes check them.
/// The buffer can be [cleared](MetaBuf::clear) and used again without allocating.
///
/// ```
/// use mcpd_proto::MetaBuf;
/// let mut meta = MetaBuf::new();
/// meta.add_header("tenant", b"acme")?;
/// meta.set_hops(3);
/// assert_eq!(meta.view().headers().next(), Some(("tenant", &b"acme"[..])));
/// assert!(meta.set_client_id("a/b").is_err());
/// # Ok::<(), mcpd_proto::MetaError>(())
/// ```
#[derive(Default)]
pub struct MetaBuf {
    bytes: Vec<u8>,
    present: u64,
    /// There may be entries that `present` does not know.
    has_unknown: bool,
}

/// Bytes in front of a value: its tag and its length.
const HEAD: usize = 3;

/// A value that does not fit into a metadata block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// The value is outside its tag's size or characters.
    #[error("{} has a value outside its size or characters", tag::name(*.0))]
    Value(u8),
    /// The block would be over 16 KiB.
    #[error("the metadata would be over 16384 bytes")]
    TooLarge,
    /// There would be more than 64 HEADERs.
    #[error("more than 64 headers")]
    TooManyHeaders,
}

/// Room that headers, token and features leave: the tags of bounded size need 1,299 bytes together,
/// so setting one of those cannot fail for lack of room.
const KEPT_FREE: usize = 1536;

impl MetaBuf {
    /// An empty block; allocates nothing.
    pub const fn new() -> MetaBuf {
        MetaBuf {
            bytes: Vec::new(),
            present: 0,
            has_unknown: false,
        }
    }

    /// Empties the block, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.present, self.has_unknown) = (0, false);
    }

    /// Bytes that it can hold without allocating.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The block as frames take it.
    #[inline]
    pub fn view(&self) -> Meta<'_> {
        Meta {
            block: &self.bytes,
            present: self.present,
            critical: 0,
        }
    }

    /// Copies the entry `tag` of `meta`, if it is there.
    ///
    /// # Errors
    /// [`MetaError`]; critical tags are not copied, as nobody here can vouch for them.
    pub fn copy(&mut self, tag: u8, meta: Meta<'_>) -> Result<(), MetaError> {
        let found = meta.entries().find(|(t, _)| *t == tag);
        found.map_or(Ok(()), |(tag, value)| self.set(tag, value))
    }

    fn set(&mut self, tag: u8, value: &[u8]) -> Result<(), MetaError> {
        if tag >= tag::CRITICAL || !is_valid(tag, value) {
            return Err(MetaError::Value(tag));
        }
        if tag != tag::HEADER {
            if self.replace(tag, value) {
                return Ok(());
            }
            self.remove(tag);
        } else if self.view().headers().count() >= MAX_HEADERS {
            return Err(MetaError::TooManyHeaders);
        }
        let open_ended =
            matches!(tag, tag::HEADER | tag::AUTH_TOKEN | tag::FEATURES) || !tag::is_known(tag);
        let max = if open_ended {
            MAX_META_LEN - KEPT_FREE
        } else {
            MAX_META_LEN
        };
        if self.bytes.len() + HEAD + value.len() > max {
            return Err(MetaError::TooLarge);
        }
        self.insert(tag, value);
        Ok(())
    }

    /// Like `set` for values that are valid by their type; `KEPT_FREE` is there for them. Mostly there is nothing
    /// to be replaced or moved.
    #[inline]
    fn put<const N: usize>(&mut self, tag: u8, value: &[u8; N]) {
        let is_last = !self.has_unknown && tag < 64 && self.present >> tag == 0;
        if !is_last || self.bytes.len() + HEAD + N > MAX_META_LEN {
            return self.put_anywhere(tag, value);
        }
        self.bytes.reserve(HEAD + N);
        self.bytes.extend_from_slice(&head(tag, value));
        self.bytes.extend_from_slice(value);
        self.present |= 1 << tag;
    }

    fn put_anywhere(&mut self, tag: u8, value: &[u8]) {
        let kept = self.set(tag, value);
        debug_assert!(kept.is_ok(), "tag {tag:#x} did not fit");
    }

    fn insert(&mut self, tag: u8, value: &[u8]) {
        let head = head(tag, value);
        let at = self.position_after(tag);
        self.bytes.reserve(head.len() + value.len());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(value);
        let added = head.len() + value.len();
        if let Some(rest) = self.bytes.get_mut(at..)
            && rest.len() > added
        {
            rest.rotate_right(added);
        }
        match tag::is_known(tag) {
            true => self.present |= 1 << tag,
            false => self.has_unknown = true,
        }
    }

    /// Puts the value in the place of the one that is there, if that is as long.
    fn replace(&mut self, tag: u8, value: &[u8]) -> bool {
        if tag >= 64 || self.present & (1 << tag) == 0 {
            return false;
        }
        let mut at = 0;
        for (found, old) in self.view().entries() {
            at += HEAD;
            if found == tag {
                let place = at..at + value.len();
                let fits = old.len() == value.len();
                let place = self.bytes.get_mut(place).filter(|_| fits);
                return place.map(|place| place.copy_from_slice(value)).is_some();
            }
            at += old.len();
        }
        false
    }

    /// Offset behind the last entry whose tag is not above `tag`.
    fn position_after(&self, tag: u8) -> usize {
        if !self.has_unknown && self.present >> tag.min(63) <= 1 {
            return self.bytes.len();
        }
        let before = self.view().entries().take_while(|(found, _)| *found <= tag);
        before.map(|(_, value)| HEAD + value.len()).sum()
    }

    fn remove(&mut self, tag: u8) {
        if tag >= 64 || self.present & (1 << tag) == 0 {
            return;
        }
        let end = self.position_after(tag);
        let start = if tag == 0 {
            0
        } else {
            self.position_after(tag - 1)
        };
        self.bytes.drain(start..end);
        self.present &= !(1 << tag);
    }

    /// Sets TRACE.
    pub fn set_trace(&mut self, trace: Trace) {
        self.put(tag::TRACE, &trace.to_bytes());
    }

    /// Sets TRACESTATE: ASCII, ≤ 512 bytes.
    ///
    /// # Errors
    /// [`MetaError`], as every setter that takes text or bytes.
    pub fn set_tracestate(&mut self, state: &str) -> Result<(), MetaError> {
        self.set(tag::TRACESTATE, state.as_bytes())
    }

    /// Sets TIMEOUT_MS.
    pub fn set_timeout_ms(&mut self, ms: u32) {
        self.put(tag::TIMEOUT_MS, &ms.to_be_bytes());
    }

    /// Sets MESSAGE_ID.
    pub fn set_message_id(&mut self, id: [u8; 16]) {
        self.put(tag::MESSAGE_ID, &id);
    }

    /// Sets CONTENT_TYPE: ASCII, ≤ 255 bytes.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn set_content_type(&mut self, content_type: &str) -> Result<(), MetaError> {
        self.set(tag::CONTENT_TYPE, content_type.as_bytes())
    }

    /// Sets RETRY_AFTER_MS; over 49 days reads as 49 days.
    pub fn set_retry_after(&mut self, wait: Duration) {
        let ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.put(tag::RETRY_AFTER_MS, &ms.to_be_bytes());
    }

    /// Adds a HEADER: key of 1–64 `[a-z0-9_.-]`, value ≤ 4 KiB without CR, LF and NUL.
    ///
    /// # Errors
    /// [`MetaError`]; the end of a block is kept for the tags of bounded size.
    pub fn add_header(&mut self, key: &str, value: &[u8]) -> Result<(), MetaError> {
        let Ok(len) = u8::try_from(key.len()) else {
            return Err(MetaError::Value(tag::HEADER));
        };
        let mut entry = Vec::with_capacity(1 + key.len() + value.len());
        entry.push(len);
        entry.extend_from_slice(key.as_bytes());
        entry.extend_from_slice(value);
        self.set(tag::HEADER, &entry)
    }

    /// Sets ROUTE_REVISION.
    pub fn set_route_revision(&mut self, revision: u64) {
        self.put(tag::ROUTE_REVISION, &revision.to_be_bytes());
    }

    /// Sets HOPS.
    pub fn set_hops(&mut self, hops: u8) {
        self.put(tag::HOPS, &[hops]);
    }

    /// Sets AGE_MS.
    pub fn set_age_ms(&mut self, ms: u32) {
        self.put(tag::AGE_MS, &ms.to_be_bytes());
    }

    /// Sets STATUS.
    pub fn set_status(&mut self, status: u16) {
        self.put(tag::STATUS, &status.to_be_bytes());
    }

    /// Sets CLIENT_ID: 1–128 of `[A-Za-z0-9._:@-]`.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn set_client_id(&mut self, id: &str) -> Result<(), MetaError> {
        self.set(tag::CLIENT_ID, id.as_bytes())
    }

    /// Sets AUTH_TOKEN.
    ///
    /// # Errors
    /// [`MetaError::TooLarge`].
    pub fn set_auth_token(&mut self, token: &[u8]) -> Result<(), MetaError> {
        self.set(tag::AUTH_TOKEN, token)
    }

    /// Sets HEARTBEAT_MS, clamped to what may be announced (1–600 s).
    pub fn set_heartbeat(&mut self, interval: Duration) {
        let allowed = interval.clamp(crate::limits::MIN_HEARTBEAT, crate::limits::MAX_HEARTBEAT);
        let ms = u32::try_from(allowed.as_millis()).unwrap_or(u32::MAX);
        self.put(tag::HEARTBEAT_MS, &ms.to_be_bytes());
    }

    /// Sets MAX_PAYLOAD.
    pub fn set_max_payload(&mut self, bytes: u32) {
        self.put(tag::MAX_PAYLOAD, &bytes.to_be_bytes());
    }

    /// Sets MAX_IN_FLIGHT.
    pub fn set_max_in_flight(&mut self, requests: u16) {
        self.put(tag::MAX_IN_FLIGHT, &requests.to_be_bytes());
    }

    /// Sets SERVER_ID: ≤ 128 bytes.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn set_server_id(&mut self, id: &str) -> Result<(), MetaError> {
        self.set(tag::SERVER_ID, id.as_bytes())
    }

    /// Sets AGENT: ≤ 128 bytes.
    ///
    /// # Errors
    /// [`MetaError`].
    pub fn set_agent(&mut self, agent: &str) -> Result<(), MetaError> {
        self.set(tag::AGENT, agent.as_bytes())
    }

    /// Sets INCARNATION.
    pub fn set_incarnation(&mut self, incarnation: [u8; 16]) {
        self.put(tag::INCARNATION, &incarnation);
    }

    /// Sets DEDUP_WINDOW_S.
    pub fn set_dedup_window_s(&mut self, seconds: u32) {
        self.put(tag::DEDUP_WINDOW_S, &seconds.to_be_bytes());
    }

    /// Sets FEATURES.
    ///
    /// # Errors
    /// [`MetaError::TooLarge`].
    pub fn set_features(&mut self, features: &[u16]) -> Result<(), MetaError> {
        let bytes: Vec<u8> = features.iter().flat_map(|f| f.to_be_bytes()).collect();
        self.set(tag::FEATURES, &bytes)
    }
}

/// What stands in front of a value.
#[inline]
fn head(tag: u8, value: &[u8]) -> [u8; HEAD] {
    // At most 64 KiB - 1 by is_valid; AUTH_TOKEN is bounded by the block.
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    [tag, len[0], len[1]]
}

impl Clone for MetaBuf {
    fn clone(&self) -> MetaBuf {
        MetaBuf {
            bytes: self.bytes.clone(),
            ..*self
        }
    }

    /// Into the memory that is there.
    fn clone_from(&mut self, other: &MetaBuf) {
        self.bytes.clone_from(&other.bytes);
        (self.present, self.has_unknown) = (other.present, other.has_unknown);
    }
}

impl From<Meta<'_>> for MetaBuf {
    /// The same entries, to be added to. Those that this build does not know go along, too.
    fn from(meta: Meta<'_>) -> MetaBuf {
        MetaBuf {
            bytes: meta.block.to_vec(),
            present: meta.present,
            has_unknown: true,
        }
    }
}

impl std::fmt::Debug for MetaBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

impl PartialEq for MetaBuf {
    fn eq(&self, other: &MetaBuf) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for MetaBuf {}
