//! What the tests share.

use std::time::Duration;

use kvlock::store::{Entry, KvStore, Redis, StoreError, Ttl, Version, WriteOutcome};
use kvlock_testkit::RedisServer;

pub(crate) const TTL: Ttl = Ttl::After(Duration::from_secs(30));

/// The key of everything that kvlock keeps in a server.
pub(crate) const HASH: &str = "kvlock:{0}";

pub(crate) fn store(server: &RedisServer) -> Redis {
    Redis::connect(&server.url()).unwrap()
}

pub(crate) fn store_with(server: &RedisServer, parameters: &str) -> Redis {
    Redis::connect(&format!("{}?{parameters}", server.url())).unwrap()
}

#[track_caller]
pub(crate) fn add(store: &Redis, key: &str, value: &str) -> Version {
    match store.add(key, value.as_bytes(), TTL).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("add `{key}`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn replace(store: &Redis, key: &str, value: &str, version: Version) -> Version {
    match store.replace(key, value.as_bytes(), TTL, version).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("replace `{key}`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn get(store: &Redis, key: &str) -> Entry {
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
        Err(StoreError::Rejected(text)) => text,
        other => panic!("not `rejected`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Invalid(text)) => text,
        other => panic!("not `invalid`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_unknown<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::UnknownOutcome(text)) => text,
        other => panic!("not `unknown outcome`: {other:?}"),
    }
}
