//! A store under test, and what the cases ask of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::{Entry, KvStore, StoreError, Ttl, Version, WriteOutcome};

/// A store under test.
pub trait Subject {
    /// Returns a client of the store.
    fn store(&self) -> &dyn KvStore;

    /// Returns another client of the same contents, as another process would have it.
    fn second(&self) -> Box<dyn KvStore>;

    /// Lets time pass: sleeps, or moves the virtual clock that the store goes by.
    fn pass(&self, time: Duration);

    /// Makes the store lose its contents in the way that it can: restart, flush, a deleted file. False where it has no
    /// such way, which skips the case.
    fn lose_everything(&self) -> bool {
        false
    }
}

/// What a case says: nothing, or what was expected.
pub(super) type Verdict = Result<(), String>;

/// Longer than any case takes.
pub(super) const LONG: Ttl = Ttl::After(Duration::from_secs(300));

/// A subject, seen by one case.
pub(super) struct World<'a> {
    pub(super) subject: &'a dyn Subject,
    /// Keeps this run's keys apart from those of others on the same store.
    pub(super) prefix: String,
}

impl<'a> World<'a> {
    pub(super) fn new(subject: &'a dyn Subject) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        // Where there is no randomness, the process's number and the count still keep runs of one machine apart.
        let random = getrandom::u64().unwrap_or_default();
        World { subject, prefix: format!("conformance:{random:x}:{}:{run}:", std::process::id()) }
    }

    pub(super) fn store(&self) -> &'a dyn KvStore {
        self.subject.store()
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Adds where nothing is, and expects to succeed.
    pub(super) fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<Version, String> {
        match self.store().add(key, value, ttl).map_err(|error| format!("add of a new key: {error}"))? {
            WriteOutcome::Written(version) => Ok(version),
            other => Err(format!("add of a new key should write, but answered {other:?}")),
        }
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, String> {
        self.store().get(key).map_err(|error| format!("get: {error}"))
    }

    /// Expects the key to have this value and version, for both clients.
    pub(super) fn expect_entry(&self, key: &str, value: &[u8], version: Version, when: &str) -> Verdict {
        let second = self.subject.second();
        for store in [self.store(), &*second] {
            let entry = store.get(key).map_err(|error| format!("get {when}: {error}"))?;
            let Some(entry) = entry else { return Err(format!("{when} the entry should be there, but is not")) };
            expect(entry.value == value, || {
                let (found, wanted) = (brief(&entry.value), brief(value));
                format!("{when} the value should be {wanted}, but is {found}")
            })?;
            expect_eq(entry.version, version, &format!("{when} the entry's version"))?;
        }
        Ok(())
    }

    pub(super) fn expect_nothing(&self, key: &str, when: &str) -> Verdict {
        let second = self.subject.second();
        for store in [self.store(), &*second] {
            let entry = store.get(key).map_err(|error| format!("get {when}: {error}"))?;
            expect(entry.is_none(), || format!("{when} there should be no entry, but there is {entry:?}"))?;
        }
        Ok(())
    }
}

pub(super) fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

pub(super) fn expect_eq<T: PartialEq + std::fmt::Debug>(found: T, wanted: T, what: &str) -> Verdict {
    expect(found == wanted, || format!("{what} should be {wanted:?}, but is {found:?}"))
}

pub(super) fn expect_conflict(
    outcome: Result<WriteOutcome, StoreError>,
    what: &str,
) -> Result<Option<Version>, String> {
    match outcome {
        Ok(WriteOutcome::Conflict(version)) => Ok(version),
        other => Err(format!("{what} should be a conflict, but is {other:?}")),
    }
}

/// Returns a value in a message: all of it if short.
fn brief(value: &[u8]) -> String {
    match value.len() {
        0..=40 => format!("{:?}", value.escape_ascii().to_string()),
        length => format!("{:?}… of {length} bytes", value[..20].escape_ascii().to_string()),
    }
}
