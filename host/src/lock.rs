//! Acquiring: options, waiting, the scoped form.

use std::time::Duration;

use wasmtime::component::ResourceAny;

use crate::clock::Clock;
use crate::engine::bindings::exports::kvlock::lock::mutex as wit;
use crate::engine::convert;
use crate::error::{AcquireError, WithLockError, trap};
use crate::grant::Grant;
use crate::holder::WaitingFor;
use crate::keep::{Keep, Kept};
use crate::session::{Guest, Shared};
use crate::soft::SoftLock;
use crate::store::Ttl;
use crate::wait_log::WaitLog;

/// How long a grant lasts unless renewed, when nobody says otherwise.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// The longest pause between two tries, when nobody says otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(50);

/// How to acquire a lock. Each option has a default that serves: a lease of 30 s, and waiting for ever.
#[derive(Clone)]
#[must_use = "nothing is locked until it is acquired"]
pub struct Lock {
    shared: Shared,
    key: String,
    reentrant: bool,
    lease: Ttl,
    wait: Option<Duration>,
    interval: Duration,
    adopt: bool,
    at_least: Duration,
    ride_out: Option<Duration>,
}

impl Lock {
    pub(crate) fn new(shared: Shared, key: String) -> Self {
        Lock {
            shared,
            key,
            reentrant: false,
            lease: Ttl::After(DEFAULT_LEASE),
            wait: None,
            interval: DEFAULT_INTERVAL,
            adopt: false,
            at_least: Duration::ZERO,
            ride_out: None,
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

    /// Keeps the key taken for this long from the grant on, even if it is released sooner: at most once per period.
    pub fn at_least(mut self, at_least: Duration) -> Self {
        self.at_least = at_least;
        self
    }

    /// How long an outage of the store is ridden out while waiting; without this, as long as the wait. An outage that
    /// the session's first call finds ends the wait at once.
    pub fn ride_out(mut self, longest: Duration) -> Self {
        self.ride_out = Some(longest);
        self
    }

    /// Soft mode: what is to be done is done without the lock when the store is down.
    pub fn soft(self) -> SoftLock {
        SoftLock::new(self)
    }

    /// Acquires the lock, waiting as long as the options allow.
    pub fn acquire(self) -> Result<Grant, AcquireError> {
        let (options, mut waiting) = (self.options(), self.waiting());
        let mut begun = None;
        let polled = waiting.poll(&self.shared, &self.key, |guest| {
            Ok(match guest.try_lock(&self.key, options)? {
                Ok(wit::Tried::Granted(granted)) => wit::Progress::Granted(granted),
                Ok(wit::Tried::Waiting(wit::Waiting { acquisition, pending })) => {
                    begun = Some(acquisition);
                    wit::Progress::Pending(pending)
                }
                Err(error) => wit::Progress::Failed(error),
            })
        });
        if let Some(resource) = begun {
            return Acquisition::new(self.shared, self.key, resource, waiting).block_from(polled);
        }
        match polled? {
            Poll::Ready(grant) => Ok(grant),
            // What is pending brings an acquisition with it; if it did not, another would do.
            Poll::Pending { .. } => self.begin()?.block(),
        }
    }

    /// Tries once, without waiting; none if the lock is busy.
    pub fn try_acquire(self) -> Result<Option<Grant>, AcquireError> {
        match self.wait(Duration::ZERO).acquire() {
            Ok(grant) => Ok(Some(grant)),
            Err(AcquireError::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to acquire, for callers with an event loop. Nothing is sent until the acquisition is polled.
    pub fn begin(self) -> Result<Acquisition, AcquireError> {
        let begun = self.shared.enter().begin(&self.key, self.options());
        match begun {
            Ok(Ok(resource)) => {
                let waiting = self.waiting();
                Ok(Acquisition::new(self.shared, self.key, resource, waiting))
            }
            Ok(Err(error)) => Err(AcquireError::of(&self.key, error)),
            Err(error) => Err(AcquireError::Component { text: trap(&error), key: self.key }),
        }
    }

    fn options(&self) -> wit::LockOptions {
        wit::LockOptions {
            mode: if self.reentrant { wit::Mode::Reentrant } else { wit::Mode::Plain },
            lease: convert::ttl_out(self.lease),
            wait: self.wait.map(nanos),
            interval: nanos(self.interval),
            adopt: self.adopt,
            at_least: nanos(self.at_least),
        }
    }

    fn waiting(&self) -> Waiting {
        // A nested one may be of a lock that was resumed, and be in the name of its first owner.
        let granted = if self.reentrant { Granted::Asked } else { Granted::Own };
        Waiting::new(granted, self.ride_out)
    }

    pub(crate) fn ride_out_by_default(mut self, longest: Duration) -> Self {
        self.ride_out.get_or_insert(longest);
        self
    }

    /// Makes the lock re-entrant or plain.
    pub(crate) fn mode(mut self, reentrant: bool) -> Self {
        self.reentrant = reentrant;
        self
    }

    /// Acquires the lock, runs `work` while a background thread renews the lease, and releases it, also if `work`
    /// panics. `work` may ask its argument whether the lock has been lost.
    pub fn with_lock<T>(self, work: impl FnOnce(&Kept) -> T) -> Result<T, WithLockError<T>> {
        let kept = self.acquire().map_err(WithLockError::Acquire)?.keep(Keep::default());
        let value = work(&kept);
        match kept.release() {
            Ok(_) => Ok(value),
            Err(error) => Err(WithLockError::Release { value, error }),
        }
    }
}

/// A wait in progress. Dropping it ends the wait.
pub struct Acquisition {
    shared: Shared,
    key: String,
    resource: ResourceAny,
    waiting: Waiting,
}

/// How a wait stands.
pub enum Poll {
    /// Not yet: poll again after the pause.
    Pending {
        /// When to poll again; sooner is harmless.
        pause: Duration,
        /// What is waited for.
        waiting_for: WaitingFor,
    },
    /// The lock is held.
    Ready(Grant),
}

/// What is known of a grant before it is asked.
#[derive(Clone, Copy)]
pub(crate) enum Granted {
    /// It is of this key, in this session's name.
    Own,
    /// Nothing.
    Asked,
}

/// What a wait remembers from one poll to the next.
pub(crate) struct Waiting {
    granted: Granted,
    ride_out: Option<Duration>,
    /// Since when the store has not answered, by the clock.
    outage_since: Option<Duration>,
    log: WaitLog,
}

impl Waiting {
    pub(crate) fn new(granted: Granted, ride_out: Option<Duration>) -> Self {
        Waiting { granted, ride_out, outage_since: None, log: WaitLog::default() }
    }

    pub(crate) fn poll(
        &mut self,
        shared: &Shared,
        key: &str,
        call: impl FnOnce(&mut Guest) -> wasmtime::Result<wit::Progress>,
    ) -> Result<Poll, AcquireError> {
        let asked = shared.clock.now();
        let polled = Poll::of(shared, key, self.granted, call).and_then(|poll| self.bear(shared, key, poll));
        match &polled {
            Ok(Poll::Pending { waiting_for, .. }) => self.log.waiting(key, asked, waiting_for),
            Ok(Poll::Ready(grant)) => std::mem::take(&mut self.log).granted(key, &*shared.clock, grant.token()),
            Err(error) => tracing::debug!(key, "not granted: {error}"),
        }
        polled
    }

    /// Gives up if an outage has lasted longer than is to be ridden out.
    fn bear(&mut self, shared: &Shared, key: &str, poll: Poll) -> Result<Poll, AcquireError> {
        let Poll::Pending { waiting_for: WaitingFor::Outage(error), .. } = &poll else {
            self.outage_since = None;
            return Ok(poll);
        };
        let now = shared.clock.now();
        let since = *self.outage_since.get_or_insert(now);
        match self.ride_out {
            Some(longest) if now.saturating_sub(since) >= longest => {
                Err(AcquireError::Store { key: key.to_string(), error: error.clone() })
            }
            _ => Ok(poll),
        }
    }
}

impl Poll {
    fn of(
        shared: &Shared,
        key: &str,
        granted: Granted,
        call: impl FnOnce(&mut Guest) -> wasmtime::Result<wit::Progress>,
    ) -> Result<Self, AcquireError> {
        let component = |error: wasmtime::Error| AcquireError::Component { text: trap(&error), key: key.to_string() };
        let mut guest = shared.enter();
        match call(&mut guest).map_err(component)? {
            wit::Progress::Pending(wit::Pending { pause, waiting_for }) => {
                Ok(Poll::Pending { pause: Duration::from_nanos(pause), waiting_for: waiting_for.into() })
            }
            wit::Progress::Failed(error) => Err(AcquireError::of(key, error)),
            wit::Progress::Granted(told) => match granted {
                Granted::Own => Ok(Poll::Ready(Grant::own(shared, key.to_string(), told))),
                Granted::Asked => Grant::asked(shared, &mut guest, told.grant).map(Poll::Ready).map_err(component),
            },
        }
    }
}

impl Acquisition {
    pub(crate) fn new(shared: Shared, key: String, resource: ResourceAny, waiting: Waiting) -> Self {
        Acquisition { shared, key, resource, waiting }
    }

    /// Goes on as far as it can without sleeping.
    pub fn poll(&mut self) -> Result<Poll, AcquireError> {
        self.waiting.poll(&self.shared, &self.key, |guest| {
            let instance = &mut guest.instance;
            instance.exports.kvlock_lock_mutex().acquisition().call_poll(&mut instance.store, self.resource)
        })
    }

    /// Waits until the lock is held or will not be.
    pub fn block(mut self) -> Result<Grant, AcquireError> {
        let polled = self.poll();
        self.block_from(polled)
    }

    /// Goes on after a poll.
    fn block_from(mut self, polled: Result<Poll, AcquireError>) -> Result<Grant, AcquireError> {
        let (clock, mut polled) = (self.shared.clock.clone(), Some(polled));
        block(&*clock, || polled.take().unwrap_or_else(|| self.poll()))
    }
}

/// Polls until the lock is held or will not be. Other calls of the session go on in the pauses: the instance is only
/// kept while a call lasts.
pub(crate) fn block(
    clock: &dyn Clock,
    mut poll: impl FnMut() -> Result<Poll, AcquireError>,
) -> Result<Grant, AcquireError> {
    loop {
        match poll()? {
            Poll::Ready(grant) => return Ok(grant),
            Poll::Pending { pause, .. } => clock.sleep(pause),
        }
    }
}

impl Drop for Acquisition {
    fn drop(&mut self) {
        // A resource of an instance that trapped cannot be dropped, and need not be.
        let _ = self.resource.resource_drop(&mut self.shared.enter().instance.store);
    }
}

/// As many nanoseconds as the WIT can say; the component refuses what is too long.
fn nanos(duration: Duration) -> u64 {
    convert::nanos(duration)
}

impl From<Duration> for Ttl {
    fn from(length: Duration) -> Self {
        Ttl::After(length)
    }
}
