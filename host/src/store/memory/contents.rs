//! What the mock holds, and how a request changes it: a store without faults, locks or a clock of its own.

use std::collections::HashMap;
use std::time::Duration;

use super::super::{DeleteOutcome, Entry, EraInfo, StoreError, Ttl, Version, WriteOutcome, check_key, check_value};
use super::{Answer, Call, Fault, Op};

/// The first era: round, and larger than zero, so that a test can make an older one up.
const FIRST_ERA: u64 = 1_000_000_000_000;

/// How far apart eras are at least; there is no wall clock in a mock to take them from.
const ERA_STEP: u64 = 1_000_000_000;

/// A call's arguments, owned, so that a late one can wait.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Get(String),
    GetMany(Vec<String>),
    Add(String, Vec<u8>, Ttl),
    Replace(String, Vec<u8>, Ttl, Version),
    Delete(String, Version),
    Era(String),
    Keys(String),
}

impl Request {
    pub(super) fn op(&self) -> Op {
        match self {
            Request::Get(..) => Op::Get,
            Request::GetMany(..) => Op::GetMany,
            Request::Add(..) => Op::Add,
            Request::Replace(..) => Op::Replace,
            Request::Delete(..) => Op::Delete,
            Request::Era(..) => Op::Era,
            Request::Keys(..) => Op::Keys,
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self {
            Request::Get(key) | Request::Delete(key, _) | Request::Era(key) => check_key(key),
            Request::GetMany(keys) => keys.iter().try_for_each(|key| check_key(key)),
            Request::Add(key, value, _) | Request::Replace(key, value, ..) => {
                check_key(key).and_then(|()| check_value(value))
            }
            Request::Keys(_) => Ok(()),
        }
    }

    /// Returns the line for the log.
    pub(super) fn call(&self, answer: Answer, fault: Option<Fault>) -> Call {
        let key = match self {
            Request::Get(key) | Request::Delete(key, _) | Request::Era(key) | Request::Keys(key) => key.clone(),
            Request::GetMany(keys) => keys.join(","),
            Request::Add(key, ..) | Request::Replace(key, ..) => key.clone(),
        };
        Call { op: self.op(), key, answer, fault }
    }
}

/// The answer to a [`Request`]; its kind is the request's.
pub(super) enum Reply {
    Entry(Option<Entry>),
    Entries(Vec<Option<Entry>>),
    Write(WriteOutcome),
    Delete(DeleteOutcome),
    Era(EraInfo),
    Keys(Vec<String>),
}

impl Reply {
    pub(super) fn answer(&self) -> Answer {
        match self {
            Reply::Entry(Some(_)) => Answer::Found,
            Reply::Entry(None) => Answer::Nothing,
            Reply::Entries(entries) => Answer::FoundMany(entries.iter().flatten().count()),
            Reply::Write(WriteOutcome::Written(_)) => Answer::Written,
            Reply::Write(WriteOutcome::Conflict(_)) | Reply::Delete(DeleteOutcome::Conflict(_)) => Answer::Conflict,
            Reply::Write(WriteOutcome::Absent) | Reply::Delete(DeleteOutcome::Absent) => Answer::Absent,
            Reply::Delete(DeleteOutcome::Deleted) => Answer::Deleted,
            Reply::Era(info) => Answer::Era(info.id),
            Reply::Keys(keys) => Answer::FoundMany(keys.len()),
        }
    }

    // `Contents::execute` answers each kind of request with its own kind of reply.

    pub(super) fn entry(self) -> Option<Entry> {
        match self {
            Reply::Entry(entry) => entry,
            _ => unreachable!("a get is answered with an entry"),
        }
    }

    pub(super) fn entries(self) -> Vec<Option<Entry>> {
        match self {
            Reply::Entries(entries) => entries,
            _ => unreachable!("a get_many is answered with entries"),
        }
    }

    pub(super) fn write(self) -> WriteOutcome {
        match self {
            Reply::Write(outcome) => outcome,
            _ => unreachable!("a write is answered with its outcome"),
        }
    }

    pub(super) fn delete(self) -> DeleteOutcome {
        match self {
            Reply::Delete(outcome) => outcome,
            _ => unreachable!("a delete is answered with its outcome"),
        }
    }

    pub(super) fn keys(self) -> Vec<String> {
        match self {
            Reply::Keys(keys) => keys,
            _ => unreachable!("a listing is answered with keys"),
        }
    }

    pub(super) fn era(self) -> EraInfo {
        match self {
            Reply::Era(info) => info,
            _ => unreachable!("an era is answered with an era"),
        }
    }
}

struct Stored {
    value: Vec<u8>,
    number: u64,
    /// None for an entry that stays for ever.
    ends: Option<Duration>,
}

pub(super) struct Contents {
    entries: HashMap<String, Stored>,
    era: u64,
    number: u64,
    lossless_for: Duration,
    /// When `lossless_for` was right.
    lossless_at: Duration,
}

impl Contents {
    pub(super) fn new() -> Self {
        Contents {
            entries: HashMap::new(),
            era: FIRST_ERA,
            number: 0,
            lossless_for: Duration::MAX,
            lossless_at: Duration::ZERO,
        }
    }

    pub(super) fn execute(&mut self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::Get(key) => Reply::Entry(self.entry(key, now)),
            Request::GetMany(keys) => Reply::Entries(keys.iter().map(|key| self.entry(key, now)).collect()),
            Request::Add(key, value, ttl) => Reply::Write(self.add(key, value, *ttl, now)),
            Request::Replace(key, value, ttl, version) => Reply::Write(self.replace(key, value, *ttl, *version, now)),
            Request::Delete(key, version) => Reply::Delete(self.delete(key, *version, now)),
            Request::Era(_) => Reply::Era(self.era_info(now)),
            Request::Keys(prefix) => Reply::Keys(self.keys(prefix, now)),
        }
    }

    pub(super) fn entry(&self, key: &str, now: Duration) -> Option<Entry> {
        let stored = self.live(key, now)?;
        let time_left = match stored.ends {
            Some(ends) => Ttl::After(ends.saturating_sub(now)),
            None => Ttl::Forever,
        };
        Some(Entry { value: stored.value.clone(), version: self.version(stored), time_left: Some(time_left) })
    }

    fn add(&mut self, key: &str, value: &[u8], ttl: Ttl, now: Duration) -> WriteOutcome {
        match self.live(key, now) {
            Some(stored) => WriteOutcome::Conflict(Some(self.version(stored))),
            None => WriteOutcome::Written(self.put(key, value, ends(ttl, now))),
        }
    }

    fn replace(&mut self, key: &str, value: &[u8], ttl: Ttl, version: Version, now: Duration) -> WriteOutcome {
        if version.era != self.era {
            return WriteOutcome::Conflict(None);
        }
        match self.live(key, now) {
            None => WriteOutcome::Absent,
            Some(stored) if stored.number != version.number => WriteOutcome::Conflict(Some(self.version(stored))),
            Some(_) => WriteOutcome::Written(self.put(key, value, ends(ttl, now))),
        }
    }

    fn delete(&mut self, key: &str, version: Version, now: Duration) -> DeleteOutcome {
        if version.era != self.era {
            return DeleteOutcome::Conflict(None);
        }
        match self.live(key, now) {
            None => DeleteOutcome::Absent,
            Some(stored) if stored.number != version.number => DeleteOutcome::Conflict(Some(self.version(stored))),
            Some(_) => {
                self.entries.remove(key);
                DeleteOutcome::Deleted
            }
        }
    }

    fn era_info(&self, now: Duration) -> EraInfo {
        let since = now.saturating_sub(self.lossless_at);
        EraInfo { id: self.era, lossless_for: self.lossless_for.saturating_add(since) }
    }

    fn keys(&self, prefix: &str, now: Duration) -> Vec<String> {
        let keys = self.entries.keys().filter(|key| key.starts_with(prefix));
        let mut keys: Vec<_> = keys.filter(|key| self.live(key, now).is_some()).cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Writes whatever is there.
    pub(super) fn put(&mut self, key: &str, value: &[u8], ends: Option<Duration>) -> Version {
        self.number += 1;
        self.entries.insert(key.into(), Stored { value: value.into(), number: self.number, ends });
        Version { era: self.era, number: self.number }
    }

    pub(super) fn evict(&mut self, key: &str) -> bool {
        self.entries.remove(key).is_some()
    }

    pub(super) fn begin_era(&mut self, lossless_for: Duration, now: Duration) {
        self.entries.clear();
        // Beyond every sum of era and number so far.
        self.era += self.number + ERA_STEP;
        self.number = 0;
        self.set_lossless_for(lossless_for, now);
    }

    pub(super) fn set_lossless_for(&mut self, lossless_for: Duration, now: Duration) {
        self.lossless_for = lossless_for;
        self.lossless_at = now;
    }

    fn live(&self, key: &str, now: Duration) -> Option<&Stored> {
        self.entries.get(key).filter(|stored| stored.ends.is_none_or(|ends| now < ends))
    }

    fn version(&self, stored: &Stored) -> Version {
        Version { era: self.era, number: stored.number }
    }
}

/// Returns the time from which the entry is absent.
fn ends(ttl: Ttl, now: Duration) -> Option<Duration> {
    match ttl {
        Ttl::After(ttl) => Some(now.saturating_add(ttl)),
        Ttl::Forever => None,
    }
}
