//! Why a function behind a lock did not simply give its value.

use crate::conflict_retry::ConflictRetryError;
use crate::error::{AcquireError, GrantError, SessionError, WithLockError};
use crate::kind::{ErrorKind, Retry};

/// Why a function behind a lock, a [`LockedFn`](super::LockedFn), did not simply give its value.
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
    #[error("the function ran, but its lock was lost or not released")]
    Release {
        /// The value of the function.
        value: R,
        /// The error of the lock.
        #[source]
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

/// Why a function behind conflict retry, a [`RetriedFn`](super::RetriedFn), did not simply commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryCallError<T, E> {
    /// The function has no name that tells its keys from those of another; it did not run.
    #[error("`{0}` is no name of one function only: give the function one with `named`")]
    Unnamed(&'static str),
    /// No session could be opened for the calling thread; the function did not run.
    #[error(transparent)]
    Session(SessionError),
    /// The error of the tries.
    #[error(transparent)]
    Retry(ConflictRetryError<T, E>),
}

impl<T, E> From<ConflictRetryError<T, E>> for RetryCallError<T, E> {
    fn from(error: ConflictRetryError<T, E>) -> Self {
        RetryCallError::Retry(error)
    }
}

impl<R> CallError<R> {
    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            CallError::Unnamed(_) => ErrorKind::Invalid,
            CallError::Session(error) => error.kind(),
            CallError::Acquire(error) => error.kind(),
            CallError::Release { error, .. } => error.kind(),
        }
    }

    /// Returns if and when the same call may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            CallError::Acquire(error) => error.retry(),
            // The function ran.
            CallError::Release { .. } => Retry::Never,
            CallError::Unnamed(_) | CallError::Session(_) => self.kind().retry(),
        }
    }
}

impl<T, E> RetryCallError<T, E> {
    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RetryCallError::Unnamed(_) => ErrorKind::Invalid,
            RetryCallError::Session(error) => error.kind(),
            RetryCallError::Retry(error) => error.kind(),
        }
    }

    /// Returns if and when the same call may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            RetryCallError::Retry(error) => error.retry(),
            RetryCallError::Unnamed(_) | RetryCallError::Session(_) => self.kind().retry(),
        }
    }
}
