//! Acquiring a permit: options, waiting, the scoped form.

use std::sync::Arc;

use crate::acquire::{Acquiring, Acquisition, WaitOptions, or_busy, wait_setters};
use crate::component::What;
use crate::debug::debug_fields;
use crate::error::{AcquireError, WithLockError};
use crate::grant::Grant;
use crate::now::now;
use crate::owner::Owner;
use crate::renewal::{LockGuard, with_guard};

/// How to acquire a permit of a semaphore. Each option has a default that serves: a lease of 30 s, and waiting for
/// ever.
#[derive(Clone)]
#[must_use = "nothing is held until it is acquired"]
pub struct PermitRequest {
    owner: Owner,
    name: Arc<str>,
    options: WaitOptions,
}

debug_fields!(PermitRequest, |it| semaphore = it.name, lease = it.options.lease, wait = it.options.wait);

impl PermitRequest {
    pub(crate) fn new(owner: Owner, name: Arc<str>) -> Self {
        PermitRequest { owner, name, options: WaitOptions::default() }
    }

    wait_setters! {
        /// Sets how long the permit is held unless renewed: 1 ms to a year. With `Ttl::Forever` the permit of a holder
        /// that crashed stays taken until somebody breaks it.
        lease
        /// Sets how long to wait at most, the time in calls included; zero tries once.
        wait
        /// Sets the longest pause between two tries: 1 ms to an hour.
        interval
        /// Sets what the permit is held for: see [`Lock::note`](crate::Lock::note).
        note
        /// Sets how long to ride out an outage of the store: see [`Lock::ride_out`](crate::Lock::ride_out).
        ride_out
    }

    /// Acquires a permit, waiting as long as the options allow.
    pub fn acquire(&self) -> Result<Grant, AcquireError> {
        now(self.waiting().wait())
    }

    /// Tries once, without waiting. Returns none if all permits are held.
    pub fn try_acquire(&self) -> Result<Option<Grant>, AcquireError> {
        or_busy(now(self.waiting_once().wait()))
    }

    /// Begins to acquire: see [`Lock::begin`](crate::Lock::begin).
    pub fn begin(&self) -> Result<Acquisition, AcquireError> {
        Acquisition::begin(self.waiting())
    }

    /// Begins to wait as the options say.
    pub(crate) fn waiting(&self) -> Acquiring {
        self.waiting_as(self.options.clone())
    }

    /// Begins to try once.
    pub(crate) fn waiting_once(&self) -> Acquiring {
        self.waiting_as(self.options.once())
    }

    fn waiting_as(&self, options: WaitOptions) -> Acquiring {
        Acquiring::new(self.owner.clone(), self.name.clone(), options, What::Permit)
    }

    /// Returns the same for another owner with the same options.
    pub(crate) fn of_another_owner(&self) -> Self {
        let mut other = self.clone();
        other.owner = self.owner.another();
        other
    }

    /// Acquires a permit, runs `work` while a background thread renews the lease, and releases it, also if `work`
    /// panics. `work` may ask its argument whether the permit has been lost.
    pub fn with_permit<T>(&self, work: impl FnOnce(&LockGuard) -> T) -> Result<T, WithLockError<T>> {
        with_guard(self.acquire(), work)
    }
}
