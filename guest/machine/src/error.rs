//! Errors, one type per operation. Outcomes that a caller plans for are values, not errors.

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use crate::records::Holder;
use crate::values::{Invalid, StoreError};

/// What a waiter waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WaitingFor {
    /// Its turn: as far as is known the lock is free.
    Turn,
    /// Another holder has the lock.
    Holder(Box<Holder>),
    /// All permits of the semaphore are held; or it shrinks, and more are held than are to be left.
    Exhausted {
        /// How many permits it has.
        size: u32,
        /// How many are held.
        held: u32,
        /// One of the holders.
        holder: Option<Box<Holder>>,
    },
    /// The store's contents are too young to grant anything, for this long.
    Quarantine(Duration),
    /// The store does not answer.
    Outage(StoreError),
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AcquireError {
    /// The wait is over.
    #[error("busy")]
    Busy {
        /// How long the wait was.
        waited: Duration,
        /// The obstacle at the last try.
        waiting_for: WaitingFor,
    },
    /// The session holds the lock, and one of the two requests was not re-entrant.
    #[error("this session holds the lock already")]
    AlreadyHeld,
    /// The session holds the lock for itself and asked to share it, or the other way round.
    #[error("this session holds the lock already, in the other mode")]
    HeldInOtherMode,
    /// The session held the lock, acquired it again, and found it lost.
    #[error("the lock was lost")]
    Lost(Option<Box<Holder>>),
    /// The lock is held, and the session keeps this other key reserved: nobody waits with a reservation.
    #[error("this session keeps `{0}` reserved, and nobody waits with a reservation")]
    ReservesAnother(String),
    /// The key's value is not a kvlock record. This is its beginning.
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
    /// The driver answered a step with something else than the step asked for, or continued after the end.
    #[error("the machine was driven out of order")]
    OutOfOrder,
}

/// Why a grant could not be renewed or released.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GrantError {
    /// The lock is no longer ours. This is the holder, if known.
    #[error("the lock was lost")]
    Lost(Option<Box<Holder>>),
    /// An argument is not legal.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed. The grant stands until its deadline, and the call can be tried again. After a release of
    /// unknown outcome the grant is unconfirmed: do not rely on it.
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

/// Why the status of a key could not be read, or its grant not be broken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyError {
    /// The value is not a kvlock record, and stays as it is.
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
