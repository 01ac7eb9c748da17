//! The model of a store: what `wit/kv-store.wit` promises, at its worst.
//!
//! An entry may end from the moment its ttl is over by a clock that runs as fast as the README allows, and may stay
//! for ever after: the checker tries both. Versions begin anew in each era, whose number is larger.

use std::collections::BTreeMap;
use std::time::Duration;

use kvlock_machine::{DeleteOutcome, Entry, EraInfo, Reply, Request, Ttl, Version, WriteOutcome};

/// By how much two clocks may run apart, as the README states it: one part in so many.
pub(crate) const DRIFT: u32 = 500;
/// How far apart eras are: more than a run ever writes.
const ERA_STEP: u64 = 1000;

/// What of a time is left for sure by a clock that runs too fast.
pub(crate) fn surely(length: Duration) -> Duration {
    length - length / DRIFT
}

/// The contents, and their life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    era: u64,
    /// When the era began; none: before anybody can remember.
    began: Option<Duration>,
    written: u64,
    entries: BTreeMap<String, Stored>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Its version's number.
    pub number: u64,
    /// From when on it may end; none: it stays.
    pub ends: Option<Duration>,
}

impl Store {
    /// An empty store that has lost nothing for as long as anybody remembers.
    pub(crate) fn new() -> Self {
        Store { era: ERA_STEP, began: None, written: 0, entries: BTreeMap::new() }
    }

    /// What is under a key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Stored> {
        self.entries.get(key)
    }

    /// All keys that have an entry.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// The version of what is under a key.
    pub(crate) fn version(&self, key: &str) -> Option<Version> {
        self.entries.get(key).map(|stored| Version { era: self.era, number: stored.number })
    }

    /// How long the era has lasted; none: longer than anybody remembers.
    pub(crate) fn age(&self, now: Duration) -> Option<Duration> {
        self.began.map(|began| now - began)
    }

    /// The keys whose entries may end now.
    pub(crate) fn ending(&self, now: Duration) -> impl Iterator<Item = &String> {
        self.entries.iter().filter(move |(_, stored)| stored.ends.is_some_and(|ends| ends <= now)).map(|(key, _)| key)
    }

    /// Drops an entry: its time is over, or it was evicted.
    pub(crate) fn drop_entry(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Loses everything.
    pub(crate) fn lose_all(&mut self, now: Duration) {
        self.entries.clear();
        self.era += ERA_STEP;
        self.began = Some(now);
        self.written = 0;
    }

    /// Answers a request that changes nothing.
    pub(crate) fn read(&self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::GetMany { keys } => Reply::Entries(Ok(keys.iter().map(|key| self.get(key)).collect())),
            Request::Era { .. } => {
                let lossless_for = self.age(now).unwrap_or(Duration::MAX);
                Reply::Era(Ok(EraInfo { id: self.era, lossless_for }))
            }
            Request::Get { key }
            | Request::Add { key, .. }
            | Request::Replace { key, .. }
            | Request::Delete { key, .. } => Reply::Entry(Ok(self.get(key))),
        }
    }

    /// Does what is asked.
    pub(crate) fn execute(&mut self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::Add { key, value, ttl } => Reply::Write(Ok(match self.version(key) {
                Some(version) => WriteOutcome::Conflict(Some(version)),
                None => self.write(key, value, *ttl, now),
            })),
            Request::Replace { key, value, ttl, if_version } => Reply::Write(Ok(match self.version(key) {
                _ if if_version.era != self.era => WriteOutcome::Conflict(None),
                None => WriteOutcome::Absent,
                Some(version) if version == *if_version => self.write(key, value, *ttl, now),
                Some(version) => WriteOutcome::Conflict(Some(version)),
            })),
            Request::Delete { key, if_version } => Reply::Delete(Ok(match self.version(key) {
                _ if if_version.era != self.era => DeleteOutcome::Conflict(None),
                None => DeleteOutcome::Absent,
                Some(version) if version == *if_version => {
                    self.drop_entry(key);
                    DeleteOutcome::Deleted
                }
                Some(version) => DeleteOutcome::Conflict(Some(version)),
            })),
            Request::Get { .. } | Request::GetMany { .. } | Request::Era { .. } => self.read(request, now),
        }
    }

    /// Whether a request that is still under way can have any effect, now or later. A version is never given twice,
    /// so a condition that does not hold now never will.
    pub(crate) fn may_take_effect(&self, request: &Request) -> bool {
        match request {
            Request::Add { .. } => true,
            Request::Replace { key, if_version, .. } | Request::Delete { key, if_version } => {
                self.version(key) == Some(*if_version)
            }
            Request::Get { .. } | Request::GetMany { .. } | Request::Era { .. } => false,
        }
    }

    fn get(&self, key: &str) -> Option<Entry> {
        let value = self.entries.get(key)?.value.clone();
        // A store need not tell the time that is left, and nothing is decided by it.
        Some(Entry { value, version: self.version(key)?, time_left: None })
    }

    fn write(&mut self, key: &str, value: &[u8], ttl: Ttl, now: Duration) -> WriteOutcome {
        self.written += 1;
        let ends = match ttl {
            Ttl::After(length) => Some(now + surely(length)),
            Ttl::Forever => None,
        };
        self.entries.insert(key.into(), Stored { value: value.to_vec(), number: self.written, ends });
        WriteOutcome::Written(Version { era: self.era, number: self.written })
    }
}

impl Default for Store {
    fn default() -> Self {
        Store::new()
    }
}
