//! Functions behind conflict retry.

use std::time::Duration;

use super::name::Name;
use super::{CallKey, FnLocks, RetryCallError};
use crate::conflict_retry::{ConflictRetry, ConflictRetryError, WorkOutcome};
use crate::debug::debug_fields;
use crate::error::{AcquireError, GrantError};
use crate::holder::WaitingFor;
use crate::soft::{SOFT_PATIENCE, is_loss_of_all, is_outage};

/// A function behind conflict retry: see [`FnLocks::conflict_retry`].
pub struct RetriedFn<G, F> {
    locks: FnLocks,
    name: Name,
    tries: Option<u32>,
    reserve: Option<Duration>,
    get_key: G,
    work: F,
}

debug_fields!(RetriedFn<G, F>, |it| name = it.name);

impl<G, F> RetriedFn<G, F> {
    pub(super) fn new(locks: FnLocks, get_key: G, work: F) -> Self {
        RetriedFn { locks, name: Name::of::<F>(), tries: None, reserve: None, get_key, work }
    }

    /// Names the function: see [`LockedFn::named`](super::LockedFn::named).
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Name::Own(name.into());
        self
    }

    /// How often to try in all: see [`ConflictRetry::tries`].
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = Some(tries);
        self
    }

    /// How long the lock stays reserved after a conflict: see [`ConflictRetry::reserve`].
    pub fn reserve(mut self, reserve: Duration) -> Self {
        self.reserve = Some(reserve);
        self
    }

    /// Calls the function under the lock of its arguments' key until it commits, fails, or has run into a conflict as
    /// often as it may. Without a lock, because it needs none or in soft mode, it is called once.
    pub fn call<A, K: Into<CallKey>, T, E>(&self, args: A) -> Result<T, RetryCallError<T, E>>
    where
        G: Fn(&A) -> K,
        F: Fn(&A) -> WorkOutcome<T, E>,
    {
        let key = self.name.key((self.get_key)(&args).into()).map_err(RetryCallError::Unnamed)?;
        let Some(key) = key else { return once((self.work)(&args)) };
        let session = self.locks.sessions.of_this_thread().map_err(RetryCallError::Session)?;
        let mut loss = None;
        let run = self.options(session.conflict_retry(&key)).run(|attempt| {
            let work = (self.work)(&args);
            loss = attempt.lost();
            work
        });
        match run {
            Err(error) if is_end_of_session(&error) => {
                self.locks.sessions.forget_this_thread();
                Err(error.into())
            }
            Err(ConflictRetryError::Acquire { error: AcquireError::Store { key, error }, .. })
                if self.locks.soft && error.is_outage() =>
            {
                tracing::warn!(key, "goes on without the lock: {error:#}");
                once((self.work)(&args))
            }
            Err(ConflictRetryError::Acquire {
                error: AcquireError::Busy { key, waiting_for: waiting_for @ WaitingFor::Quarantine(_), .. },
                ..
            }) if self.locks.soft => {
                tracing::warn!(key, "goes on without the lock: {waiting_for}");
                once((self.work)(&args))
            }
            // What failed is in the log.
            Err(ConflictRetryError::Release { value, error })
                if self.locks.soft
                    && (is_outage(loss.as_ref(), &error) || is_loss_of_all(&session.owner, &key, &error)) =>
            {
                Ok(value)
            }
            other => other.map_err(RetryCallError::Retry),
        }
    }

    fn options(&self, retry: ConflictRetry) -> ConflictRetry {
        let mut retry = self.locks.options.apply_retry(retry);
        if let Some(tries) = self.tries {
            retry = retry.tries(tries);
        }
        if let Some(reserve) = self.reserve {
            retry = retry.reserve(reserve);
        }
        if self.locks.soft { retry.ride_out_softly(SOFT_PATIENCE) } else { retry }
    }
}

/// What came of work that was tried once.
fn once<T, E>(work: WorkOutcome<T, E>) -> Result<T, RetryCallError<T, E>> {
    Err(RetryCallError::Retry(match work {
        WorkOutcome::Committed(value) => return Ok(value),
        WorkOutcome::Conflict(conflict) => ConflictRetryError::Exhausted { conflict, tries: 1 },
        WorkOutcome::Failed(error) => ConflictRetryError::Failed { error, lock: None },
    }))
}

/// A component that failed is of no more use to its session; the next call has another.
fn is_end_of_session<T, E>(error: &ConflictRetryError<T, E>) -> bool {
    matches!(
        error,
        ConflictRetryError::Acquire { error: AcquireError::Component { .. }, .. }
            | ConflictRetryError::Release { error: GrantError::Component { .. }, .. }
            | ConflictRetryError::Failed { lock: Some(GrantError::Component { .. }), .. }
    )
}
