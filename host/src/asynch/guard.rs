//! Locks held by tasks, and renewed in the background.

use std::sync::Arc;
use std::time::Duration;

use crate::debug::debug_fields;
use crate::error::{AcquireError, GrantError, WithLockError};
use crate::events::Span;
use crate::grant::Released;
use crate::owner::Tasks;
use crate::renewal::{AutoRenew, LostReason};
use crate::status::Ask;
use crate::store::StoreError;

use super::grant::Grant;

/// A grant that the client's threads renew: see [`crate::LockGuard`]. Dropping it ends that, and releases the lock in
/// the background.
#[must_use = "a kept grant that is dropped is released"]
pub struct LockGuard {
    guard: crate::LockGuard,
    tasks: Arc<Tasks>,
}

debug_fields!(LockGuard, |it| guard = it.guard);

impl Grant {
    /// Renews the grant in the background from now on.
    pub async fn auto_renew(self, options: AutoRenew) -> LockGuard {
        let (grant, tasks) = self.into_parts();
        let owner = grant.handle().owner.clone();
        let guard = owner.run(&tasks, Box::pin(crate::LockGuard::new(grant, options))).await;
        LockGuard { guard, tasks }
    }
}

impl LockGuard {
    pub(super) fn new(tasks: Arc<Tasks>, guard: crate::LockGuard) -> Self {
        LockGuard { guard, tasks }
    }

    /// Returns the span in which that runs which is done under the lock.
    pub(super) fn hold_span(&self) -> Span {
        self.guard.handle().hold.span()
    }

    /// Returns the key.
    pub fn key(&self) -> &str {
        self.guard.key()
    }

    /// Returns which permit it is, counted from 0, if it is one of a semaphore.
    pub fn permit(&self) -> Option<u32> {
        self.guard.permit()
    }

    /// Returns the owner's name.
    pub fn owner(&self) -> &str {
        self.guard.owner()
    }

    /// Returns all keys with their fencing tokens: see [`crate::Grant::tokens`].
    pub fn tokens(&self) -> impl Iterator<Item = (&str, u64)> {
        self.guard.tokens()
    }

    /// Returns the fencing token of one of its keys: see [`crate::Grant::token_of`].
    pub fn token_of(&self, key: &str) -> Option<u64> {
        self.guard.token_of(key)
    }

    /// Returns the fencing token: see [`crate::Grant::token`].
    pub fn token(&self) -> u64 {
        self.guard.token()
    }

    /// Waits until the lock is lost, and returns why: to be awaited beside the work, as by `select!`. To drop the future
    /// changes nothing.
    pub async fn lost(&self) -> LostReason {
        self.guard.when_lost().await
    }

    /// Returns why the lock is lost; none while it is held. Does not wait.
    pub fn loss(&self) -> Option<LostReason> {
        self.guard.lost()
    }

    /// Waits until somebody [asks](crate::asking) for the lock, and returns who: to be awaited beside the work, as by
    /// `select!`. It is told at the next renewal. If nobody asks, it waits for ever.
    pub async fn wanted(&self) -> Ask {
        self.guard.when_wanted().await
    }

    /// Returns who asks for the lock, if somebody does: see [`crate::LockGuard::wanted`]. Does not wait.
    pub fn ask(&self) -> Option<Ask> {
        self.guard.wanted()
    }

    /// Returns why the last renewal failed; none if it did not.
    pub fn failure(&self) -> Option<StoreError> {
        self.guard.failure()
    }

    /// Returns how long the lock is surely held; none if without end.
    pub fn valid_for(&self) -> Option<Duration> {
        self.guard.valid_for()
    }

    /// Gives up the minimum hold of the lock: see [`crate::Grant::waive_minimum`].
    ///
    /// # Errors
    ///
    /// If the component failed.
    pub async fn waive_minimum(&self) -> Result<(), GrantError> {
        let handle = self.guard.handle().clone();
        handle.owner.clone().run(&self.tasks, Box::pin(async move { handle.waive_minimum().await })).await
    }

    /// Stops renewing and gives the lock back; tells if it had been lost.
    ///
    /// # Errors
    ///
    /// As [`crate::LockGuard::release`].
    pub async fn release(self) -> Result<Released, GrantError> {
        let LockGuard { guard, tasks } = self;
        let owner = guard.handle().owner.clone();
        owner.run(&tasks, Box::pin(guard.give_back())).await
    }

    /// Stops renewing.
    pub fn stop(self) -> Grant {
        let LockGuard { guard, tasks } = self;
        Grant::new(tasks, guard.stop())
    }
}

/// Runs `work` while what was acquired is renewed, and releases it.
pub(super) async fn with_guard<T>(
    acquired: Result<Grant, AcquireError>,
    work: impl AsyncFnOnce(&LockGuard) -> T,
) -> Result<T, WithLockError<T>> {
    let guard = acquired.map_err(WithLockError::Acquire)?.auto_renew(AutoRenew::default()).await;
    let value = guard.hold_span().within(work(&guard)).await;
    match guard.release().await {
        Ok(_) => Ok(value),
        Err(error) => Err(WithLockError::Release { value, error }),
    }
}
