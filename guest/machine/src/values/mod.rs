//! Plain values that every other room uses: names, options, times, and what a store is asked and answers.

pub(crate) mod calendar;
pub(crate) mod invalid;
pub(crate) mod kv;
pub(crate) mod name;
pub(crate) mod options;
pub(crate) mod text;
pub(crate) mod time;

pub(crate) use invalid::Invalid;
pub(crate) use kv::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Ttl, Version, WriteOutcome};
pub(crate) use name::{EntryKind, Key, Namespace, RecordKey, Text};
pub(crate) use options::{
    DEFAULT_QUARANTINE, Lease, LockOptions, MAX_INTERVAL, MAX_LEASE, MIN_DURATION, Mode, to_trust, within,
};
pub(crate) use time::{Time, nanos};
