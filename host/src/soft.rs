//! Soft mode: what is to be done is done, with the lock where there is one to have, without it when the store is down or
//! in quarantine.

use std::time::Duration;

use crate::debug::debug_fields;
use crate::error::{AcquireError, GrantError, WithLockError};
use crate::grant::Grant;
use crate::holder::WaitingFor;
use crate::lock::Lock;
use crate::now::now;
use crate::owner::Owner;
use crate::renewal::{AutoRenew, LockGuard, LostReason};
use crate::store::StoreError;

/// How long soft mode rides out an outage of a store that had answered, unless set: a lost connection alone is no
/// outage.
pub const SOFT_PATIENCE: Duration = Duration::from_secs(1);

/// A lock to be had if there is a store to have it in: see [`Lock::soft`].
///
/// It is for work that is better done twice at a time than not at all, such as work whose data has a concurrency
/// control of its own. Only an outage ([`StoreError::is_outage`]) and the quarantine after a loss make it go on without
/// the lock, and the log tells each time. A busy lock, a store that refuses and a record that is not ours are errors as
/// ever.
///
/// ```
/// use kvlock::{soft::SoftGuard, store::Memory, Client};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Memory::default();
/// let session = Client::with_store(store.clone()).session().open()?;
/// store.down();
/// let guarded = session.lock("report").soft().with_lock(|guard| match guard {
///     SoftGuard::Locked(kept) => { println!("fencing token {}", kept.token()); true }
///     SoftGuard::Outage(error) => { println!("nobody keeps others away: {error}"); false }
///     _ => false,
/// })?;
/// assert!(!guarded);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is locked until it is acquired"]
pub struct SoftLock {
    lock: Lock,
}

/// What a piece of work runs under.
#[derive(Debug)]
#[non_exhaustive]
pub enum SoftGuard {
    /// The lock, which is renewed in the background.
    Locked(Box<LockGuard>),
    /// Nothing: the store is down, and soft mode was chosen.
    Outage(StoreError),
    /// Nothing: the store lost its contents, grants nothing for this much longer, and soft mode was chosen.
    Quarantine(Duration),
    /// Nothing: the call needs no lock, says the function that gives its key.
    Skipped,
}

debug_fields!(SoftLock, |it| lock = it.lock);

impl Lock {
    /// Goes on without the lock when the store is down or in quarantine.
    pub fn soft(self) -> SoftLock {
        SoftLock { lock: self.ride_out_softly(SOFT_PATIENCE) }
    }
}

impl SoftLock {
    /// Acquires the lock and renews it in the background, or tells that the store is down.
    pub fn acquire(&self) -> Result<SoftGuard, AcquireError> {
        match self.lock.acquire() {
            Ok(grant) => Ok(SoftGuard::of(grant)),
            Err(AcquireError::Store { key, error }) if error.is_outage() => {
                tracing::warn!(key, "goes on without the lock: {error:#}");
                Ok(SoftGuard::Outage(error))
            }
            Err(AcquireError::Busy { key, waiting_for: waiting_for @ WaitingFor::Quarantine(left), .. }) => {
                tracing::warn!(key, "goes on without the lock: {waiting_for}");
                Ok(SoftGuard::Quarantine(left))
            }
            Err(error) => Err(error),
        }
    }

    /// Runs `work` as [`Lock::with_lock`] does, and without the lock if the store is down or in quarantine. An outage
    /// or a loss of everything that begins while `work` runs is no error; that somebody else got the lock meanwhile is.
    pub fn with_lock<T>(&self, work: impl FnOnce(&SoftGuard) -> T) -> Result<T, WithLockError<T>> {
        let owner = self.lock.owner().clone();
        let key = self.lock.key().to_string();
        // What failed is in the log.
        let guard = self.acquire().map_err(WithLockError::Acquire)?;
        guard.run(work, |loss, error| is_outage(loss, error) || is_loss_of_all(&owner, &key, error))
    }
}

impl SoftGuard {
    /// Returns the lock of a grant, renewed from now on.
    pub(crate) fn of(grant: Grant) -> Self {
        SoftGuard::Locked(Box::new(grant.auto_renew(AutoRenew::default())))
    }

    /// Returns the grant; none if the work runs without a lock.
    pub fn lock_guard(&self) -> Option<&LockGuard> {
        match self {
            SoftGuard::Locked(kept) => Some(kept),
            SoftGuard::Outage(_) | SoftGuard::Quarantine(_) | SoftGuard::Skipped => None,
        }
    }

    /// Returns the fencing token, to be sent along with every change; none if the work runs without a lock.
    pub fn token(&self) -> Option<u64> {
        self.lock_guard().map(LockGuard::token)
    }

    /// Returns why the lock is lost; none while it is held, or where there is none.
    pub fn lost(&self) -> Option<LostReason> {
        self.lock_guard().and_then(LockGuard::lost)
    }

    /// Gives the lock back, if there is one.
    pub fn release(self) -> Result<(), GrantError> {
        match self {
            SoftGuard::Locked(kept) => kept.release().map(|_| ()),
            SoftGuard::Outage(_) | SoftGuard::Quarantine(_) | SoftGuard::Skipped => Ok(()),
        }
    }

    /// Runs `work`, and gives the lock back, also if it panics. A failure of that is told, unless it is of the kind
    /// that does not matter.
    pub(crate) fn run<T>(
        self,
        work: impl FnOnce(&SoftGuard) -> T,
        does_not_matter: impl FnOnce(Option<&LostReason>, &GrantError) -> bool,
    ) -> Result<T, WithLockError<T>> {
        let work = || work(&self);
        let value = match self.lock_guard() {
            Some(kept) => kept.handle().hold.span().within_here(work),
            None => work(),
        };
        let loss = self.lost();
        match self.release() {
            Err(error) if !does_not_matter(loss.as_ref(), &error) => Err(WithLockError::Release { value, error }),
            _ => Ok(value),
        }
    }
}

/// Returns true if a release failed because the store lost everything a short while ago: nobody has got the lock since.
pub(crate) fn is_loss_of_all(owner: &Owner, key: &str, error: &GrantError) -> bool {
    let is_lost = matches!(error, GrantError::Lost { holder: None, .. });
    is_lost && now(owner.here().status(key)).is_ok_and(|status| status.quarantine.is_some())
}

/// Returns true if a release failed for an outage: of this moment, or of earlier, when the lease ended for want of
/// renewal.
pub(crate) fn is_outage(loss: Option<&LostReason>, error: &GrantError) -> bool {
    match error {
        GrantError::Store { error, .. } => error.is_outage(),
        GrantError::Lost { holder: None, .. } => loss.and_then(LostReason::outage).is_some(),
        _ => false,
    }
}
