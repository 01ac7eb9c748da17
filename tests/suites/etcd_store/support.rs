//! What the tests share.

use std::time::Duration;

use kvlock::store::{DeleteOutcome, Entry, Etcd, KvStore, StoreError, Ttl, Version, WriteOutcome};
use kvlock_testkit::EtcdCluster;

pub(crate) const TTL: Ttl = Ttl::After(Duration::from_secs(30));
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Longer than an answer takes on a busy machine.
const PATIENT: &str = "?timeout=20s";

/// A client that waits for its answers.
pub(crate) fn store(cluster: &EtcdCluster) -> Etcd {
    Etcd::connect(&format!("{}{PATIENT}", cluster.url())).unwrap()
}

#[track_caller]
pub(crate) fn add(store: &Etcd, key: &str, value: &str) -> Version {
    written(store.add(key, value.as_bytes(), TTL))
}

#[track_caller]
pub(crate) fn written(answer: Result<WriteOutcome, StoreError>) -> Version {
    match answer {
        Ok(WriteOutcome::Written(version)) => version,
        other => panic!("not written: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn delete(store: &Etcd, key: &str, version: Version) {
    assert_eq!(store.delete(key, version), Ok(DeleteOutcome::Deleted), "{key}");
}

#[track_caller]
pub(crate) fn get(store: &Etcd, key: &str) -> Entry {
    store.get(key).unwrap().unwrap_or_else(|| panic!("`{key}` is gone"))
}

pub(crate) fn token(version: Version) -> u64 {
    version.era + version.number
}

#[track_caller]
pub(crate) fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("not `unavailable`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_rejected<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Rejected(text)) => {
            assert_eq!(text.lines().count(), 1, "{text:?}");
            text
        }
        other => panic!("not `rejected`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_unknown<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::UnknownOutcome(text)) => text,
        other => panic!("not `unknown outcome`: {other:?}"),
    }
}
