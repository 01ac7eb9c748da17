//! Acquiring by tasks.

use std::sync::Arc;
use std::time::Duration;

use crate::acquire::or_busy;
use crate::debug::debug_fields;
use crate::error::{AcquireError, WithLockError};
use crate::owner::Tasks;
use crate::store::Ttl;

use super::grant::Grant;
use super::guard::{LockGuard, with_guard};
use super::same_setters;
use super::wait::wait;

/// A lock, and how to acquire it: see [`crate::Lock`].
#[derive(Clone)]
#[must_use = "nothing is locked until it is acquired"]
pub struct Lock(crate::Lock, Arc<Tasks>, Owners);

/// Who acquires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// The session that the lock is of.
    Session,
    /// Another owner each time.
    OfEachAcquire,
}

debug_fields!(Lock, |it| lock = it.0);

impl Lock {
    pub(super) fn of_each_acquire(tasks: Arc<Tasks>, lock: crate::Lock) -> Self {
        Lock(lock, tasks, Owners::OfEachAcquire)
    }

    pub(super) fn of_session(tasks: Arc<Tasks>, lock: crate::Lock) -> Self {
        Lock(lock, tasks, Owners::Session)
    }

    same_setters! { "Lock":
        lease(lease: impl Into<Ttl>)
        wait(wait: Duration)
        interval(interval: Duration)
        note(note: impl Into<String>)
        ride_out(longest: Duration)
        ride_out_first(longest: Duration)
        reentrant()
        shared()
        adopt()
        at_least(at_least: Duration)
        give_up_in_quarantine()
    }

    /// Acquires the lock, waiting as long as the options allow. To drop the future is to wait no more.
    ///
    /// # Errors
    ///
    /// As [`crate::Lock::acquire`].
    pub async fn acquire(&self) -> Result<Grant, AcquireError> {
        self.granted(wait(&self.1, self.owned().waiting()).await)
    }

    /// Tries once, without waiting. Returns none if the lock is busy.
    ///
    /// # Errors
    ///
    /// As [`crate::Lock::try_acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Grant>, AcquireError> {
        or_busy(self.granted(wait(&self.1, self.owned().waiting_once()).await))
    }

    /// Acquires the lock, runs `work` while the lease is renewed in the background, and releases the lock. `work` may
    /// ask its argument whether the lock has been lost, or [await](LockGuard::lost) that. If the future is dropped while
    /// `work` runs, the lock is released in the background.
    ///
    /// # Errors
    ///
    /// As [`crate::Lock::with_lock`].
    pub async fn with_lock<T>(&self, work: impl AsyncFnOnce(&LockGuard) -> T) -> Result<T, WithLockError<T>> {
        with_guard(self.acquire().await, work).await
    }

    fn granted(&self, acquired: Result<crate::Grant, AcquireError>) -> Result<Grant, AcquireError> {
        acquired.map(|grant| Grant::new(self.1.clone(), grant))
    }

    /// Returns the lock with the owner that is to acquire it.
    fn owned(&self) -> crate::Lock {
        match self.2 {
            Owners::Session => self.0.clone(),
            Owners::OfEachAcquire => self.0.of_another_owner(),
        }
    }
}
