//! Between the types of the WIT and those of [`crate::store`]. They say the same; nothing is decided here.

use std::time::Duration;

use super::bindings::kvlock::lock::kv_store as wit;
use crate::store;

/// Nanoseconds as the WIT has them; more than 584 years are as many as can be said.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn ttl(ttl: wit::Ttl) -> store::Ttl {
    match ttl {
        wit::Ttl::After(length) => store::Ttl::After(Duration::from_nanos(length)),
        wit::Ttl::Forever => store::Ttl::Forever,
    }
}

pub(crate) fn ttl_out(ttl: store::Ttl) -> wit::Ttl {
    match ttl {
        store::Ttl::After(length) => wit::Ttl::After(nanos(length)),
        store::Ttl::Forever => wit::Ttl::Forever,
    }
}

pub(crate) fn version(version: wit::Version) -> store::Version {
    store::Version { era: version.era, number: version.number }
}

fn version_out(version: store::Version) -> wit::Version {
    wit::Version { era: version.era, number: version.number }
}

pub(crate) fn entry(entry: store::Entry) -> wit::Entry {
    let store::Entry { value, version, time_left } = entry;
    wit::Entry { value, version: version_out(version), time_left: time_left.map(ttl_out) }
}

pub(crate) fn write_outcome(outcome: store::WriteOutcome) -> wit::WriteOutcome {
    match outcome {
        store::WriteOutcome::Written(version) => wit::WriteOutcome::Written(version_out(version)),
        store::WriteOutcome::Conflict(version) => wit::WriteOutcome::Conflict(version.map(version_out)),
        store::WriteOutcome::Absent => wit::WriteOutcome::Absent,
    }
}

pub(crate) fn delete_outcome(outcome: store::DeleteOutcome) -> wit::DeleteOutcome {
    match outcome {
        store::DeleteOutcome::Deleted => wit::DeleteOutcome::Deleted,
        store::DeleteOutcome::Conflict(version) => wit::DeleteOutcome::Conflict(version.map(version_out)),
        store::DeleteOutcome::Absent => wit::DeleteOutcome::Absent,
    }
}

pub(crate) fn era(era: store::EraInfo) -> wit::EraInfo {
    wit::EraInfo { id: era.id, lossless_for: nanos(era.lossless_for) }
}

pub(crate) fn error(error: store::StoreError) -> wit::Error {
    match error {
        store::StoreError::Unavailable(text) => wit::Error::Unavailable(text),
        store::StoreError::UnknownOutcome(text) => wit::Error::UnknownOutcome(text),
        store::StoreError::Rejected(text) => wit::Error::Rejected(text),
        store::StoreError::Invalid(text) => wit::Error::Invalid(text),
    }
}

pub(crate) fn error_in(error: wit::Error) -> store::StoreError {
    match error {
        wit::Error::Unavailable(text) => store::StoreError::Unavailable(text),
        wit::Error::UnknownOutcome(text) => store::StoreError::UnknownOutcome(text),
        wit::Error::Rejected(text) => store::StoreError::Rejected(text),
        wit::Error::Invalid(text) => store::StoreError::Invalid(text),
    }
}
