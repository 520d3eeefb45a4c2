//! The newest applied commands, in memory.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{cluster::consensus::StateMachine, router::LogIndex};

/// A follower that is further behind gets the state, which costs more the larger it is, and less than so many entries.
const ENTRIES_MAX: usize = 16_384;
/// The same in bytes of commands.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What follows an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Nothing yet.
    Nothing,
    /// These, without a gap.
    Entries {
        /// The index of the first.
        first: LogIndex,
        /// Empty where an entry is none of the state machine's.
        commands: Vec<Bytes>,
    },
    /// What is not here any more.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub struct Tail {
    kept: Mutex<Kept>,
    end: watch::Sender<LogIndex>,
}

#[derive(Debug)]
struct Kept {
    /// The index of the first entry that is kept.
    first: LogIndex,
    commands: VecDeque<Bytes>,
    bytes: usize,
}

impl Kept {
    fn next(&self) -> LogIndex {
        self.first + self.commands.len() as LogIndex
    }

    fn push(&mut self, command: Bytes) {
        self.bytes += command.len();
        self.commands.push_back(command);
        while self.commands.len() > ENTRIES_MAX || self.bytes > BYTES_MAX && self.commands.len() > 1 {
            if let Some(gone) = self.commands.pop_front() {
                self.bytes -= gone.len();
                self.first += 1;
            }
        }
    }

    /// Entries up to here, exclusive, are none of the state machine's.
    fn skip_to(&mut self, index: LogIndex) {
        if index.saturating_sub(self.next()) > ENTRIES_MAX as LogIndex {
            self.start_after(index - 1);
        }
        while self.next() < index {
            self.push(Bytes::new());
        }
    }

    fn start_after(&mut self, index: LogIndex) {
        (self.first, self.bytes) = (index + 1, 0);
        self.commands.clear();
    }
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            kept: Mutex::new(Kept {
                first: 1,
                commands: VecDeque::new(),
                bytes: 0,
            }),
            end: watch::Sender::new(0),
        }
    }
}

impl Tail {
    /// What follows the entry at `after`, at most about `bytes_max` of it.
    pub(super) fn since(&self, after: LogIndex, bytes_max: usize) -> Since {
        let kept = self.kept.lock();
        let Some(from) = (after + 1).checked_sub(kept.first) else {
            return Since::Gone;
        };
        let mut room = bytes_max;
        let fits = |command: &&Bytes| {
            let cost = command.len() + ENTRY_OVERHEAD;
            let fits = room == bytes_max || cost <= room;
            room = room.saturating_sub(cost);
            fits
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let commands: Vec<Bytes> = kept.commands.iter().skip(from).take_while(fits).cloned().collect();
        match commands.is_empty() {
            true => Since::Nothing,
            false => Since::Entries {
                first: after + 1,
                commands,
            },
        }
    }

    /// How far it goes, and every change of that.
    pub(super) fn end(&self) -> watch::Receiver<LogIndex> {
        self.end.subscribe()
    }

    fn record(&self, index: LogIndex, command: &[u8]) {
        let mut kept = self.kept.lock();
        kept.skip_to(index);
        if kept.next() == index {
            // Apart: it must not keep the message alive that brought it.
            kept.push(Bytes::copy_from_slice(command));
        }
    }

    fn applied_to(&self, index: LogIndex) {
        self.kept.lock().skip_to(index + 1);
        self.end.send_replace(index);
    }

    fn restored(&self, index: LogIndex) {
        self.kept.lock().start_after(index);
        self.end.send_replace(index);
    }
}

/// What an entry costs in a message beside its command.
const ENTRY_OVERHEAD: usize = 4;

/// A state machine whose commands are kept in a [`Tail`].
pub struct Recorded {
    machine: Box<dyn StateMachine>,
    tail: Arc<Tail>,
}

impl Recorded {
    /// Keeps what is applied to `machine` in `tail`.
    pub fn new(machine: Box<dyn StateMachine>, tail: Arc<Tail>) -> Self {
        Self { machine, tail }
    }
}

impl StateMachine for Recorded {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        let outcome = self.machine.apply(index, command);
        self.tail.record(index, command);
        outcome
    }

    fn applied_to(&mut self, index: u64) {
        self.machine.applied_to(index);
        self.tail.applied_to(index);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.machine.snapshot()
    }

    fn restore(&mut self, index: u64, bytes: &[u8]) -> Result<(), String> {
        self.machine.restore(index, bytes)?;
        self.tail.restored(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(tail: &Tail, after: LogIndex) -> Vec<(LogIndex, Bytes)> {
        match tail.since(after, 1_000) {
            Since::Entries { first, commands } => (first..).zip(commands).collect(),
            Since::Nothing => Vec::new(),
            Since::Gone => panic!("gone"),
        }
    }

    #[test]
    fn entries_follow_each_other_and_those_of_consensus_itself_are_empty() {
        let tail = Tail::default();
        assert_eq!(tail.since(0, 9), Since::Nothing);
        tail.record(2, b"two");
        tail.applied_to(3);
        let expected = [(1, ""), (2, "two"), (3, "")].map(|(index, text)| (index, Bytes::from_static(text.as_bytes())));
        assert_eq!(since(&tail, 0), expected);
        assert_eq!(since(&tail, 1), expected[1..]);
        assert_eq!(since(&tail, 3), []);
        assert_eq!(since(&tail, 9), [], "who asks is further");
        assert_eq!(*tail.end().borrow(), 3);
    }

    #[test]
    fn what_is_gone_is_said_to_be_gone() {
        let tail = Tail::default();
        tail.restored(100);
        assert_eq!(tail.since(99, 9), Since::Gone);
        assert_eq!(tail.since(100, 9), Since::Nothing);
        tail.record(101, b"x");
        assert_eq!(since(&tail, 100).len(), 1);
        for index in 102..102 + ENTRIES_MAX as LogIndex {
            tail.record(index, b"");
        }
        assert_eq!(tail.since(100, 9), Since::Gone);
        assert!(matches!(tail.since(101, 9), Since::Entries { first: 102, .. }));
        tail.record(200_000, b"far");
        assert_eq!(tail.since(199_998, 9), Since::Gone);
        assert_eq!(since(&tail, 199_999).len(), 1);
    }

    #[test]
    fn a_part_is_bounded_and_never_empty_while_there_is_more() {
        let tail = Tail::default();
        for index in 1..=10 {
            tail.record(index, &[0; 100]);
        }
        let Since::Entries { commands, .. } = tail.since(0, 250) else {
            panic!()
        };
        assert_eq!(commands.len(), 2);
        let Since::Entries { commands, .. } = tail.since(0, 1) else {
            panic!()
        };
        assert_eq!(commands.len(), 1);
        tail.record(11, &vec![0; BYTES_MAX + 1]);
        assert_eq!(tail.since(9, 1), Since::Gone, "one large command, and no other, is kept");
        assert!(matches!(tail.since(10, 1), Since::Entries { .. }));
    }
}
