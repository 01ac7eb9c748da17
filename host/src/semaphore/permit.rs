//! Acquiring a permit: options, waiting, the scoped form.

use std::sync::Arc;
use std::time::Duration;

use crate::acquire::Acquiring;
use crate::component::{Target, What};
use crate::debug::debug_fields;
use crate::error::{AcquireError, WithLockError};
use crate::grant::Grant;
use crate::lock::{Acquisition, DEFAULT_INTERVAL, DEFAULT_LEASE};
use crate::owner::Owner;
use crate::renewal::{AutoRenew, LockGuard};
use crate::ride_out::RideOut;
use crate::store::Ttl;

/// How to acquire a permit of a semaphore. Each option has a default that serves: a lease of 30 s, and waiting for
/// ever.
#[derive(Clone)]
#[must_use = "nothing is held until it is acquired"]
pub struct PermitRequest {
    owner: Owner,
    name: Arc<str>,
    lease: Ttl,
    wait: Option<Duration>,
    interval: Duration,
    ride_out: RideOut,
}

debug_fields!(PermitRequest, |it| semaphore = it.name, lease = it.lease, wait = it.wait);

impl PermitRequest {
    pub(crate) fn new(owner: Owner, name: Arc<str>) -> Self {
        let (lease, ride_out) = (Ttl::After(DEFAULT_LEASE), RideOut::default());
        PermitRequest { owner, name, lease, wait: None, interval: DEFAULT_INTERVAL, ride_out }
    }

    /// How long the permit is held unless renewed: 1 ms to a year. With `Ttl::Forever` the permit of a holder that
    /// crashed stays taken until somebody breaks it.
    pub fn lease(mut self, lease: impl Into<Ttl>) -> Self {
        self.lease = lease.into();
        self
    }

    /// How long to wait at most, the time in calls included; zero tries once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// The longest pause between two tries: 1 ms to an hour.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long an outage of the store is ridden out while waiting: see [`Lock::ride_out`](crate::Lock::ride_out).
    pub fn ride_out(mut self, longest: Duration) -> Self {
        self.ride_out.set(longest);
        self
    }

    /// How long an outage is ridden out that the session's first call finds; see
    /// [`Lock::ride_out_first`](crate::Lock::ride_out_first).
    pub fn ride_out_first(mut self, longest: Duration) -> Self {
        self.ride_out.set_first(longest);
        self
    }

    /// Acquires a permit, waiting as long as the options allow.
    pub fn acquire(&self) -> Result<Grant, AcquireError> {
        self.waiting(self.wait).block()
    }

    /// Tries once, without waiting. Returns none if all permits are held.
    pub fn try_acquire(&self) -> Result<Option<Grant>, AcquireError> {
        match self.waiting(Some(Duration::ZERO)).block() {
            Ok(grant) => Ok(Some(grant)),
            Err(AcquireError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to acquire: see [`Lock::begin`](crate::Lock::begin).
    pub fn begin(&self) -> Result<Acquisition, AcquireError> {
        Acquisition::begin(self.waiting(self.wait))
    }

    fn waiting(&self, wait: Option<Duration>) -> Acquiring {
        let target = Target { lease: self.lease, wait, interval: self.interval, what: What::Permit };
        Acquiring::new(self.owner.clone(), self.name.clone(), target, self.ride_out)
    }

    /// Acquires a permit, runs `work` while a background thread renews the lease, and releases it, also if `work`
    /// panics. `work` may ask its argument whether the permit has been lost.
    pub fn with_permit<T>(&self, work: impl FnOnce(&LockGuard) -> T) -> Result<T, WithLockError<T>> {
        let kept = self.acquire().map_err(WithLockError::Acquire)?.auto_renew(AutoRenew::default());
        let value = work(&kept);
        match kept.release() {
            Ok(_) => Ok(value),
            Err(error) => Err(WithLockError::Release { value, error }),
        }
    }
}
