//! What can go wrong, one type per operation. Outcomes that a caller plans for are values, not errors.

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use crate::records::holder::Holder;
use crate::values::invalid::Invalid;
use crate::values::kv::StoreError;

/// What an acquisition waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WaitingFor {
    /// Its turn: the lock is free as far as is known.
    Turn,
    /// Somebody has the lock.
    Holder(Box<Holder>),
    /// All permits of the semaphore are held, or more than are to be left of one that shrinks.
    Exhausted {
        /// How many permits it has.
        size: u32,
        /// How many are held.
        held: u32,
        /// Somebody who holds one.
        holder: Option<Box<Holder>>,
    },
    /// The store's contents are too young to grant anything on, for this long.
    Quarantine(Duration),
    /// The store does not answer.
    Outage(StoreError),
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AcquireError {
    /// Not free in the time allowed.
    #[error("busy")]
    Busy {
        /// How long it was waited.
        waited: Duration,
        /// What stood in the way at the last try.
        waiting_for: WaitingFor,
    },
    /// The session holds the lock and did not ask for a re-entrant one.
    #[error("this session holds the lock already")]
    AlreadyHeld,
    /// The session held the lock, acquired it once more, and found it lost.
    #[error("the lock was lost")]
    Lost(Option<Box<Holder>>),
    /// It would have to be waited for while the session keeps this other key reserved.
    #[error("this session keeps `{0}` reserved, and nobody waits with a reservation")]
    ReservesAnother(String),
    /// The key's value is not a kvlock record; its beginning.
    #[error("not a kvlock record: {0}")]
    Corrupt(String),
    /// There is no semaphore of the name, or it is being destroyed.
    #[error("there is no such semaphore")]
    Unknown,
    /// An argument is not legal.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The driver answered a step with something else than it asked for, or went on after the end.
    #[error("the machine was driven out of order")]
    OutOfOrder,
}

/// Why a grant could not be renewed or released.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GrantError {
    /// The lock is not ours any more; who has it, where known.
    #[error("the lock was lost")]
    Lost(Option<Box<Holder>>),
    /// An argument is not legal.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed; the grant stands until its deadline, and the call can be tried again. After a release of
    /// unknown outcome the grant is not to be relied on: it is unconfirmed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`AcquireError::OutOfOrder`].
    #[error("the machine was driven out of order")]
    OutOfOrder,
}

impl From<GrantError> for AcquireError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Lost(holder) => AcquireError::Lost(holder),
            GrantError::Invalid(invalid) => AcquireError::Invalid(invalid),
            GrantError::Store(error) => AcquireError::Store(error),
            GrantError::OutOfOrder => AcquireError::OutOfOrder,
        }
    }
}

/// Why a key could not be looked at or broken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    /// The value is not a kvlock record, and is left as it is.
    #[error("not a kvlock record: {0}")]
    Corrupt(String),
    /// A key is not legal.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`AcquireError::OutOfOrder`].
    #[error("the machine was driven out of order")]
    OutOfOrder,
}
