//! The Redis side of the load: pipelined `ECHO`, answered in order.

use std::collections::VecDeque;

use anyhow::{Result, bail, ensure};

use super::{BODY, Body, Progress};

const REQUEST: &[u8] = b"*2\r\n$4\r\nECHO\r\n$64\r\n";
const ANSWER: &[u8] = b"$64\r\n";
const END: &[u8] = b"\r\n";

/// One connection's commands under way.
#[derive(Debug)]
pub(crate) struct Redis {
    body: Body,
    under_way: VecDeque<u64>,
    depth: usize,
}

impl Redis {
    pub(crate) fn new(depth: u16) -> Self {
        Redis {
            body: Body::new(),
            under_way: VecDeque::with_capacity(usize::from(depth)),
            depth: usize::from(depth),
        }
    }

    /// Appends a command; without effect when as many as allowed are under way.
    pub(crate) fn request(&mut self, out: &mut Vec<u8>) {
        if self.under_way.len() == self.depth {
            return;
        }
        let (number, body) = self.body.next();
        self.under_way.push_back(number);
        out.extend_from_slice(REQUEST);
        out.extend_from_slice(body);
        out.extend_from_slice(END);
    }

    pub(crate) fn answers(&mut self, input: &[u8]) -> Result<Progress> {
        let mut progress = Progress::default();
        const LENGTH: usize = ANSWER.len() + BODY + END.len();
        loop {
            let rest = &input[progress.used..];
            if let Some(b'-') = rest.first() {
                bail!("Redis answered {}", String::from_utf8_lossy(rest).trim());
            }
            let Some(answer) = rest.first_chunk::<LENGTH>() else {
                return Ok(progress);
            };
            ensure!(
                answer.starts_with(ANSWER) && answer.ends_with(END),
                "an answer that is not a 64-byte string"
            );
            let Some(number) = self.under_way.pop_front() else {
                bail!("an answer without a command");
            };
            let body = &answer[ANSWER.len()..ANSWER.len() + BODY];
            ensure!(
                self.body.matches(number, body),
                "an answer with another body than its command"
            );
            progress.used += LENGTH;
            progress.answers += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &[u8]) -> Vec<u8> {
        [ANSWER, &request[REQUEST.len()..]].concat()
    }

    #[test]
    fn answers_are_taken_in_order_wherever_they_are_cut() {
        let mut wire = Redis::new(2);
        let mut requests = Vec::new();
        wire.request(&mut requests);
        let first = answer(&requests);
        requests.clear();
        wire.request(&mut requests);
        let both = [first.clone(), answer(&requests)].concat();
        let progress = wire.answers(&both[..first.len() + 9]).unwrap();
        assert_eq!((progress.used, progress.answers), (first.len(), 1));
        assert_eq!(wire.answers(&both[first.len()..]).unwrap().answers, 1);
    }

    #[test]
    fn a_changed_body_and_an_error_are_noticed() {
        let mut wire = Redis::new(1);
        let mut request = Vec::new();
        wire.request(&mut request);
        assert!(wire.answers(b"-ERR unknown command\r\n").is_err());
        let mut changed = answer(&request);
        changed[ANSWER.len() + 3] ^= 1;
        assert!(wire.answers(&changed).is_err());
    }
}
