//! The HTTP side of the load: one POST of a small body at a time on each connection.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};

use super::{BODY, Body, Progress};

const REQUEST: &[u8] = b"POST /echo HTTP/1.1\r\nHost: up\r\nContent-Type: application/octet-stream\r\nContent-Length: 64\r\n\r\n";
const LENGTH: &str = "content-length: 64";
const END: &[u8] = b"\r\n\r\n";

/// One connection's requests under way; more than one are pipelined.
#[derive(Debug)]
pub(crate) struct Http {
    body: Body,
    under_way: VecDeque<u64>,
    depth: usize,
}

impl Http {
    pub(crate) fn new(depth: u16) -> Self {
        Http {
            body: Body::new(),
            under_way: VecDeque::with_capacity(usize::from(depth)),
            depth: usize::from(depth),
        }
    }

    /// Appends a request; without effect when as many as allowed are under way.
    pub(crate) fn request(&mut self, out: &mut Vec<u8>) {
        if self.under_way.len() == self.depth {
            return;
        }
        let (number, body) = self.body.next();
        self.under_way.push_back(number);
        out.extend_from_slice(REQUEST);
        out.extend_from_slice(body);
    }

    pub(crate) fn answers(&mut self, input: &[u8]) -> Result<Progress> {
        let mut progress = Progress::default();
        loop {
            let rest = &input[progress.used..];
            let Some(head) = rest.windows(END.len()).position(|part| part == END) else {
                return Ok(progress);
            };
            let text = std::str::from_utf8(&rest[..head]).context("a head that is no text")?;
            ensure!(text.starts_with("HTTP/1.1 200 "), "an answer like {text:?}");
            let known = text.lines().any(|line| line.eq_ignore_ascii_case(LENGTH));
            ensure!(known, "an answer of another length");
            let Some(body) = rest[head + END.len()..].get(..BODY) else {
                return Ok(progress);
            };
            let Some(number) = self.under_way.pop_front() else {
                bail!("an answer without a request");
            };
            ensure!(
                self.body.matches(number, body),
                "an answer with another body than its request"
            );
            progress.used += head + END.len() + BODY;
            progress.answers += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_wherever_they_are_cut() {
        let mut wire = Http::new(1);
        let mut request = Vec::new();
        wire.request(&mut request);
        let body = &request[REQUEST.len()..];
        let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n", body].concat();
        for cut in 0..answer.len() {
            assert_eq!(wire.answers(&answer[..cut]).unwrap().answers, 0);
        }
        let progress = wire.answers(&answer).unwrap();
        assert_eq!((progress.used, progress.answers), (answer.len(), 1));
        assert!(wire.answers(&answer).is_err(), "nobody asked again");
        assert!(wire.answers(b"HTTP/1.1 503 No\r\n\r\n").is_err());
    }
}
