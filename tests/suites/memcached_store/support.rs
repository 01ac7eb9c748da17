//! What the tests share.

use std::time::Duration;

use kvlock::store::{Entry, KvStore, Memcached, StoreError, Ttl, Version, WriteOutcome};
use kvlock_testkit::MemcachedServer;

pub(crate) const TTL: Ttl = Ttl::After(Duration::from_secs(30));
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn store(server: &MemcachedServer) -> Memcached {
    Memcached::connect(&server.addr()).unwrap()
}

#[track_caller]
pub(crate) fn add(store: &Memcached, key: &str, value: &str) -> Version {
    match store.add(key, value.as_bytes(), TTL).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("add `{key}`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn replace(store: &Memcached, key: &str, value: &str, version: Version) -> Version {
    match store.replace(key, value.as_bytes(), TTL, version).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("replace `{key}`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn get(store: &Memcached, key: &str) -> Entry {
    store.get(key).unwrap().unwrap_or_else(|| panic!("`{key}` is gone"))
}

pub(crate) fn token(version: Version) -> u64 {
    version.era + version.number
}

/// Makes functions that expect an error, and return its text.
macro_rules! expect_errors {
    ($($name:ident: $case:ident),*) => {$(
        #[track_caller]
        pub(crate) fn $name<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
            match answer {
                Err(StoreError::$case(text)) => text,
                other => panic!("not {}: {other:?}", stringify!($case)),
            }
        }
    )*};
}

expect_errors! {
    assert_unavailable: Unavailable, assert_rejected: Rejected, assert_invalid: Invalid, assert_unknown: UnknownOutcome
}
