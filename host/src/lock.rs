//! Acquiring: options, waiting, the scoped form.

use std::sync::Arc;
use std::time::Duration;

pub use crate::acquire::{AcquirePoll, Acquisition, DEFAULT_INTERVAL, DEFAULT_LEASE};
use crate::acquire::{Acquiring, WaitOptions, or_busy, wait_setters};
use crate::component::{LockMode, LockTerms, What};
use crate::debug::debug_fields;
use crate::error::{AcquireError, WithLockError};
use crate::grant::Grant;
use crate::now::now;
use crate::owner::Owner;
use crate::renewal::{LockGuard, with_guard};

/// A lock, and how to acquire it: as often as wanted, by one grant after the other. Each option has a default that
/// serves: a lease of 30 s, and waiting for ever. It may be of several keys at once: see
/// [`Client::lock_all`](crate::Client::lock_all).
#[derive(Clone)]
#[must_use = "nothing is locked until it is acquired"]
pub struct Lock {
    owner: Owner,
    key: Arc<str>,
    /// All keys, if they are several; the first is `key`.
    several: Option<Arc<[Arc<str>]>>,
    options: WaitOptions,
    terms: LockTerms,
}

debug_fields!(Lock, |it| key = it.key, lease = it.options.lease, wait = it.options.wait);

impl Lock {
    pub(crate) fn new(owner: Owner, key: Arc<str>) -> Self {
        let terms = LockTerms { mode: LockMode::Plain, adopt: false, at_least: Duration::ZERO };
        Lock { owner, key, several: None, options: WaitOptions::default(), terms }
    }

    /// Returns a lock of several keys.
    pub(crate) fn of_all<K: AsRef<str>>(owner: Owner, keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Arc<[Arc<str>]> = keys.into_iter().map(|key| key.as_ref().into()).collect();
        let is_one = |first: &Arc<str>| keys.iter().all(|key| key == first);
        match keys.first() {
            Some(first) if is_one(first) => Lock::new(owner, first.clone()),
            first => {
                let key = first.map_or_else(|| "".into(), Arc::clone);
                Lock { several: Some(keys), ..Lock::new(owner, key) }
            }
        }
    }

    wait_setters! {
        /// Sets how long the grant lasts unless renewed: 1 ms to a year. `Ttl::Forever` makes a lock that a crashed
        /// holder leaves behind until somebody breaks it.
        lease
        /// Sets how long to wait at most, the time in calls included; zero tries once.
        wait
        /// Sets the longest pause between two tries: 1 ms to an hour.
        interval
        /// Sets what the lock is held for, for people who look: one line of 1 to 255 bytes without control characters.
        /// Everybody that reads the store can read it. It stays until the last release: a nested acquire does not change
        /// it, a hand-over does.
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let client = kvlock::Client::connect("memory:")?;
        /// let grant = client.lock("report").note("the yearly report, asked for by Ada").acquire()?;
        /// let status = client.session().open()?.status("report")?;
        /// assert_eq!(status.state.holder().unwrap().note.as_deref(), Some("the yearly report, asked for by Ada"));
        /// # grant.release()?;
        /// # Ok(())
        /// # }
        /// ```
        note
        /// Sets how long to ride out an outage of the store while waiting; zero: not at all. Without this, an outage is
        /// ridden out as long as the wait lasts, from the first try on.
        ride_out
    }

    /// Lets the session hold the lock several times; only the outermost release frees it.
    pub fn reentrant(mut self) -> Self {
        self.terms.mode = LockMode::Reentrant;
        self
    }

    /// Shares the lock: any number of readers have it at once, and nobody else has. Readers that come later wait behind
    /// one that waits to have the lock alone. Neither re-entrancy, [`adopt`](Self::adopt) nor
    /// [`at_least`](Self::at_least) is possible.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = kvlock::Client::connect("memory:")?;
    /// let (one, other) = (client.session().open()?, client.session().open()?);
    /// let reading = one.lock("report").shared().acquire()?;
    /// let reading_too = other.lock("report").shared().acquire()?;
    /// assert!(client.lock("report").try_acquire()?.is_none());
    /// reading.release()?;
    /// reading_too.release()?;
    /// let writing = client.lock("report").acquire()?;
    /// # writing.release()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared(mut self) -> Self {
        self.terms.mode = LockMode::Shared;
        self
    }

    /// Takes the lock over from another session of the same owner name: for a restarted worker. That session learns
    /// that it lost the lock.
    pub fn adopt(mut self) -> Self {
        self.terms.adopt = true;
        self
    }

    /// Keeps the key taken for this long from the grant on, even if it is released sooner: at most once per period. A
    /// store that has been watched for less grants nothing to such a request, unless a quarantine is set. Work that did
    /// not happen gives it back whole: see [`Grant::waive_minimum`].
    pub fn at_least(mut self, at_least: Duration) -> Self {
        self.terms.at_least = at_least;
        self
    }

    /// Ends the wait at once, as [`AcquireError::Busy`], while the store is in quarantine: for a caller that goes on
    /// without the lock then.
    pub fn give_up_in_quarantine(mut self) -> Self {
        self.options.ride_out.end_in_quarantine();
        self
    }

    /// Acquires the lock, waiting as long as the options allow.
    pub fn acquire(&self) -> Result<Grant, AcquireError> {
        now(self.waiting().wait())
    }

    /// Tries once, without waiting. Returns none if the lock is busy.
    pub fn try_acquire(&self) -> Result<Option<Grant>, AcquireError> {
        or_busy(now(self.waiting_once().wait()))
    }

    /// Begins to acquire, for callers that wait for several things at once. Nothing is sent until the acquisition is
    /// polled. A poll blocks for as long as the store takes to answer, up to its timeouts.
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
        let what = match &self.several {
            None => What::Lock(self.terms),
            Some(keys) => What::Several(keys.clone(), self.terms),
        };
        Acquiring::new(self.owner.clone(), self.key.clone(), options, what)
    }

    /// Returns the same for another owner with the same options.
    pub(crate) fn of_another_owner(&self) -> Self {
        let mut other = self.clone();
        other.owner = self.owner.another();
        other
    }

    /// Returns the owner that locks.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn ride_out_softly(mut self, moment: Duration) -> Self {
        self.options.ride_out.set_soft(moment);
        self
    }

    /// Sets all that a wait has.
    pub(crate) fn with(mut self, options: WaitOptions) -> Self {
        self.options = options;
        self
    }

    /// Makes the lock re-entrant or plain.
    pub(crate) fn mode(mut self, reentrant: bool) -> Self {
        self.terms.mode = if reentrant { LockMode::Reentrant } else { LockMode::Plain };
        self
    }

    /// Acquires the lock, runs `work` while a background thread renews the lease, and releases it, also if `work`
    /// panics. `work` may ask its argument whether the lock has been lost.
    pub fn with_lock<T>(&self, work: impl FnOnce(&LockGuard) -> T) -> Result<T, WithLockError<T>> {
        with_guard(self.acquire(), work)
    }
}
