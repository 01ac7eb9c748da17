//! A store of your own: six operations, and a suite that tells if they are fit to lock on.
//!
//! `cargo run --example own_store`

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kvlock::Client;
use kvlock::store::{
    DeleteOutcome, Entry, EraInfo, Finding, KvStore, Severity, StoreError, Ttl, Version, WriteOutcome, conformance,
};

/// The only era: the map cannot lose its contents without its users.
const ERA: u64 = 1;

/// A map of this process. A real one asks a database, whose transactions make each operation atomic.
#[derive(Clone, Default)]
struct Map(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    last: u64,
    entries: HashMap<String, (Entry, Option<Instant>)>,
}

impl Contents {
    /// Returns the entry, unless it has expired.
    fn present(&self, key: &str) -> Option<Entry> {
        let (entry, end) = self.entries.get(key)?;
        let left = end.map(|end| end.checked_duration_since(Instant::now()));
        let time_left = match left {
            None => Ttl::Forever,
            Some(left) => Ttl::After(left?),
        };
        Some(Entry { time_left: Some(time_left), ..entry.clone() })
    }

    fn put(&mut self, key: &str, value: &[u8], ttl: Ttl) -> WriteOutcome {
        self.last += 1;
        let version = Version { era: ERA, number: self.last };
        let end = match ttl {
            Ttl::After(length) => Instant::now().checked_add(length),
            Ttl::Forever => None,
        };
        self.entries.insert(key.to_string(), (Entry { value: value.to_vec(), version, time_left: None }, end));
        WriteOutcome::Written(version)
    }
}

impl Map {
    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Contents) -> T) -> Result<T, StoreError> {
        if key.is_empty() || key.len() > 250 || key.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(StoreError::Invalid(format!("the key {key:?}")));
        }
        Ok(act(&mut self.0.lock().expect("nobody panics")))
    }
}

fn check(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > 1 << 20 { Err(StoreError::Rejected("more than 1 MiB".to_string())) } else { Ok(()) }
}

impl KvStore for Map {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.with(key, |contents| contents.present(key))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check(value)?;
        self.with(key, |contents| match contents.present(key) {
            Some(entry) => WriteOutcome::Conflict(Some(entry.version)),
            None => contents.put(key, value, ttl),
        })
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check(value)?;
        self.with(key, |contents| match contents.present(key) {
            _ if if_version.era != ERA => WriteOutcome::Conflict(None),
            None => WriteOutcome::Absent,
            Some(entry) if entry.version != if_version => WriteOutcome::Conflict(Some(entry.version)),
            Some(_) => contents.put(key, value, ttl),
        })
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        self.with(key, |contents| match contents.present(key) {
            _ if if_version.era != ERA => DeleteOutcome::Conflict(None),
            None => DeleteOutcome::Absent,
            Some(entry) if entry.version != if_version => DeleteOutcome::Conflict(Some(entry.version)),
            Some(_) => {
                contents.entries.remove(key);
                DeleteOutcome::Deleted
            }
        })
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        self.with(key, |_| EraInfo { id: ERA, lossless_for: Duration::MAX })
    }

    fn diagnose(&self) -> Vec<Finding> {
        vec![Finding::new("map", "scope", Severity::Warning, "for the threads of one process")]
    }
}

impl conformance::Subject for Map {
    fn store(&self) -> &dyn KvStore {
        self
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(self.clone())
    }

    fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // Run these in a test of yours: a store that fails one of them loses locks.
    for case in conformance::cases() {
        case.check(&Map::default()).map_err(|why| format!("{}: {why}", case.name))?;
    }
    let client = Client::with_store(Map::default());
    let grant = client.lock("report").acquire()?;
    println!("locked in a store of its own, fencing token {}", grant.token());
    Ok(())
}
