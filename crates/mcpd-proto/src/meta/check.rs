//! The rules a block must keep; after this, accessors cannot meet a bad value.

use super::{Meta, tag};
use crate::error::FrameError;
use crate::limits::{
    MAX_CONTENT_TYPE_LEN, MAX_HEADER_KEY_LEN, MAX_HEADER_VALUE_LEN, MAX_HEADERS, MAX_HEARTBEAT,
    MAX_ID_LEN, MAX_META_LEN, MAX_TRACESTATE_LEN, MIN_HEARTBEAT,
};
use crate::read::Reader;

/// Reads one entry; `None` at the end of the block.
#[inline]
pub(super) fn entry<'a>(reader: &mut Reader<'a>) -> Result<Option<(u8, &'a [u8])>, FrameError> {
    if reader.is_empty() {
        return Ok(None);
    }
    let [tag] = reader.array("metadata tag")?;
    let len = usize::from(reader.u16("metadata entry length")?);
    Ok(Some((tag, reader.take("metadata entry", len)?)))
}

pub(super) fn block(block: &[u8]) -> Result<Meta<'_>, FrameError> {
    if block.len() > MAX_META_LEN {
        return Err(FrameError::MetaTooLarge(block.len()));
    }
    // Offsets in errors count from the payload's start, where the block's length stands.
    let mut reader = Reader::new(block, 2);
    let (mut present, mut critical, mut headers) = (0u64, 0u8, 0usize);
    while let Some((tag, value)) = entry(&mut reader)? {
        if tag >= tag::CRITICAL {
            critical = if critical == 0 { tag } else { critical };
            continue;
        }
        if !tag::is_known(tag) {
            continue;
        }
        let bit = 1 << tag;
        if tag == tag::HEADER {
            headers += 1;
            if headers > MAX_HEADERS {
                return Err(FrameError::TooManyHeaders);
            }
        } else if present & bit != 0 {
            return Err(FrameError::MetaRepeated(tag));
        }
        if !is_valid(tag, value) {
            return Err(FrameError::MetaValue(tag));
        }
        present |= bit;
    }
    Ok(Meta {
        block,
        present,
        critical,
    })
}

/// Whether a known tag may have this value.
pub(super) fn is_valid(tag: u8, value: &[u8]) -> bool {
    match tag {
        tag::TRACE => value.len() == 25,
        tag::TRACESTATE => value.len() <= MAX_TRACESTATE_LEN && value.is_ascii(),
        tag::CONTENT_TYPE => value.len() <= MAX_CONTENT_TYPE_LEN && value.is_ascii(),
        tag::MESSAGE_ID | tag::INCARNATION => value.len() == 16,
        tag::TIMEOUT_MS | tag::RETRY_AFTER_MS | tag::AGE_MS => value.len() == 4,
        tag::MAX_PAYLOAD | tag::DEDUP_WINDOW_S => value.len() == 4,
        tag::HEADER => is_header(value),
        tag::ROUTE_REVISION => value.len() == 8,
        tag::HOPS => value.len() == 1,
        tag::STATUS | tag::MAX_IN_FLIGHT => value.len() == 2,
        tag::CLIENT_ID => is_client_id(value),
        tag::HEARTBEAT_MS => is_heartbeat(value),
        tag::SERVER_ID | tag::AGENT => {
            value.len() <= MAX_ID_LEN && std::str::from_utf8(value).is_ok()
        }
        tag::FEATURES => value.len().is_multiple_of(2),
        _ => true,
    }
}

fn is_heartbeat(value: &[u8]) -> bool {
    let allowed = MIN_HEARTBEAT.as_millis()..=MAX_HEARTBEAT.as_millis();
    value
        .try_into()
        .is_ok_and(|ms| allowed.contains(&u32::from_be_bytes(ms).into()))
}

fn is_client_id(value: &[u8]) -> bool {
    (1..=MAX_ID_LEN).contains(&value.len())
        && value
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(b))
}

fn is_header(entry: &[u8]) -> bool {
    let Some((len, rest)) = entry.split_first() else {
        return false;
    };
    let Some((key, value)) = rest.split_at_checked(usize::from(*len)) else {
        return false;
    };
    (1..=MAX_HEADER_KEY_LEN).contains(&key.len())
        && key
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
        && value.len() <= MAX_HEADER_VALUE_LEN
        && !value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}
