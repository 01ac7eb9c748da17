//! Acquiring: options, waiting, the scoped form.

use std::sync::Arc;
use std::time::Duration;

use crate::acquire::Acquiring;
pub use crate::acquire::{AcquirePoll, Acquisition, DEFAULT_INTERVAL, DEFAULT_LEASE};
use crate::component::{LockTerms, Target, What};
use crate::debug::debug_fields;
use crate::error::{AcquireError, WithLockError};
use crate::grant::Grant;
use crate::owner::Owner;
use crate::renewal::{AutoRenew, LockGuard};
use crate::ride_out::RideOut;
use crate::store::Ttl;

/// A lock, and how to acquire it: as often as wanted, by one grant after the other. Each option has a default that
/// serves: a lease of 30 s, and waiting for ever.
#[derive(Clone)]
#[must_use = "nothing is locked until it is acquired"]
pub struct Lock {
    owner: Owner,
    key: Arc<str>,
    reentrant: bool,
    lease: Ttl,
    wait: Option<Duration>,
    interval: Duration,
    adopt: bool,
    at_least: Duration,
    ride_out: RideOut,
}

debug_fields!(Lock, |it| key = it.key, lease = it.lease, wait = it.wait);

impl Lock {
    pub(crate) fn new(owner: Owner, key: Arc<str>) -> Self {
        Lock {
            owner,
            key,
            reentrant: false,
            lease: Ttl::After(DEFAULT_LEASE),
            wait: None,
            interval: DEFAULT_INTERVAL,
            adopt: false,
            at_least: Duration::ZERO,
            ride_out: RideOut::default(),
        }
    }

    /// How long the grant lasts unless renewed: 1 ms to a year. `Ttl::Forever` makes a lock that a crashed holder
    /// leaves behind until somebody breaks it.
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

    /// Lets the session hold the lock several times; only the outermost release frees it.
    pub fn reentrant(mut self) -> Self {
        self.reentrant = true;
        self
    }

    /// Takes the lock over from another session of the same owner name: for a restarted worker. That session learns
    /// that it lost the lock.
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Keeps the key taken for this long from the grant on, even if it is released sooner: at most once per period. A
    /// store that has been watched for less grants nothing to whoever asks so, unless a quarantine is set. Work that did
    /// not happen gives it back whole: see [`Grant::waive_minimum`].
    pub fn at_least(mut self, at_least: Duration) -> Self {
        self.at_least = at_least;
        self
    }

    /// How long an outage of the store is ridden out while waiting; zero: not at all. Without this, as long as the wait
    /// lasts, from the first try on.
    pub fn ride_out(mut self, longest: Duration) -> Self {
        self.ride_out.set(longest);
        self
    }

    /// How long an outage is ridden out that the session's first call finds; otherwise as [`ride_out`](Self::ride_out)
    /// says, which is to be called before this.
    pub fn ride_out_first(mut self, longest: Duration) -> Self {
        self.ride_out.set_first(longest);
        self
    }

    /// Ends the wait at once, as [`AcquireError::Busy`], while the store is in quarantine: for who goes on without the
    /// lock then.
    pub fn give_up_in_quarantine(mut self) -> Self {
        self.ride_out.end_in_quarantine();
        self
    }

    /// Acquires the lock, waiting as long as the options allow.
    pub fn acquire(&self) -> Result<Grant, AcquireError> {
        self.waiting(self.wait).block()
    }

    /// Tries once, without waiting. Returns none if the lock is busy.
    pub fn try_acquire(&self) -> Result<Option<Grant>, AcquireError> {
        match self.waiting(Some(Duration::ZERO)).block() {
            Ok(grant) => Ok(Some(grant)),
            Err(AcquireError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to acquire, for callers that wait for several things at once. Nothing is sent until the acquisition is
    /// polled. A poll blocks for as long as the store takes to answer, up to its timeouts.
    pub fn begin(&self) -> Result<Acquisition, AcquireError> {
        Acquisition::begin(self.waiting(self.wait))
    }

    fn waiting(&self, wait: Option<Duration>) -> Acquiring {
        let Lock { reentrant, lease, interval, adopt, at_least, ride_out, .. } = *self;
        let what = What::Lock(LockTerms { reentrant, adopt, at_least });
        let target = Target { lease, wait, interval, what };
        Acquiring::new(self.owner.clone(), self.key.clone(), target, ride_out)
    }

    /// The owner that locks.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn ride_out_softly(mut self, moment: Duration) -> Self {
        self.ride_out.set_soft(moment);
        self
    }

    /// Makes the lock re-entrant or plain.
    pub(crate) fn mode(mut self, reentrant: bool) -> Self {
        self.reentrant = reentrant;
        self
    }

    /// Acquires the lock, runs `work` while a background thread renews the lease, and releases it, also if `work`
    /// panics. `work` may ask its argument whether the lock has been lost.
    pub fn with_lock<T>(&self, work: impl FnOnce(&LockGuard) -> T) -> Result<T, WithLockError<T>> {
        let kept = self.acquire().map_err(WithLockError::Acquire)?.auto_renew(AutoRenew::default());
        let value = work(&kept);
        match kept.release() {
            Ok(_) => Ok(value),
            Err(error) => Err(WithLockError::Release { value, error }),
        }
    }
}
