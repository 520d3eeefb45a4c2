//! How failed logins are slowed down, and then refused, per source and per principal.
//!
//! A source is an IPv4 address or an IPv6 /64. Each failure raises the level of its source and of the principal it was for, real or
//! not; levels sink with time. Above a few free failures the next attempt waits, twice as long each time, and above a limit it is
//! refused unseen. An attempt counts when it begins and is taken back when it succeeds, so that many at once gain nothing.
//!
//! Who has lately logged in as a principal from a source is no stranger there: the level of the principal does not concern it, only
//! that of its source. So nobody locks a principal out of where it usually is.
//!
//! Memory is bounded: two generations of a bounded table; whoever is pushed out of both is forgotten.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    time::{Duration, Instant},
};

/// The times and limits of slowing down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Failures that cost nothing. Default 5.
    pub free: u32,
    /// The wait of the first attempt after those; each further one waits twice as long. Default 250 ms.
    pub delay: Duration,
    /// The longest wait. Default 4 s; it must fit into the time for the handshake.
    pub delay_max: Duration,
    /// Failures of one source after which it is refused. Default 20.
    pub source_max: u32,
    /// Failures of one principal after which strangers to it are refused. Default 50.
    pub principal_max: u32,
    /// The time in which one failure is forgotten. Default 30 s.
    pub forget_one: Duration,
    /// Entries of each of the two generations of each table. Default 65,536.
    pub entries_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            free: 5,
            delay: Duration::from_millis(250),
            delay_max: Duration::from_secs(4),
            source_max: 20,
            principal_max: 50,
            forget_one: Duration::from_secs(30),
            entries_max: 65_536,
        }
    }
}

/// Where an attempt comes from: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source([u8; 8]);

/// A principal of a realm, as a keyed hash: the same on every node, telling nobody its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(pub u64);

/// What is done about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is judged after this time.
    After(Duration),
    /// It is refused unseen.
    Refused,
}

/// Something other nodes are to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// An attempt failed.
    Failed(Source, Subject),
    /// Somebody logged in there.
    Succeeded(Source, Subject),
}

/// The levels of all sources and principals.
#[derive(Debug)]
pub struct Throttle {
    settings: Settings,
    sources: Recent<Source, Level>,
    principals: Recent<Subject, Level>,
    acquainted: Recent<(Source, Subject), ()>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    failures: f64,
    at: Instant,
}

impl Source {
    /// The source of an address.
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 8];
        match address.to_canonical() {
            // The prefix ::/64 holds no host that could come here, so these do not collide.
            IpAddr::V4(v4) => bytes[4..].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => bytes.copy_from_slice(&v6.octets()[..8]),
        }
        Self(bytes)
    }

    /// As it goes over links.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// From what came over a link.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl Throttle {
    /// Nobody has failed yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            sources: Recent::new(settings.entries_max),
            principals: Recent::new(settings.entries_max),
            acquainted: Recent::new(settings.entries_max),
            settings,
        }
    }

    /// Puts other times and limits in force; how many entries there may be stays.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What would be done about an attempt now; counts nothing.
    pub fn look(&mut self, now: Instant, source: Source, subject: Subject) -> Verdict {
        let settings = self.settings.clone();
        let of_source = self.sources.get(source).map_or(0.0, |level| level.now(now, &settings));
        let of_principal = match self.acquainted.get((source, subject)) {
            Some(()) => 0.0,
            None => self.principals.get(subject).map_or(0.0, |level| level.now(now, &settings)),
        };
        // One that would go beyond the limit is refused, so that time gives one attempt back at a time.
        if of_source + 1.0 > f64::from(settings.source_max) || of_principal + 1.0 > f64::from(settings.principal_max) {
            return Verdict::Refused;
        }
        let above = of_source.max(of_principal) - f64::from(settings.free);
        if above < 0.0 {
            return Verdict::After(Duration::ZERO);
        }
        let delay = settings.delay.mul_f64(above.floor().min(20.0).exp2());
        Verdict::After(delay.min(settings.delay_max))
    }

    /// An attempt begins: it counts as a failure until it succeeds. A refused one does not count, so that the refusal ends.
    pub fn begin(&mut self, now: Instant, source: Source, subject: Subject) -> Verdict {
        let verdict = self.look(now, source, subject);
        if verdict != Verdict::Refused {
            self.failed(now, source, subject);
        }
        verdict
    }

    /// An attempt that was begun here has succeeded.
    pub fn succeeded(&mut self, now: Instant, source: Source, subject: Subject) {
        let settings = self.settings.clone();
        for level in [self.sources.get_mut(source), self.principals.get_mut(subject)]
            .into_iter()
            .flatten()
        {
            level.failures = (level.now(now, &settings) - 1.0).max(0.0);
            level.at = now;
        }
        self.acquainted.insert((source, subject), ());
    }

    /// What another node reports.
    pub fn told(&mut self, now: Instant, report: Report) {
        match report {
            Report::Failed(source, subject) => self.failed(now, source, subject),
            Report::Succeeded(source, subject) => self.acquainted.insert((source, subject), ()),
        }
    }

    fn failed(&mut self, now: Instant, source: Source, subject: Subject) {
        let settings = self.settings.clone();
        let raised = |level: Option<Level>, max: u32| {
            let failures = level.map_or(0.0, |level| level.now(now, &settings)) + 1.0;
            Level {
                failures: failures.min(f64::from(max)),
                at: now,
            }
        };
        let of_source = raised(self.sources.get(source), settings.source_max);
        self.sources.insert(source, of_source);
        let of_principal = raised(self.principals.get(subject), settings.principal_max);
        self.principals.insert(subject, of_principal);
    }
}

impl Level {
    fn now(self, now: Instant, settings: &Settings) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.failures - elapsed / settings.forget_one.as_secs_f64().max(1e-3)).max(0.0)
    }
}

/// A map that keeps what was touched last: when it is full, what was not touched since it was last full goes.
#[derive(Debug)]
struct Recent<K, V> {
    current: HashMap<K, V>,
    previous: HashMap<K, V>,
    entries_max: usize,
}

impl<K: Copy + Eq + Hash, V: Copy> Recent<K, V> {
    fn new(entries_max: usize) -> Self {
        Self {
            current: HashMap::new(),
            previous: HashMap::new(),
            entries_max: entries_max.max(1),
        }
    }

    fn get_mut(&mut self, key: K) -> Option<&mut V> {
        if let Some(value) = self.previous.remove(&key) {
            self.insert(key, value);
        }
        self.current.get_mut(&key)
    }

    fn get(&mut self, key: K) -> Option<V> {
        self.get_mut(key).copied()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.current.len() >= self.entries_max && !self.current.contains_key(&key) {
            self.previous = std::mem::take(&mut self.current);
        }
        self.previous.remove(&key);
        self.current.insert(key, value);
    }
}

#[cfg(test)]
mod tests;
