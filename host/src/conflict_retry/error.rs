//! Why work did not simply commit.

use crate::error::{AcquireError, GrantError};
use crate::kind::{ErrorKind, Retry};

/// Why work did not simply commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConflictRetryError<T, E> {
    /// There was no lock for a try, and it did not run.
    #[error("a try got no lock")]
    Acquire {
        /// Why there was none.
        #[source]
        error: AcquireError,
        /// The conflict of the try before, if there was one.
        conflict: Option<E>,
    },
    /// Each try ran into a conflict. Try again later.
    #[error("a conflict in each of {tries} tries, the last: {conflict}")]
    Exhausted {
        /// The conflict of the last try.
        conflict: E,
        /// How many there were.
        tries: u32,
    },
    /// The work ran into a conflict within another try of the session and key, which is the one to be tried again: let
    /// it be a [`WorkOutcome::Conflict`](super::WorkOutcome::Conflict) there. An outer [`run`](super::ConflictRetry::run) takes a [`WorkOutcome::Failed`](super::WorkOutcome::Failed) for one then.
    #[error("a conflict within another try of the same lock: {conflict}")]
    Outermost {
        /// The conflict of the work.
        conflict: E,
    },
    /// The work failed otherwise.
    #[error("{error}")]
    Failed {
        /// The error of the work.
        error: E,
        /// The error of the lock, if it was lost while the work ran or could not be released.
        lock: Option<GrantError>,
    },
    /// The work has committed, and the lock was lost before, or could not be released. Work that relies on its own
    /// concurrency control alone is as good as any: see [`committed`](Self::committed).
    #[error("committed, but the lock was lost or not released")]
    Release {
        /// The value of the work.
        value: T,
        /// The error of the lock.
        #[source]
        error: GrantError,
    },
}

impl<T, E> ConflictRetryError<T, E> {
    /// Returns the value of work that committed, whatever became of the lock: for work whose own concurrency control is
    /// all that it relies on.
    pub fn committed(self) -> Result<T, Self> {
        match self {
            ConflictRetryError::Release { value, .. } => Ok(value),
            other => Err(other),
        }
    }

    /// Returns what kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConflictRetryError::Acquire { error, .. } => error.kind(),
            ConflictRetryError::Exhausted { .. } | ConflictRetryError::Outermost { .. } => ErrorKind::Conflict,
            ConflictRetryError::Failed { .. } => ErrorKind::WorkFailed,
            ConflictRetryError::Release { error, .. } => error.kind(),
        }
    }

    /// Returns if and when the same call may succeed. Work that committed must not run again.
    pub fn retry(&self) -> Retry {
        match self {
            ConflictRetryError::Acquire { error, .. } => error.retry(),
            ConflictRetryError::Exhausted { .. } => Retry::AfterPause,
            // The outermost try is the one to be repeated.
            ConflictRetryError::Outermost { .. }
            | ConflictRetryError::Failed { .. }
            | ConflictRetryError::Release { .. } => Retry::Never,
        }
    }
}
