//! The holder of a key, as its record names it.

use alloc::string::String;

use crate::records::record::Record;
use crate::values::{Entry, Ttl};

/// The holder of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The key as its user wrote it.
    pub key: String,
    /// The owner's name.
    pub owner: String,
    /// Where it runs, in its own words.
    pub label: String,
    /// What it holds it for, in its own words.
    pub note: Option<String>,
    /// Unix nanoseconds of the grant by the holder's clock, if it had one.
    pub since: Option<u64>,
    /// The lease asked for.
    pub lease: Ttl,
    /// How many times it is held; 0 if it was released and is only kept for its minimum hold.
    pub depth: u32,
    /// The grant's fencing token.
    pub token: u64,
    /// How long the store will keep the record at least, if it can tell.
    pub time_left: Option<Ttl>,
    /// The permit's number, if it is a permit of a semaphore.
    pub permit: Option<u32>,
    /// How many readers share the lock, this one included; 0 if one has it alone.
    pub readers: u32,
    /// Whether it is not in use but reserved for the next try of a conflict retry, for as long as the lease says.
    pub reserved: bool,
}

impl Holder {
    pub(crate) fn new(record: Record, entry: &Entry) -> Self {
        Holder {
            token: record.token.unwrap_or(entry.version.token()),
            permit: record.place.permit,
            key: record.place.key.as_str().into(),
            owner: record.owner.as_str().into(),
            label: record.label.as_str().into(),
            note: record.note.as_ref().map(|note| note.as_str().into()),
            since: record.since,
            lease: record.lease.ttl(),
            depth: record.depth,
            time_left: entry.time_left,
            readers: 0,
            reserved: record.reserved.is_some(),
        }
    }
}
