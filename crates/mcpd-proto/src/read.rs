//! Bounds-checked reading: the only place that turns lengths from the wire into slices.

use crate::error::FrameError;

/// A cursor over bytes from the wire that remembers where it is, for errors that say so.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub(crate) const fn new(bytes: &'a [u8], offset: usize) -> Reader<'a> {
        Reader {
            rest: bytes,
            offset,
        }
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, what: &'static str, need: usize) -> Result<&'a [u8], FrameError> {
        let Some((taken, rest)) = self.rest.split_at_checked(need) else {
            let (offset, have) = (self.offset, self.rest.len());
            return Err(FrameError::Short {
                what,
                offset,
                need,
                have,
            });
        };
        self.rest = rest;
        self.offset += need;
        Ok(taken)
    }

    #[inline(always)]
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], FrameError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            let (offset, have) = (self.offset, self.rest.len());
            return Err(FrameError::Short {
                what,
                offset,
                need: N,
                have,
            });
        };
        self.rest = rest;
        self.offset += N;
        Ok(*taken)
    }

    #[inline(always)]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        self.array(what).map(u16::from_be_bytes)
    }

    #[inline(always)]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
