//! Why a function behind a lock did not simply give its value.

use crate::conflict_retry::ConflictRetryError;
use crate::error::{AcquireError, GrantError, SessionError, WithLockError};

/// Why a function behind a lock, a [`LockedFn`](crate::LockedFn), did not simply give its value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<R> {
    /// The function has no name that tells its keys from those of another; it did not run.
    #[error("`{0}` is no name of one function only: give the function one with `named`")]
    Unnamed(&'static str),
    /// No session could be opened for the calling thread; the function did not run.
    #[error(transparent)]
    Session(SessionError),
    /// There was no grant; the function did not run.
    #[error(transparent)]
    Acquire(AcquireError),
    /// The function ran, and the lock was lost before it ended or could not be released.
    #[error("{error}")]
    Release {
        /// What the function answered.
        value: R,
        /// What became of the lock.
        error: GrantError,
    },
}

impl<R> From<WithLockError<R>> for CallError<R> {
    fn from(error: WithLockError<R>) -> Self {
        match error {
            WithLockError::Acquire(error) => CallError::Acquire(error),
            WithLockError::Release { value, error } => CallError::Release { value, error },
        }
    }
}

/// Why a function behind conflict retry, a [`RetriedFn`](crate::RetriedFn), did not simply commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryCallError<T, E> {
    /// The function has no name that tells its keys from those of another; it did not run.
    #[error("`{0}` is no name of one function only: give the function one with `named`")]
    Unnamed(&'static str),
    /// No session could be opened for the calling thread; the function did not run.
    #[error("{0}")]
    Session(SessionError),
    /// What came of the tries.
    #[error("{0}")]
    Retry(ConflictRetryError<T, E>),
}

impl<T, E> From<ConflictRetryError<T, E>> for RetryCallError<T, E> {
    fn from(error: ConflictRetryError<T, E>) -> Self {
        RetryCallError::Retry(error)
    }
}
