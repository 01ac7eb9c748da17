//! Calls of a store that are to succeed, or to fail in one way.

use std::fmt::Debug;
use std::time::Duration;

use kvlock::store::{DeleteOutcome, Entry, KvStore, StoreError, Ttl, Version, WriteOutcome};

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

/// How long entries live where that does not matter.
pub const TTL: Ttl = Ttl::After(Duration::from_secs(30));

/// Adds an entry, and returns its version.
#[track_caller]
pub fn add(store: &impl KvStore, key: &str, value: &str) -> Version {
    written(store.add(key, value.as_bytes(), TTL))
}

/// Replaces an entry, and returns its version.
#[track_caller]
pub fn replace(store: &impl KvStore, key: &str, value: &str, version: Version) -> Version {
    written(store.replace(key, value.as_bytes(), TTL, version))
}

/// Deletes an entry.
#[track_caller]
pub fn delete(store: &impl KvStore, key: &str, version: Version) {
    assert_eq!(store.delete(key, version), Ok(DeleteOutcome::Deleted), "{key}");
}

/// Reads an entry that is there.
#[track_caller]
pub fn get(store: &impl KvStore, key: &str) -> Entry {
    store.get(key).unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|| panic!("`{key}` is gone"))
}

/// Returns the version that was written.
#[track_caller]
pub fn written(answer: Result<WriteOutcome, StoreError>) -> Version {
    match answer {
        Ok(WriteOutcome::Written(version)) => version,
        other => panic!("not written: {other:?}"),
    }
}

/// Returns the fencing token of a version.
pub fn token(version: Version) -> u64 {
    version.era + version.number
}

/// Makes functions that expect an error.
macro_rules! expect_errors {
    ($($name:ident: $case:ident),*) => {$(
        /// Expects this error, and returns its text, which has one line.
        #[track_caller]
        pub fn $name<T: Debug>(answer: Result<T, StoreError>) -> String {
            match answer {
                Err(StoreError::$case(text)) if text.lines().count() == 1 => text,
                other => panic!("not {} in one line: {other:?}", stringify!($case)),
            }
        }
    )*};
}

expect_errors! {
    assert_unavailable: Unavailable, assert_rejected: Rejected, assert_invalid: Invalid, assert_unknown: UnknownOutcome
}
