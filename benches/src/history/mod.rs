//! The history checker: were messages lost, doubled or reordered, and did every call get exactly one final answer?
//!
//! Clients number what they send ([`Observation::Sent`]) and report what they see. The checker works while the load runs and
//! keeps a few words per pair of peers, so a run of millions of messages costs no memory unless something is wrong. What it
//! demands:
//!
//! - **Order**: what one source sent reaches one sink in the order of sending (WAMP: calls of a caller to a callee, events of a
//!   publisher to a subscriber). Different sources, or different sinks of one group, are not compared.
//! - **Exactly once**: each message reaches each [group](Observation::Delivered::group) once. The callees of a shared
//!   registration form one group; every subscriber is a group of its own. A message whose sender was told that it failed, or
//!   does not know ([`Answer::Error`], [`Answer::Unknown`]), may be missing, but never doubled.
//! - **One final answer** to each call ([`Expect::Calls`]).
//!
//! Observations of one peer must be applied in the order in which it made them; those of different peers in any order, so logs of
//! several processes can be applied one after another. A history can also be taken apart into what each source has sent and what
//! has arrived where ([`History::sources`], [`History::arrivals`]) and be added to that of another process, whose sinks are others.

mod report;
mod sequence;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

pub use report::Report;
pub use sequence::SequenceSet;

/// What a complete history must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Calls: each delivered once, to any of the callees (group 0), and answered once.
    Calls,
    /// Events: each delivered once to every one of the groups `0..groups`; acknowledgements are not demanded.
    Events {
        /// The number of subscribers.
        groups: u32,
    },
}

/// How a call ended for its caller, or an acknowledged publication for its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A RESULT: the callee has seen the call.
    Result,
    /// An ERROR: the callee may have seen the call or not.
    Error,
    /// The connection ended or patience did: nothing is known, and no answer will come.
    Unknown,
}

/// One thing one peer saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// `source` has sent its message number `sequence`.
    Sent {
        /// The sending session.
        source: u32,
        /// Its position, from 0 without gaps.
        sequence: u64,
    },
    /// `sink` has received that message.
    Delivered {
        /// The set of sinks among which the message must arrive once.
        group: u32,
        /// The receiving session, unique over all groups.
        sink: u32,
        /// The sending session.
        source: u32,
        /// Its position.
        sequence: u64,
    },
    /// `source` has got the final answer to its message.
    Answered {
        /// The sending session.
        source: u32,
        /// Its position.
        sequence: u64,
        /// How it ended.
        answer: Answer,
    },
    /// A payload arrived that carries no readable tag or has the wrong length.
    Damaged,
    /// An answer came back on the request id of another call than the one it carries.
    Misdirected,
}

/// The checker. See the module's text for what it demands.
#[derive(Debug)]
pub struct History {
    expect: Expect,
    sources: Vec<Source>,
    /// By (group, source): what arrived.
    arrived: HashMap<(u32, u32), SequenceSet>,
    /// By (sink, source): the highest sequence so far.
    latest: HashMap<(u32, u32), u64>,
    report: Report,
}

/// What one source has sent, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its messages.
    pub sent: SequenceSet,
    /// Those that were answered.
    pub answered: SequenceSet,
    /// Answered by an error or not at all: need not have arrived.
    pub excused: SequenceSet,
}

/// The messages of one source that reached one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The group.
    pub group: u32,
    /// The source.
    pub source: u32,
    /// Its messages that arrived.
    pub arrived: SequenceSet,
}

impl History {
    /// An empty history that is to fulfil `expect`.
    pub fn new(expect: Expect) -> Self {
        Self {
            expect,
            sources: Vec::new(),
            arrived: HashMap::new(),
            latest: HashMap::new(),
            report: Report::default(),
        }
    }

    /// Takes one observation into account.
    pub fn apply(&mut self, observation: Observation) {
        match observation {
            Observation::Sent { source, sequence } => self.sent(source, sequence),
            Observation::Delivered {
                group,
                sink,
                source,
                sequence,
            } => self.delivered(group, sink, source, sequence),
            Observation::Answered {
                source,
                sequence,
                answer,
            } => self.answered(source, sequence, answer),
            Observation::Damaged => self.report.damaged += 1,
            Observation::Misdirected => self.report.misdirected += 1,
        }
    }

    /// What each source that sent anything or got any answer has done, by number.
    pub fn sources(&self) -> impl Iterator<Item = (u32, &Source)> {
        let known = (0..).zip(&self.sources);
        known.filter(|(_, source)| !source.sent.is_empty() || !source.answered.is_empty())
    }

    /// What has arrived, in no particular order.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival> {
        let arrived = self.arrived.iter();
        arrived.map(|(&(group, source), arrived)| Arrival {
            group,
            source,
            arrived: arrived.clone(),
        })
    }

    /// The counts of what one process sees by itself. Those that only the whole shows are 0: sent, lost, unanswered, invented.
    pub fn counts(&self) -> &Report {
        &self.report
    }

    /// Adds what another process saw of a source.
    pub fn add_source(&mut self, number: u32, other: &Source) {
        let source = self.source(number);
        source.sent.absorb(&other.sent);
        source.excused.absorb(&other.excused);
        let again = source.answered.absorb(&other.answered);
        self.report.answered_twice += again;
        if again > 0 {
            self.report
                .example(|| format!("source {number}: {again} calls were answered in two processes"));
        }
    }

    /// Adds what arrived in another process. What arrived here too was delivered twice.
    pub fn add_arrival(&mut self, other: &Arrival) {
        let (group, source) = (other.group, other.source);
        let again = self.arrived.entry((group, source)).or_default().absorb(&other.arrived);
        self.report.doubled += again;
        if again > 0 {
            self.report
                .example(|| format!("source {source}: {again} messages reached group {group} in two processes"));
        }
    }

    /// Adds another process's [`History::counts`].
    pub fn add_counts(&mut self, other: &Report) {
        self.report.add(other);
    }

    /// The verdict over everything applied so far; what is under way counts as lost, so ask when the run has drained.
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        let nothing = SequenceSet::default();
        let groups = match self.expect {
            Expect::Calls => 1,
            Expect::Events { groups } => groups,
        };
        for (index, source) in self.sources.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            report.sent += source.sent.len();
            for group in 0..groups {
                let arrived = self.arrived.get(&(group, index)).unwrap_or(&nothing);
                for sequence in source.sent.missing_from(arrived).filter(|s| !source.excused.contains(*s)) {
                    report.lost += 1;
                    report.example(|| format!("source {index}: message {sequence} never reached group {group}"));
                }
            }
            if self.expect == Expect::Calls {
                for sequence in source.sent.missing_from(&source.answered) {
                    report.unanswered += 1;
                    report.example(|| format!("source {index}: call {sequence} was never answered"));
                }
            }
            for sequence in source.answered.missing_from(&source.sent) {
                report.invented += 1;
                report.example(|| format!("source {index}: call {sequence} was answered but never made"));
            }
        }
        for (&(group, index), arrived) in &self.arrived {
            let sent = self.sources.get(index as usize).map_or(&nothing, |s| &s.sent);
            for sequence in arrived.missing_from(sent) {
                report.invented += 1;
                report.example(|| format!("source {index}: message {sequence} reached group {group} but was never sent"));
            }
        }
        report
    }

    fn sent(&mut self, source: u32, sequence: u64) {
        self.source(source).sent.insert(sequence);
    }

    fn delivered(&mut self, group: u32, sink: u32, source: u32, sequence: u64) {
        self.report.delivered += 1;
        if !self.arrived.entry((group, source)).or_default().insert(sequence) {
            self.report.doubled += 1;
            self.report
                .example(|| format!("source {source}: message {sequence} reached group {group} again (sink {sink})"));
            return;
        }
        let latest = self.latest.entry((sink, source)).or_insert(sequence);
        if sequence < *latest {
            let latest = *latest;
            self.report.reordered += 1;
            self.report
                .example(|| format!("source {source}: message {sequence} reached sink {sink} after {latest}"));
        } else {
            *latest = sequence;
        }
    }

    fn answered(&mut self, source: u32, sequence: u64, answer: Answer) {
        let record = self.source(source);
        if !record.answered.insert(sequence) {
            self.report.answered_twice += 1;
            self.report
                .example(|| format!("source {source}: call {sequence} was answered again"));
            return;
        }
        match answer {
            Answer::Result => self.report.answered += 1,
            Answer::Error | Answer::Unknown => {
                record.excused.insert(sequence);
                self.report.failed += 1;
            }
        }
    }

    fn source(&mut self, source: u32) -> &mut Source {
        let index = source as usize;
        if index >= self.sources.len() {
            self.sources.resize_with(index + 1, Source::default);
        }
        &mut self.sources[index]
    }
}

/// A history that the tasks of one process write together.
#[derive(Debug)]
pub struct Shared(Mutex<History>);

impl Shared {
    /// See [`History::new`].
    pub fn new(expect: Expect) -> Self {
        Self(Mutex::new(History::new(expect)))
    }

    /// The history, for a batch of observations; do not hold it across an await.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
