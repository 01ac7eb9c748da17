//! Several writes in one call.

use super::{DeleteOutcome, KvStore, StoreError, Ttl, Version, WriteOutcome};

/// One of several writes: see [`KvStore::write_many`].
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

    /// Makes this write by a call of its own.
    pub(super) fn carry_out(&self, store: &(impl KvStore + ?Sized)) -> Result<WriteAnswer, StoreError> {
        match self {
            Write::Add { key, value, ttl } => store.add(key, value, *ttl).map(WriteAnswer::Written),
            Write::Replace { key, value, ttl, if_version } => {
                store.replace(key, value, *ttl, *if_version).map(WriteAnswer::Written)
            }
            Write::Delete { key, if_version } => store.delete(key, *if_version).map(WriteAnswer::Deleted),
        }
    }
}
