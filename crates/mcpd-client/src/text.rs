//! A topic, owned: without an allocation of its own if it is of a usual length.

use std::fmt;
use std::sync::Arc;

/// Bytes of a topic that is kept where it is; a longer one costs an allocation.
const INLINE: usize = 46;

#[derive(Clone)]
pub(crate) enum Text {
    Short(u8, [u8; INLINE]),
    Long(Arc<str>),
}

impl Text {
    /// Becomes this text, in the memory that is there.
    pub(crate) fn set(&mut self, text: &str) {
        if let Text::Short(len, bytes) = self
            && let (Ok(new), Some(place)) = (u8::try_from(text.len()), bytes.get_mut(..text.len()))
        {
            place.copy_from_slice(text.as_bytes());
            *len = new;
            return;
        }
        *self = text.into();
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Short(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Text::Long(text) => text.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            // It was copied from a `str`.
            Text::Short(..) => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Text::Long(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        let mut bytes = [0; INLINE];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Text::Short(len, bytes)
            }
            _ => Text::Long(text.into()),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_kept() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 255, 256, 70_000] {
            let text = "é".repeat(len / 2) + if len % 2 == 1 { "x" } else { "" };
            let mut kept = Text::from("something else");
            kept.set(&text);
            assert_eq!(kept.as_str(), text);
            let kept = Text::from(text.as_str()).clone();
            assert_eq!((kept.as_str(), kept.as_bytes()), (&*text, text.as_bytes()));
            assert_eq!(matches!(kept, Text::Short(..)), len <= INLINE);
        }
    }
}
