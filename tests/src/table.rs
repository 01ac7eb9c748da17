//! A store that answers from memory at the least cost, for benchmarks and counts of what the host does beside it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvlock::store::{DeleteOutcome, Entry, EraInfo, Finding, KvStore, StoreError, Ttl, Version, WriteOutcome};

type Result<T> = std::result::Result<T, StoreError>;

/// A hash map. Nothing in it expires, and nobody logs what is done to it.
#[derive(Debug, Default)]
pub struct Table(Mutex<Rows>);

#[derive(Debug, Default)]
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
