//! Renewal in the background: it tells when the lock is lost, and it surely stops.

mod keeper;
mod lost;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_lite::future;

use crate::debug::debug_fields;
use crate::error::{AcquireError, GrantError, WithLockError};
use crate::grant::{Grant, Handle, Released};
use crate::now::now;
use crate::status::Ask;
use crate::store::StoreError;
use crate::text::seconds;
use keeper::{Keeper, OnLost, OnWanted};
pub use lost::LostReason;
use shared::{Shared, Until};

/// How to keep a grant.
#[derive(Default)]
pub struct AutoRenew {
    max_hold: Option<Duration>,
    on_lost: Option<OnLost>,
    on_wanted: Option<OnWanted>,
}

/// A grant that is renewed in the background: by a thread of its own, or, for tasks, by those of the client. Dropping it ends the thread, then releases the lock.
#[must_use = "a kept grant that is dropped is released"]
pub struct LockGuard {
    // Dropped first: nothing renews what is being released.
    keeping: Keeping,
    grant: Grant,
}

/// What renews a grant. Dropping it ends that.
struct Keeping {
    handle: Handle,
    shared: Arc<Shared>,
    /// None for tasks, or where there is none.
    thread: Option<JoinHandle<()>>,
}

debug_fields!(AutoRenew, |it| max_hold = it.max_hold);

impl AutoRenew {
    /// Renews for this long at most, counted from now. After that the loss is told while the last lease still runs,
    /// so that there is time to stop.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = Some(max_hold);
        self
    }

    /// Calls this once, from the keeping thread, when the lock is lost. It waits for a renewal under way, so that where
    /// the store does not answer it may come after the lease is over; [`LockGuard::lost`] and [`LockGuard::valid_for`]
    /// do not wait. The grant may be dropped or released in it; a thread that drops the grant elsewhere meanwhile waits
    /// for it.
    pub fn on_lost(mut self, on_lost: impl FnOnce(&LostReason) + Send + 'static) -> Self {
        self.on_lost = Some(Box::new(on_lost));
        self
    }

    /// Calls this once for each time that somebody [asks](crate::asking) for the lock, from the keeping thread: nothing
    /// is renewed until it returns. The holder need not give the lock back.
    pub fn on_wanted(mut self, on_wanted: impl FnMut(&Ask) + Send + 'static) -> Self {
        self.on_wanted = Some(Box::new(on_wanted));
        self
    }
}

impl Grant {
    /// Renews the grant in the background from now on.
    pub fn auto_renew(self, options: AutoRenew) -> LockGuard {
        now(LockGuard::new(self, options))
    }
}

/// Runs `work` while what was acquired is renewed, and releases it; a panic of the work releases it as well.
pub(crate) fn with_guard<T>(
    acquired: Result<Grant, AcquireError>,
    work: impl FnOnce(&LockGuard) -> T,
) -> Result<T, WithLockError<T>> {
    let guard = acquired.map_err(WithLockError::Acquire)?.auto_renew(AutoRenew::default());
    let value = guard.handle().hold.span().within_here(|| work(&guard));
    match guard.release() {
        Ok(_) => Ok(value),
        Err(error) => Err(WithLockError::Release { value, error }),
    }
}

impl LockGuard {
    pub(crate) async fn new(mut grant: Grant, options: AutoRenew) -> Self {
        grant.share_hold();
        let handle = grant.handle();
        let clock = handle.owner.clock().clone();
        let shared = Arc::new(Shared::new(clock));
        shared.note_validity(handle).await;
        let keeper = Keeper {
            handle: handle.clone(),
            shared: shared.clone(),
            end: options.max_hold.map(|longest| shared.clock.now().saturating_add(longest)),
        };
        let thread = match handle.owner.tasks() {
            Some(tasks) => {
                tasks.runner().spawn(keeper.run(options.on_lost, options.on_wanted));
                None
            }
            None => keeper.begin_thread(options.on_lost, options.on_wanted),
        };
        LockGuard { keeping: Keeping { handle: handle.clone(), shared, thread }, grant }
    }

    /// Returns the key.
    pub fn key(&self) -> &str {
        self.grant.key()
    }

    /// Returns which permit it is, counted from 0, if it is one of a semaphore.
    pub fn permit(&self) -> Option<u32> {
        self.grant.permit()
    }

    /// Returns the owner's name.
    pub fn owner(&self) -> &str {
        self.grant.owner()
    }

    /// Returns all keys with their fencing tokens: see [`Grant::tokens`].
    pub fn tokens(&self) -> impl Iterator<Item = (&str, u64)> {
        self.grant.tokens()
    }

    /// Returns the fencing token of one of its keys: see [`Grant::token_of`].
    pub fn token_of(&self, key: &str) -> Option<u64> {
        self.grant.token_of(key)
    }

    /// Returns the fencing token: see [`Grant::token`].
    pub fn token(&self) -> u64 {
        self.grant.token()
    }

    /// Returns why the lock is lost; none while it is held.
    pub fn lost(&self) -> Option<LostReason> {
        self.keeping.told().map_or(Some(LostReason::Forked), Shared::lost)
    }

    /// Returns the key that is lost, as far as the store has told which; otherwise the first. Several keys are lost as one.
    pub fn lost_key(&self) -> String {
        let told = self.keeping.told().and_then(|shared| shared.lock().lost_key.clone());
        told.unwrap_or_else(|| self.key().to_string())
    }

    /// Returns what the calls of the grant go through.
    pub(crate) fn handle(&self) -> &Handle {
        self.grant.handle()
    }

    /// Waits until the lock is lost, and returns why.
    pub(crate) async fn when_lost(&self) -> LostReason {
        match self.keeping.told() {
            Some(shared) => shared.when_lost().await,
            None => LostReason::Forked,
        }
    }

    /// Returns who [asks](crate::asking) for the lock, if somebody does: the latest, as of the last renewal. Does not wait.
    /// It is heard by that, and the holder need not do more.
    pub fn wanted(&self) -> Option<Ask> {
        self.keeping.told()?.lock().wanted.clone()
    }

    /// Waits until somebody asks for the lock.
    pub(crate) async fn when_wanted(&self) -> Ask {
        match self.keeping.told() {
            Some(shared) => shared.when_wanted().await,
            None => future::pending().await,
        }
    }

    /// Returns why the last renewal failed; none if it did not.
    pub fn failure(&self) -> Option<StoreError> {
        self.keeping.told()?.lock().failure.clone()
    }

    /// Returns how long the lock is surely held; none if without end. Does not wait for a renewal under way.
    pub fn valid_for(&self) -> Option<Duration> {
        let Some(shared) = self.keeping.told() else { return Some(Duration::ZERO) };
        let state = shared.lock();
        match (&state.lost, state.until) {
            (Some(LostReason::MaxHold) | None, Until::At(deadline)) => {
                Some(deadline.saturating_sub(shared.clock.now()))
            }
            (Some(LostReason::MaxHold) | None, Until::Released) => None,
            (Some(_), _) | (None, Until::Unconfirmed) => Some(Duration::ZERO),
        }
    }

    /// Gives up the minimum hold of the lock: see [`Grant::waive_minimum`].
    pub fn waive_minimum(&self) -> Result<(), GrantError> {
        self.grant.waive_minimum()
    }

    /// Stops renewing and gives the lock back; tells if it had been lost.
    pub fn release(self) -> Result<Released, GrantError> {
        now(self.give_back())
    }

    /// Does what [`release`](Self::release) does.
    pub(crate) async fn give_back(self) -> Result<Released, GrantError> {
        if self.keeping.told().is_none() {
            return Err(GrantError::Lost { key: self.grant.key().to_string(), holder: None });
        }
        let LockGuard { keeping, grant } = self;
        // The thread ends while the lock is given back.
        keeping.tell_to_stop();
        grant.give_back().await
    }

    /// Stops renewing.
    pub fn stop(self) -> Grant {
        let LockGuard { keeping, grant } = self;
        drop(keeping);
        grant
    }
}

impl Keeping {
    /// Returns what the thread has told. A fork has neither that thread nor the lock: its parent has them.
    fn told(&self) -> Option<&Shared> {
        self.handle.owner.is_own_process().then_some(&*self.shared)
    }

    fn tell_to_stop(&self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify(usize::MAX);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if self.told().is_none() {
            // To detach a thread that a fork does not have is undefined.
            std::mem::forget(self.thread.take());
            return;
        }
        self.tell_to_stop();
        // Not if it is dropped by the callback.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!(key = &*self.handle.key, "the renewing thread panicked");
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid = self.valid_for().map_or_else(|| "for ever".to_string(), seconds);
        write!(f, "LockGuard({} valid {valid})", self.key())
    }
}
