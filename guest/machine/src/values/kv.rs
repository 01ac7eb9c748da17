//! Requests to a store and its replies: `wit/kv-store.wit` as plain values.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Names one state of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The life of the store's contents; a later one is larger.
    pub era: u64,
    /// Grows with each write to the key within the era.
    pub number: u64,
}

impl Version {
    /// Returns the fencing token of a grant that this write made. The store promises that it is larger with each later
    /// write to the key, across eras, too.
    pub fn token(self) -> u64 {
        self.era.saturating_add(self.number)
    }
}

/// How long an entry is kept, or a lock held, unless it is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ttl {
    /// At least this long.
    After(Duration),
    /// Until it is deleted.
    Forever,
}

/// The entry of a store under a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The bytes as they were written.
    pub value: Vec<u8>,
    /// The entry's present version.
    pub version: Version,
    /// How long the store will keep it at least, if it can tell.
    pub time_left: Option<Ttl>,
}

/// A call that the driver is to make. Its key is shared with the machine that asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read an entry.
    Get {
        /// The store key.
        key: Arc<str>,
    },
    /// Read several.
    GetMany {
        /// The store keys.
        keys: Vec<Arc<str>>,
    },
    /// Make an entry if there is none.
    Add {
        /// The store key.
        key: Arc<str>,
        /// Its bytes.
        value: Vec<u8>,
        /// How long to keep it.
        ttl: Ttl,
    },
    /// Replace the entry that has this version.
    Replace {
        /// The store key.
        key: Arc<str>,
        /// Its new bytes.
        value: Vec<u8>,
        /// How long to keep it.
        ttl: Ttl,
        /// The version it must have.
        if_version: Version,
    },
    /// Delete the entry that has this version.
    Delete {
        /// The store key.
        key: Arc<str>,
        /// The version it must have.
        if_version: Version,
    },
    /// Tell the era of the server that keeps the key.
    Era {
        /// The store key.
        key: Arc<str>,
    },
    /// Do all of these, which are writes of different keys: each as if it were asked for alone.
    All(Vec<Request>),
}

/// The answer to the call that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// To [`Request::Get`].
    Entry(Result<Option<Entry>, StoreError>),
    /// To [`Request::GetMany`].
    Entries(Result<Vec<Option<Entry>>, StoreError>),
    /// To [`Request::Add`] and [`Request::Replace`].
    Write(Result<WriteOutcome, StoreError>),
    /// To [`Request::Delete`].
    Delete(Result<DeleteOutcome, StoreError>),
    /// To [`Request::Era`].
    Era(Result<EraInfo, StoreError>),
    /// To [`Request::All`]: as many, in their order.
    All(Vec<Reply>),
}

/// The outcome of an add or a replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// Written; the new version.
    Written(Version),
    /// Not written: an entry is there, with another version.
    Conflict(Option<Version>),
    /// Not written: there is no entry.
    Absent,
}

/// The outcome of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeleteOutcome {
    /// Deleted.
    Deleted,
    /// Not deleted: the entry has another version.
    Conflict(Option<Version>),
    /// There is no entry.
    Absent,
}

/// The life of a server's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EraInfo {
    /// Larger after every loss of everything.
    pub id: u64,
    /// How long, at least, nothing has been lost.
    pub lossless_for: Duration,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// Not sent: nothing happened and nothing will.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Sent, no answer: it may have happened, or may still happen.
    #[error("outcome unknown: {0}")]
    UnknownOutcome(String),
    /// The store refuses; trying again does not help.
    #[error("store refuses: {0}")]
    Rejected(String),
    /// The key or another argument is not legal for the store.
    #[error("invalid: {0}")]
    Invalid(String),
}

impl StoreError {
    /// Returns true if the same call may succeed later: an outage, not a refusal.
    pub fn is_outage(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::UnknownOutcome(_))
    }

    /// Returns the error of an operation of which an earlier write may have happened: this failure does not undo that.
    pub(crate) fn after_doubt(self, in_doubt: bool) -> Self {
        match self {
            StoreError::Unavailable(text) if in_doubt => StoreError::UnknownOutcome(text),
            error => error,
        }
    }
}
