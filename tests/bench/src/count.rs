//! Stores for the benchmarks: one that answers from memory at the least cost, and one that counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvlock::store::{DeleteOutcome, Entry, EraInfo, Finding, KvStore, StoreError, Ttl, Version, WriteOutcome};

type Result<T> = std::result::Result<T, StoreError>;

/// A hash map. Nothing in it expires, and nobody logs what is done to it.
#[derive(Default)]
pub(crate) struct Table(Mutex<Rows>);

#[derive(Default)]
struct Rows {
    rows: HashMap<String, (Vec<u8>, u64)>,
    last: u64,
}

const ERA: u64 = 1;

fn version(number: u64) -> Version {
    Version { era: ERA, number }
}

impl Table {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let (value, number) = self.rows.get(key)?;
        Some(Entry { value: value.clone(), version: version(*number), time_left: Some(Ttl::Forever) })
    }
}

impl KvStore for Table {
    fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.rows().entry(key))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>> {
        let rows = self.rows();
        Ok(keys.iter().map(|key| rows.entry(key)).collect())
    }

    fn add(&self, key: &str, value: &[u8], _: Ttl) -> Result<WriteOutcome> {
        let mut rows = self.rows();
        if let Some((_, number)) = rows.rows.get(key) {
            return Ok(WriteOutcome::Conflict(Some(version(*number))));
        }
        let number = rows.next();
        rows.rows.insert(key.to_owned(), (value.to_vec(), number));
        Ok(WriteOutcome::Written(version(number)))
    }

    fn replace(&self, key: &str, value: &[u8], _: Ttl, if_version: Version) -> Result<WriteOutcome> {
        let mut rows = self.rows();
        let number = rows.next();
        match rows.rows.get_mut(key) {
            None => Ok(WriteOutcome::Absent),
            Some((_, present)) if version(*present) != if_version => {
                Ok(WriteOutcome::Conflict(Some(version(*present))))
            }
            Some(row) => {
                *row = (value.to_vec(), number);
                Ok(WriteOutcome::Written(version(number)))
            }
        }
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome> {
        let mut rows = self.rows();
        match rows.rows.get(key) {
            None => Ok(DeleteOutcome::Absent),
            Some((_, present)) if version(*present) != if_version => {
                Ok(DeleteOutcome::Conflict(Some(version(*present))))
            }
            Some(_) => {
                rows.rows.remove(key);
                Ok(DeleteOutcome::Deleted)
            }
        }
    }

    fn era(&self, _: &str) -> Result<EraInfo> {
        Ok(EraInfo { id: ERA, lossless_for: Duration::MAX })
    }

    fn diagnose(&self) -> Vec<Finding> {
        Vec::new()
    }
}

/// Another store, with its operations counted.
pub(crate) struct Counted<S> {
    store: Arc<S>,
    operations: Arc<AtomicU64>,
}

/// The same store and the same count.
impl<S> Clone for Counted<S> {
    fn clone(&self) -> Self {
        Counted { store: self.store.clone(), operations: self.operations.clone() }
    }
}

impl<S> Counted<S> {
    pub(crate) fn new(store: S) -> Self {
        Counted { store: Arc::new(store), operations: Arc::default() }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    fn count(&self) -> &S {
        self.operations.fetch_add(1, Ordering::Relaxed);
        &self.store
    }
}

impl<S: KvStore> KvStore for Counted<S> {
    fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.count().get(key)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>> {
        self.count().get_many(keys)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome> {
        self.count().add(key, value, ttl)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome> {
        self.count().replace(key, value, ttl, if_version)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome> {
        self.count().delete(key, if_version)
    }

    fn era(&self, key: &str) -> Result<EraInfo> {
        self.count().era(key)
    }

    fn diagnose(&self) -> Vec<Finding> {
        self.store.diagnose()
    }
}
