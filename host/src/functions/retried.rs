//! Functions behind conflict retry.

use std::time::Duration;

use super::FnLocks;
use super::error::RetryCallError;
use super::name::{CallKey, Name};
use crate::conflict_retry::{ConflictRetry, ConflictRetryError, WorkOutcome};
use crate::debug::debug_fields;
use crate::error::AcquireError;
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

impl FnLocks {
    /// Puts a function behind [conflict retry](crate::ConflictRetry). The function has a concurrency control of its
    /// own. While that reports a conflict, the function is called again under the lock of its arguments' key.
    ///
    /// ```
    /// use kvlock::{conflict_retry::WorkOutcome, Client, FnLocks};
    ///
    /// struct Transfer { account: u32, amount: i64 }
    ///
    /// fn book(transfer: &Transfer) -> WorkOutcome<i64, String> {
    ///     // Begin a transaction; read, compute, write; commit, and tell what came of it.
    ///     WorkOutcome::Committed(transfer.amount)
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let locks = FnLocks::new(Client::connect("memory:")?.session());
    /// let book = locks.conflict_retry(|transfer: &Transfer| transfer.account.to_string(), book).tries(5);
    /// assert_eq!(book.call(Transfer { account: 7, amount: 100 })?, 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn conflict_retry<A, K, T, E, G, F>(&self, get_key: G, work: F) -> RetriedFn<G, F>
    where
        K: Into<CallKey>,
        G: Fn(&A) -> K,
        F: Fn(&A) -> WorkOutcome<T, E>,
    {
        RetriedFn { locks: self.clone(), name: Name::of::<F>(), tries: None, reserve: None, get_key, work }
    }
}

impl<G, F> RetriedFn<G, F> {
    /// Names the function: see [`LockedFn::named`](super::LockedFn::named).
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Name::Own(name.into());
        self
    }

    /// Sets how often to try in all: see [`ConflictRetry::tries`].
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = Some(tries);
        self
    }

    /// Sets how long the lock stays reserved after a conflict: see [`ConflictRetry::reserve`].
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
        let mut retry = retry.with(self.locks.options.clone());
        if let Some(tries) = self.tries {
            retry = retry.tries(tries);
        }
        if let Some(reserve) = self.reserve {
            retry = retry.reserve(reserve);
        }
        if self.locks.soft { retry.ride_out_softly(SOFT_PATIENCE) } else { retry }
    }
}

/// Returns the outcome of work that was tried once.
fn once<T, E>(work: WorkOutcome<T, E>) -> Result<T, RetryCallError<T, E>> {
    Err(RetryCallError::Retry(match work {
        WorkOutcome::Committed(value) => return Ok(value),
        WorkOutcome::Conflict(conflict) => ConflictRetryError::Exhausted { conflict, tries: 1 },
        WorkOutcome::Failed(error) => ConflictRetryError::Failed { error, lock: None },
    }))
}
