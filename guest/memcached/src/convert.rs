//! Converts between the types of the WIT and those of the protocol. They say the same: nothing is decided here.

use core::time::Duration;

use kvlock_protocol as protocol;

use crate::bindings::exports::kvlock::lock::kv_store::{
    DeleteOutcome, Entry, EraInfo, StoreError, Ttl, Version, WriteOutcome,
};

/// Returns nanoseconds; a longer time as the longest there is.
pub(crate) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns whole milliseconds, for a person.
pub(crate) fn millis(length: Duration) -> u64 {
    nanos(length) / 1_000_000
}

pub(crate) fn error(error: protocol::Error) -> StoreError {
    match error {
        protocol::Error::Unavailable(why) => StoreError::Unavailable(why),
        protocol::Error::UnknownOutcome(why) => StoreError::UnknownOutcome(why),
        protocol::Error::Rejected(why) => StoreError::Rejected(why),
        protocol::Error::Invalid(why) => StoreError::Invalid(why),
    }
}

pub(crate) fn ttl_in(ttl: Ttl) -> protocol::Ttl {
    match ttl {
        Ttl::After(length) => protocol::Ttl::After(Duration::from_nanos(length)),
        Ttl::Forever => protocol::Ttl::Forever,
    }
}

fn ttl_out(ttl: protocol::Ttl) -> Ttl {
    match ttl {
        protocol::Ttl::After(length) => Ttl::After(nanos(length)),
        protocol::Ttl::Forever => Ttl::Forever,
    }
}

pub(crate) fn version_in(version: Version) -> protocol::Version {
    protocol::Version { era: version.era, number: version.number }
}

fn version_out(version: protocol::Version) -> Version {
    Version { era: version.era, number: version.number }
}

pub(crate) fn entry(entry: protocol::Entry) -> Entry {
    let protocol::Entry { value, version, time_left } = entry;
    Entry { value, version: version_out(version), time_left: time_left.map(ttl_out) }
}

pub(crate) fn written(outcome: protocol::WriteOutcome) -> WriteOutcome {
    match outcome {
        protocol::WriteOutcome::Written(version) => WriteOutcome::Written(version_out(version)),
        protocol::WriteOutcome::Conflict(version) => WriteOutcome::Conflict(version.map(version_out)),
        protocol::WriteOutcome::Absent => WriteOutcome::Absent,
    }
}

pub(crate) fn deleted(outcome: protocol::DeleteOutcome) -> DeleteOutcome {
    match outcome {
        protocol::DeleteOutcome::Deleted => DeleteOutcome::Deleted,
        protocol::DeleteOutcome::Conflict(version) => DeleteOutcome::Conflict(version.map(version_out)),
        protocol::DeleteOutcome::Absent => DeleteOutcome::Absent,
    }
}

pub(crate) fn era(info: protocol::EraInfo) -> EraInfo {
    EraInfo { id: info.id, lossless_for: nanos(info.lossless_for) }
}
