//! The MCP side of the load: written from the raw bytes, so that a fault in mcpd's own codec
//! cannot hide in both ends.

use anyhow::{Result, bail, ensure};

use super::{Body, Progress};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 10;
pub(crate) const REQUEST: u8 = 0x01;
pub(crate) const RESPONSE: u8 = 0x02;
const HEARTBEAT: u8 = 0x03;
const ERROR: u8 = 0x05;

const META: u8 = 1 << 3;
const IGNORABLE: u8 = 1 << 4;
const REPLY: u8 = 1 << 5;

const TOPIC: &[u8] = b"echo";
const PRIORITY: u8 = 3;

/// One connection's requests under way.
///
/// A slot counts its generations, so that `seq_id`s run through their space as a client's would
/// and yet never meet one that is unanswered.
#[derive(Debug)]
pub(crate) struct Mcp {
    body: Body,
    free: Vec<u16>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    generation: u16,
    /// What the answer's body must carry; `None` when nothing is under way.
    number: Option<u64>,
}

impl Mcp {
    pub(crate) fn new(depth: u16) -> Self {
        Mcp {
            body: Body::new(),
            free: (0..depth).rev().collect(),
            slots: vec![Slot::default(); usize::from(depth)],
        }
    }

    /// Appends a request; without effect when all slots are under way.
    pub(crate) fn request(&mut self, out: &mut Vec<u8>) {
        let Some(index) = self.free.pop() else {
            return;
        };
        let depth = self.slots.len() as u16;
        let slot = &mut self.slots[usize::from(index)];
        slot.generation = (slot.generation + 1) % (u16::MAX / depth);
        let seq = 1 + index + depth * slot.generation;
        let (number, body) = self.body.next();
        slot.number = Some(number);

        let length = (2 + TOPIC.len() + body.len()) as u32;
        let [s0, s1] = seq.to_be_bytes();
        let [l0, l1, l2, l3] = length.to_be_bytes();
        out.extend_from_slice(&[1, REQUEST, s0, s1, l0, l1, l2, l3, PRIORITY, 0]);
        out.extend_from_slice(&(TOPIC.len() as u16).to_be_bytes());
        out.extend_from_slice(TOPIC);
        out.extend_from_slice(body);
    }

    pub(crate) fn answers(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress> {
        let mut progress = Progress::default();
        while let Some(header) = input[progress.used..].first_chunk::<HEADER>() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let start = progress.used + HEADER;
            let Some(payload) = input[start..].get(..length) else {
                break;
            };
            progress.used = start + length;
            let seq = u16::from_be_bytes([header[2], header[3]]);
            let flags = header[9];
            match header[1] {
                RESPONSE => {
                    ensure!(header[8] == PRIORITY, "an answer with another priority");
                    self.check(seq, after_metadata(flags, payload)?)?;
                    progress.answers += 1;
                }
                HEARTBEAT if flags & REPLY == 0 => {
                    let mut reply = *header;
                    reply[9] |= REPLY;
                    out.extend_from_slice(&reply);
                    out.extend_from_slice(payload);
                }
                HEARTBEAT => {}
                ERROR => bail!("the server answered {}", describe(flags, payload)?),
                _ if flags & IGNORABLE != 0 => {}
                other => bail!("a frame of unexpected type {other:#04x}"),
            }
        }
        Ok(progress)
    }

    fn check(&mut self, seq: u16, body: &[u8]) -> Result<()> {
        let depth = self.slots.len() as u16;
        ensure!(seq != 0, "an answer with seq_id 0");
        let index = (seq - 1) % depth;
        let slot = &mut self.slots[usize::from(index)];
        let expected = (seq - 1) / depth == slot.generation;
        match slot.number.take() {
            Some(number) if expected => ensure!(
                self.body.matches(number, body),
                "the answer to seq_id {seq} has another body than its request"
            ),
            _ => bail!("an answer to seq_id {seq}, which is not under way"),
        }
        self.free.push(index);
        Ok(())
    }
}

fn after_metadata(flags: u8, payload: &[u8]) -> Result<&[u8]> {
    if flags & META == 0 {
        return Ok(payload);
    }
    let rest = payload.split_first_chunk::<2>().and_then(|(length, rest)| {
        let length = usize::from(u16::from_be_bytes(*length));
        rest.get(length..)
    });
    rest.ok_or_else(|| anyhow::anyhow!("a metadata block longer than its frame"))
}

fn describe(flags: u8, payload: &[u8]) -> Result<String> {
    let payload = after_metadata(flags, payload)?;
    Ok(match payload.split_first_chunk::<2>() {
        Some((code, text)) => format!(
            "ERROR {:#06x}: {}",
            u16::from_be_bytes(*code),
            String::from_utf8_lossy(text)
        ),
        None => "an ERROR without a code".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(request: &[u8]) -> Vec<u8> {
        let body = &request[HEADER + 2 + TOPIC.len()..];
        let mut frame = vec![
            1, RESPONSE, request[2], request[3], 0, 0, 0, 64, PRIORITY, 0,
        ];
        frame.extend_from_slice(body);
        frame
    }

    fn one() -> (Mcp, Vec<u8>) {
        let mut wire = Mcp::new(1);
        let mut request = Vec::new();
        wire.request(&mut request);
        (wire, request)
    }

    #[test]
    fn an_answer_is_taken_once_it_is_whole_and_only_once() {
        let (mut wire, request) = one();
        let answer = response(&request);
        for cut in 0..answer.len() {
            let progress = wire.answers(&answer[..cut], &mut Vec::new()).unwrap();
            assert_eq!((progress.used, progress.answers), (0, 0), "cut at {cut}");
        }
        let progress = wire.answers(&answer, &mut Vec::new()).unwrap();
        assert_eq!((progress.used, progress.answers), (answer.len(), 1));
        assert!(wire.answers(&answer, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_changed_body_and_a_foreign_seq_id_are_noticed() {
        for at in [3, HEADER, HEADER + 63] {
            let (mut wire, request) = one();
            let mut answer = response(&request);
            answer[at] ^= 1;
            assert!(wire.answers(&answer, &mut Vec::new()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn metadata_is_skipped_and_a_heartbeat_is_answered() {
        let (mut wire, request) = one();
        let mut input = vec![1, HEARTBEAT, 0, 9, 0, 0, 0, 1, 0, 0, 0x55];
        let mut answer = response(&request);
        answer[7] += 5;
        answer[9] |= META;
        answer.splice(HEADER..HEADER, [0, 3, 7, 0, 0]);
        input.extend_from_slice(&answer);
        let mut out = Vec::new();
        assert_eq!(wire.answers(&input, &mut out).unwrap().answers, 1);
        assert_eq!(out, [1, HEARTBEAT, 0, 9, 0, 0, 0, 1, 0, REPLY, 0x55]);
    }

    #[test]
    fn an_error_is_reported_with_its_code_and_text() {
        let (mut wire, _) = one();
        let error = [1, ERROR, 0, 1, 0, 0, 0, 4, 0, 0, 2, 0x81, b'n', b'o'];
        let said = wire.answers(&error, &mut Vec::new()).unwrap_err();
        assert_eq!(said.to_string(), "the server answered ERROR 0x0281: no");
    }

    #[test]
    fn seq_ids_run_through_their_space_and_skip_zero() {
        let mut wire = Mcp::new(16);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..70_000 {
            let mut request = Vec::new();
            wire.request(&mut request);
            seen.insert(u16::from_be_bytes([request[2], request[3]]));
            wire.answers(&response(&request), &mut Vec::new()).unwrap();
        }
        assert!(!seen.contains(&0));
        assert!(seen.len() > 4000, "{} different seq_ids", seen.len());
    }
}
