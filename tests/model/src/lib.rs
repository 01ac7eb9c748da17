//! The model of a store: what `wit/kv-store.wit` promises, and nothing more.
//!
//! Versions begin again in each era, whose number is larger. When an entry ends is the caller's to decide: the model
//! tells [from when on it may](Store::ending).

use std::collections::BTreeMap;
use std::time::Duration;

use kvlock_machine::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Ttl, Version, WriteOutcome};

/// How far two clocks may run apart, as STATEMENT.md has it: one part in this many.
pub const DRIFT: u32 = 500;
/// How far eras are apart: more than a run ever writes.
const ERA_STEP: u64 = 1000;

/// Returns what of a time is left for sure by a clock that runs too fast.
pub fn surely(length: Duration) -> Duration {
    length - length / DRIFT
}

/// The contents, and their life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    era: u64,
    /// When the era began; none: before anybody can remember.
    began: Option<Duration>,
    written: u64,
    entries: BTreeMap<String, Stored>,
    keeping: Keeping,
}

/// How long the store keeps an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keeping {
    /// As short as a clock that runs too fast may have it. The store does not tell the time that is left, and nothing
    /// is decided by it.
    Surely,
    /// As long as it was asked to, and this much longer. The store tells the time that is left.
    Longer(Duration),
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Its version's number.
    pub number: u64,
    /// From when on it may end; none: it stays.
    pub ends: Option<Duration>,
}

impl Store {
    /// Returns an empty store that has lost nothing for as long as anybody remembers.
    pub fn new() -> Self {
        Store::of_era(ERA_STEP, Keeping::Surely)
    }

    /// Returns the same in this era, which keeps its entries as told.
    pub fn of_era(era: u64, keeping: Keeping) -> Self {
        Store { era, began: None, written: 0, entries: BTreeMap::new(), keeping }
    }

    /// Changes how long the next entries are kept.
    pub fn keep(&mut self, keeping: Keeping) {
        self.keeping = keeping;
    }

    /// Returns what is under a key.
    pub fn entry(&self, key: &str) -> Option<&Stored> {
        self.entries.get(key)
    }

    /// Returns all keys that have an entry.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// Returns the version of what is under a key.
    pub fn version(&self, key: &str) -> Option<Version> {
        self.entries.get(key).map(|stored| Version { era: self.era, number: stored.number })
    }

    /// Returns how long the era has lasted; none: longer than anybody remembers.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        self.began.map(|began| now - began)
    }

    /// Returns the keys whose entries may end now.
    pub fn ending(&self, now: Duration) -> impl Iterator<Item = &String> {
        self.entries.iter().filter(move |(_, stored)| stored.ends.is_some_and(|ends| ends <= now)).map(|(key, _)| key)
    }

    /// Drops all entries that may end now.
    pub fn end(&mut self, now: Duration) {
        self.entries.retain(|_, stored| stored.ends.is_none_or(|ends| ends > now));
    }

    /// Drops an entry: its time is over, or it was evicted.
    pub fn drop_entry(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// Writes whatever is there, for ever, as another program could.
    pub fn put(&mut self, key: &str, value: &[u8]) {
        self.write(key, value, Ttl::Forever, Duration::ZERO);
    }

    /// Loses everything. The next era has a number that no sum of an era and a write has had, and at least this one.
    pub fn lose_all(&mut self, now: Duration, era: u64) {
        self.entries.clear();
        self.era = era.max(self.era + ERA_STEP.max(self.written + 1));
        self.began = Some(now);
        self.written = 0;
    }

    /// Answers a request that changes nothing.
    pub fn read(&self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::GetMany { keys } => Reply::Entries(Ok(keys.iter().map(|key| self.get(key, now)).collect())),
            Request::Era { .. } => {
                let lossless_for = self.age(now).unwrap_or(Duration::MAX);
                Reply::Era(Ok(EraInfo { id: self.era, lossless_for }))
            }
            Request::Get { key }
            | Request::Add { key, .. }
            | Request::Replace { key, .. }
            | Request::Delete { key, .. } => Reply::Entry(Ok(self.get(key, now))),
            Request::All(requests) => Reply::All(requests.iter().map(|request| self.read(request, now)).collect()),
        }
    }

    /// Does what a request asks for.
    pub fn execute(&mut self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::Add { ttl, .. } | Request::Replace { ttl, .. } if *ttl == Ttl::After(Duration::ZERO) => {
                failed(request, StoreError::Invalid("a ttl of zero".into()))
            }
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
            Request::All(requests) => Reply::All(requests.iter().map(|request| self.execute(request, now)).collect()),
        }
    }

    /// Tells whether a request that is still under way can have any effect, now or later. A version is never given
    /// twice, so a condition that does not hold now never will.
    pub fn may_take_effect(&self, request: &Request) -> bool {
        match request {
            Request::Add { .. } => true,
            Request::Replace { key, if_version, .. } | Request::Delete { key, if_version } => {
                self.version(key) == Some(*if_version)
            }
            Request::Get { .. } | Request::GetMany { .. } | Request::Era { .. } => false,
            Request::All(requests) => requests.iter().any(|request| self.may_take_effect(request)),
        }
    }

    fn get(&self, key: &str, now: Duration) -> Option<Entry> {
        let stored = self.entries.get(key)?;
        let time_left = match self.keeping {
            Keeping::Surely => None,
            Keeping::Longer(_) => Some(stored.ends.map_or(Ttl::Forever, |ends| Ttl::After(ends.saturating_sub(now)))),
        };
        Some(Entry { value: stored.value.clone(), version: self.version(key)?, time_left })
    }

    fn write(&mut self, key: &str, value: &[u8], ttl: Ttl, now: Duration) -> WriteOutcome {
        self.written += 1;
        let ends = match (ttl, self.keeping) {
            (Ttl::After(length), Keeping::Surely) => Some(now + surely(length)),
            (Ttl::After(length), Keeping::Longer(slack)) => Some(now + length + slack),
            (Ttl::Forever, _) => None,
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

/// Returns the reply to a request that failed.
pub fn failed(request: &Request, error: StoreError) -> Reply {
    match request {
        Request::Get { .. } => Reply::Entry(Err(error)),
        Request::GetMany { .. } => Reply::Entries(Err(error)),
        Request::Add { .. } | Request::Replace { .. } => Reply::Write(Err(error)),
        Request::Delete { .. } => Reply::Delete(Err(error)),
        Request::Era { .. } => Reply::Era(Err(error)),
        Request::All(requests) => Reply::All(requests.iter().map(|request| failed(request, error.clone())).collect()),
    }
}
