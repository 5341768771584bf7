//! When a change of the file is taken: no IO, no time, so that every order of events can be tried.

use super::super::StoreErrorKind;
use super::read::{Fingerprint, Reading};

/// What was handed out last, and what may come next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    accepted: Option<Accepted>,
    /// Seen once; taken when it is seen again.
    pending: Option<Fingerprint>,
    pokes_seen: u64,
}

#[derive(Debug)]
struct Accepted {
    fingerprint: Fingerprint,
    content: [u8; 32],
    /// The content is to be compared once more: a write within the same tick of the clock leaves
    /// the time stamps as they were, and a failure to read may pass.
    compare_again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing new, or not settled yet.
    Wait,
    /// Worth reading.
    Read,
}

impl Watch {
    pub(super) fn pokes_seen(&self) -> u64 {
        self.pokes_seen
    }

    /// Judges one poll's look at the file.
    pub(super) fn look(&mut self, seen: &Fingerprint) -> Step {
        if let Some(accepted) = &self.accepted
            && accepted.fingerprint == *seen
        {
            self.pending = None;
            return if accepted.compare_again {
                Step::Read
            } else {
                Step::Wait
            };
        }
        if self.pending.as_ref() == Some(seen) {
            return Step::Read;
        }
        self.pending = Some(seen.clone());
        Step::Wait
    }

    /// Judges a reading; true if it is to be handed out.
    pub(super) fn take(&mut self, reading: &Reading, forced: bool, pokes: u64) -> bool {
        let known = self.accepted.as_ref().map(|a| &a.fingerprint);
        let settled = self.pending.as_ref().or(known) == Some(&reading.fingerprint);
        if !forced && !settled {
            // It was written to between the look and the reading.
            self.pending = Some(reading.fingerprint.clone());
            return false;
        }
        let known = self.accepted.as_ref().map(|a| a.content);
        self.accept(reading, pokes);
        forced || known != Some(reading.content)
    }

    /// Takes the first reading of all for the state that changes are told from. Later ones that
    /// were made beside the watch do not count: whoever watches has not seen them.
    pub(super) fn start(&mut self, reading: &Reading, pokes: u64) {
        if self.accepted.is_none() {
            self.accept(reading, pokes);
        }
    }

    /// Remembers a reading as handed out.
    fn accept(&mut self, reading: &Reading, pokes: u64) {
        let same_file = |a: &Accepted| a.fingerprint == reading.fingerprint;
        let compared = self.accepted.as_ref().is_some_and(same_file);
        let passing = matches!(&reading.result, Err(e) if e.kind() == StoreErrorKind::Io);
        self.accepted = Some(Accepted {
            fingerprint: reading.fingerprint.clone(),
            content: reading.content,
            compare_again: !compared || passing,
        });
        self.pending = None;
        self.pokes_seen = pokes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::StoreError;
    use super::*;
    use crate::router::document::Loaded;

    fn file(version: i64) -> Fingerprint {
        Fingerprint::Found {
            device: 1,
            inode: 1,
            modified: (version, 0),
            changed: (version, 0),
            len: 10,
        }
    }

    fn reading(version: i64, content: u8) -> Reading {
        Reading {
            fingerprint: file(version),
            content: [content; 32],
            result: Ok(Loaded::default()),
        }
    }

    /// Has read version 1 and compared it once more.
    fn settled() -> Watch {
        let mut watch = Watch::default();
        watch.accept(&reading(1, 1), 0);
        assert_eq!(watch.look(&file(1)), Step::Read);
        assert!(!watch.take(&reading(1, 1), false, 0));
        assert_eq!(watch.look(&file(1)), Step::Wait);
        watch
    }

    #[test]
    fn a_change_is_taken_when_it_was_seen_twice() {
        let mut watch = settled();
        assert_eq!(watch.look(&file(2)), Step::Wait);
        assert_eq!(watch.look(&file(3)), Step::Wait);
        assert_eq!(watch.look(&file(3)), Step::Read);
        assert!(watch.take(&reading(3, 3), false, 0));
    }

    #[test]
    fn a_file_written_to_while_it_is_read_is_not_taken() {
        let mut watch = settled();
        watch.look(&file(2));
        assert_eq!(watch.look(&file(2)), Step::Read);
        assert!(!watch.take(&reading(3, 3), false, 0));
        assert_eq!(watch.look(&file(3)), Step::Read);
        assert!(watch.take(&reading(3, 3), false, 0));
    }

    #[test]
    fn a_reading_beside_the_watch_hides_no_change() {
        let mut watch = settled();
        watch.start(&reading(2, 2), 0);
        watch.look(&file(2));
        assert_eq!(watch.look(&file(2)), Step::Read);
        assert!(watch.take(&reading(2, 2), false, 0));
    }

    #[test]
    fn a_write_within_the_clocks_tick_is_found() {
        let mut watch = Watch::default();
        watch.accept(&reading(1, 1), 0);
        assert_eq!(watch.look(&file(1)), Step::Read);
        assert!(watch.take(&reading(1, 9), false, 0));
    }

    #[test]
    fn the_same_content_is_not_news_unless_asked_for() {
        let mut watch = settled();
        watch.look(&file(2));
        assert_eq!(watch.look(&file(2)), Step::Read);
        assert!(!watch.take(&reading(2, 1), false, 0));
        assert!(watch.take(&reading(2, 1), true, 1));
        assert_eq!(watch.pokes_seen(), 1);
    }

    #[test]
    fn a_passing_failure_is_told_once_and_tried_again() {
        let mut watch = settled();
        let broken = || Reading {
            result: Err(StoreError::new(StoreErrorKind::Io, "input/output error")),
            ..reading(2, 7)
        };
        watch.look(&file(2));
        assert_eq!(watch.look(&file(2)), Step::Read);
        assert!(watch.take(&broken(), false, 0));
        for _ in 0..3 {
            assert_eq!(watch.look(&file(2)), Step::Read);
            assert!(!watch.take(&broken(), false, 0));
        }
        assert_eq!(watch.look(&file(2)), Step::Read);
        assert!(watch.take(&reading(2, 2), false, 0));
    }
}
