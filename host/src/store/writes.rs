//! Several writes in one call.

use kvlock_protocol::{DeleteOutcome, Ttl, Version, WriteOutcome};

/// One of several writes: see [`KvStore::write_many`](super::KvStore::write_many).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store has these writes")]
pub enum Write {
    /// Makes an entry where there is none.
    Add {
        /// The key.
        key: String,
        /// The entry's bytes.
        value: Vec<u8>,
        /// How long to keep it.
        ttl: Ttl,
    },
    /// Replaces the entry that has this version.
    Replace {
        /// The key.
        key: String,
        /// The entry's new bytes.
        value: Vec<u8>,
        /// How long to keep it.
        ttl: Ttl,
        /// The version that it must have.
        if_version: Version,
    },
    /// Deletes the entry that has this version.
    Delete {
        /// The key.
        key: String,
        /// The version that it must have.
        if_version: Version,
    },
}

/// What became of one of several writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "as there are writes")]
pub enum WriteAnswer {
    /// Of [`Write::Add`] and [`Write::Replace`].
    Written(WriteOutcome),
    /// Of [`Write::Delete`].
    Deleted(DeleteOutcome),
}

impl Write {
    /// Returns the key.
    pub fn key(&self) -> &str {
        let (Write::Add { key, .. } | Write::Replace { key, .. } | Write::Delete { key, .. }) = self;
        key
    }
}
