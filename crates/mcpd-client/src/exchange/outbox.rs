//! What waits to be written.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// Bodies below this are copied behind their head: a copy of that size is cheaper than an entry of
/// its own in a vectored write.
const COPY_BELOW: usize = 4 * 1024;
/// Slices given to one vectored write; more gain nothing, the socket buffer is full before.
const MAX_SLICES: usize = 32;
/// Memory of the tail that is kept when all is written; a burst's is given back.
const KEPT: usize = 64 * 1024;

/// Bytes in the order they go out: first the chunks, then the tail.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Bytes>,
    /// Bytes in `chunks`.
    chunked: usize,
    /// Heads, control frames and small bodies, one after the other.
    tail: Vec<u8>,
    /// Bytes of the tail that are written.
    tail_done: usize,
    /// Bytes of control frames appended since the last request, or since all was written.
    control: usize,
}

impl Outbox {
    /// Bytes not written yet.
    pub(crate) fn len(&self) -> usize {
        self.chunked + self.tail.len() - self.tail_done
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of control frames that may be unwritten, behind the last request.
    pub(crate) fn control(&self) -> usize {
        self.control
    }

    /// Where heads are appended.
    pub(crate) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends control frames with `write`, and counts them.
    pub(crate) fn control_with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.tail.len();
        let result = write(&mut self.tail);
        self.control += self.tail.len() - before;
        result
    }

    /// Appends the body that completes a request; a large one is not copied.
    pub(crate) fn body(&mut self, body: &Bytes) {
        self.control = 0;
        if body.len() < COPY_BELOW {
            self.tail.extend_from_slice(body);
            return;
        }
        let body = body.clone();
        let mut head = Bytes::from(std::mem::take(&mut self.tail));
        head.advance(std::mem::take(&mut self.tail_done));
        self.chunked += head.len() + body.len();
        self.chunks
            .extend([head, body].into_iter().filter(|chunk| !chunk.is_empty()));
    }

    /// Writes once, as much as the stream takes.
    pub(crate) fn poll_write_to<W>(
        &self,
        stream: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        W: AsyncWrite + Unpin,
    {
        let stream = Pin::new(stream);
        if self.chunks.is_empty() {
            return stream.poll_write(cx, &self.tail[self.tail_done..]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let tail = &self.tail[self.tail_done..];
        let all = self.chunks.iter().map(|chunk| &chunk[..]);
        let mut used = 0;
        for (slice, bytes) in slices.iter_mut().zip(all.chain([tail])) {
            *slice = IoSlice::new(bytes);
            used += usize::from(!bytes.is_empty());
        }
        stream.poll_write_vectored(cx, &slices[..used])
    }

    /// Drops `count` bytes that were written.
    pub(crate) fn written(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let step = count.min(chunk.len());
            chunk.advance(step);
            (count, self.chunked) = (count - step, self.chunked - step);
            if !chunk.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
        self.tail_done = (self.tail_done + count).min(self.tail.len());
        if self.tail_done == self.tail.len() {
            self.tail.clear();
            self.tail.shrink_to(KEPT);
            (self.tail_done, self.control) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Takes at most `step` bytes a write and remembers where large slices came from.
    struct Trickle {
        step: usize,
        taken: Vec<u8>,
        slices: Vec<*const u8>,
    }

    impl AsyncWrite for Trickle {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut room = self.step;
            for slice in slices {
                let step = room.min(slice.len());
                self.taken.extend_from_slice(&slice[..step]);
                self.slices.push(slice.as_ptr());
                room -= step;
            }
            Poll::Ready(Ok(self.step - room))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn fill(outbox: &mut Outbox, expected: &mut Vec<u8>, round: u8) {
        for size in [0, 3, COPY_BELOW - 1, COPY_BELOW, 3 * COPY_BELOW, 1] {
            let (head, body) = (vec![round; 11], vec![round ^ 0x55; size]);
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&body);
            outbox.head().extend_from_slice(&head);
            outbox.body(&Bytes::from(body));
        }
        outbox.control_with(|out| out.extend_from_slice(b"beat"));
        expected.extend_from_slice(b"beat");
    }

    #[tokio::test]
    async fn everything_goes_out_in_order_however_little_is_taken_at_a_time() {
        for step in [1, 7, 4096, 5000, 1 << 20] {
            let (slices, taken) = (Vec::new(), Vec::new());
            let mut stream = Trickle {
                step,
                taken,
                slices,
            };
            let (mut outbox, mut expected) = (Outbox::default(), Vec::new());
            for round in 0..4 {
                fill(&mut outbox, &mut expected, round);
                // Some is written between two rounds, so that they meet a half-written tail.
                let count = poll_fn(|cx| outbox.poll_write_to(&mut stream, cx))
                    .await
                    .unwrap();
                outbox.written(count);
            }
            while !outbox.is_empty() {
                let count = poll_fn(|cx| outbox.poll_write_to(&mut stream, cx))
                    .await
                    .unwrap();
                assert!(count > 0);
                outbox.written(count);
            }
            assert!(stream.taken == expected, "step {step}");
            assert_eq!((outbox.len(), outbox.control()), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_large_body_is_not_copied() {
        let (slices, taken) = (Vec::new(), Vec::new());
        let step = 1 << 20;
        let mut stream = Trickle {
            step,
            taken,
            slices,
        };
        let mut outbox = Outbox::default();
        let body = Bytes::from(vec![7; COPY_BELOW]);
        outbox.head().extend_from_slice(b"head");
        outbox.body(&body);
        poll_fn(|cx| outbox.poll_write_to(&mut stream, cx))
            .await
            .unwrap();
        assert_eq!(stream.slices[1], body.as_ptr());
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.body(&Bytes::from(vec![1; 1000]));
        }
        outbox.written(outbox.len());
        assert!(outbox.tail.capacity() <= KEPT);
    }
}
