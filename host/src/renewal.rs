//! Renewal in the background: it tells when the lock is lost, and it surely stops.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_io::Timer;
use event_listener::{Event, Listener};
use futures_lite::future;

use crate::clock::Clock;
use crate::debug::debug_fields;
use crate::environment::Callers;
use crate::error::{AcquireError, ComponentError, GrantError, WithLockError};
use crate::grant::{Grant, Handle, Released};
use crate::holder::Holder;
use crate::now::now;
use crate::outcome::Validity;
use crate::status::Ask;
use crate::store::StoreError;
use crate::text::seconds;

/// A lease is renewed when a third of it has passed: two more tries fit in what is left.
const RENEWALS_PER_LEASE: u32 = 3;
/// How often a lease for ever is looked after: it does not end, but may be broken.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon a failed renewal is tried again, as a part of the validity that is left.
const RETRIES_PER_VALIDITY: u32 = 8;
/// The shortest and the longest pause before a failed renewal is tried again.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How to keep a grant.
#[derive(Default)]
pub struct AutoRenew {
    max_hold: Option<Duration>,
    on_lost: Option<OnLost>,
    on_wanted: Option<OnWanted>,
}

type OnWanted = Box<dyn FnMut(&Ask) + Send>;
type OnLost = Box<dyn FnOnce(&LostReason) + Send>;

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

/// Why a kept grant is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The store tells that the lock is not ours any more: it was broken, adopted, or the store lost its contents.
    Gone(Option<Box<Holder>>),
    /// It could not be renewed in time; what the store said last.
    Expired(Option<StoreError>),
    /// It was held as long as it may be, and is renewed no more.
    MaxHold,
    /// The component failed.
    Component(ComponentError),
    /// This process was forked from the one that holds it.
    Forked,
}

impl LostReason {
    /// Returns the outage of the store that the lock was lost by, if it was.
    pub fn outage(&self) -> Option<&StoreError> {
        match self {
            LostReason::Expired(error) => error.as_ref().filter(|error| error.is_outage()),
            LostReason::Gone(_) | LostReason::MaxHold | LostReason::Component(_) | LostReason::Forked => None,
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LostReason::Gone(Some(holder)) => write!(f, "it is {holder}"),
            LostReason::Gone(None) => {
                write!(f, "its record is gone from the store: broken, or the store lost its contents")
            }
            LostReason::Expired(Some(error)) => write!(f, "it could not be renewed: {error:#}"),
            LostReason::Expired(None) => write!(f, "its lease ended before it could be renewed"),
            LostReason::MaxHold => write!(f, "it was held for the longest time allowed"),
            LostReason::Component(error) => write!(f, "{error}"),
            LostReason::Forked => write!(f, "it is held by the process that this one was forked from"),
        }
    }
}

/// What the keeper and its owner share.
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Event,
}

struct State {
    stop: bool,
    /// Once told, a loss stays, whatever a renewal under way may still answer.
    lost: Option<LostReason>,
    /// The one of several keys that the store told to be lost.
    lost_key: Option<String>,
    until: Until,
    /// Why the last renewal failed; none if it did not.
    failure: Option<StoreError>,
    /// Who asks for it, as was seen after the last renewal.
    wanted: Option<Ask>,
}

/// Until when the grant is valid. Kept here, it is told without waiting for a renewal under way.
#[derive(Clone, Copy)]
enum Until {
    /// By the clock.
    At(Duration),
    Released,
    /// A resumed grant that was not renewed so far: neither valid nor lost.
    Unconfirmed,
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
        let state = Mutex::new(State {
            stop: false,
            lost: None,
            lost_key: None,
            until: Until::Unconfirmed,
            failure: None,
            wanted: None,
        });
        let shared = Arc::new(Shared { clock, state, changed: Event::new() });
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

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Returns why the grant is lost, if it is; that it has expired is found out here.
    fn lost(&self) -> Option<LostReason> {
        let mut state = self.lock();
        if state.lost.is_none() && matches!(state.until, Until::At(deadline) if deadline <= self.clock.now()) {
            state.lost = Some(LostReason::Expired(state.failure.clone()));
            self.changed.notify(usize::MAX);
        }
        state.lost.clone()
    }

    async fn when_wanted(&self) -> Ask {
        loop {
            let changed = self.changed.listen();
            if let Some(ask) = self.with(|state| state.wanted.clone()) {
                return ask;
            }
            changed.await;
        }
    }

    /// Notes who asks for it now, and returns a new ask.
    fn note_wanted(&self, wanted: Option<Ask>) -> Option<Ask> {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.wanted, wanted).map(|ask| ask.id);
        let fresh = state.wanted.clone().filter(|ask| Some(ask.id) != before);
        if fresh.is_some() {
            self.changed.notify(usize::MAX);
        }
        fresh
    }

    async fn when_lost(&self) -> LostReason {
        loop {
            let changed = self.changed.listen();
            if let Some(lost) = self.lost() {
                return lost;
            }
            match self.with(|state| state.until) {
                // What is told sooner, or a renewal that moves the end, is seen in the next round.
                Until::At(deadline) => {
                    let left = deadline.saturating_sub(self.clock.now());
                    future::or(changed, async { _ = Timer::after(left).await }).await;
                }
                Until::Released | Until::Unconfirmed => changed.await,
            }
        }
    }

    /// Asks the grant how long it is valid, and notes it.
    async fn note_validity(&self, handle: &Handle) {
        let until = match handle.validity_since().await {
            Ok((now, Validity::Valid(left))) => Until::At(now.saturating_add(left)),
            Ok((_, Validity::Unlimited)) => Until::Released,
            Ok((_, Validity::Unconfirmed)) => Until::Unconfirmed,
            Ok((now, Validity::Lost)) => Until::At(now),
            Err(_) => Until::At(self.clock.now()),
        };
        self.lock().until = until;
    }
}

/// What runs in the background.
struct Keeper {
    handle: Handle,
    shared: Arc<Shared>,
    /// When to stop renewing, by the clock.
    end: Option<Duration>,
}

impl Keeper {
    /// Begins a thread that runs it. Without one the lease runs out unrenewed: that is told at once rather than then.
    fn begin_thread(self, on_lost: Option<OnLost>, on_wanted: Option<OnWanted>) -> Option<JoinHandle<()>> {
        let (key, shared) = (self.handle.key.clone(), self.shared.clone());
        let thread = std::thread::Builder::new().name("kvlock-keep".to_string());
        let begun = thread.spawn(move || now(self.run(on_lost, on_wanted)));
        let failed = |error| {
            // The release tells the loss.
            tracing::warn!(key = &*key, "lock lost: no thread to renew it with: {error}");
            shared.lock().lost = Some(LostReason::Expired(None));
        };
        begun.map_err(failed).ok()
    }

    async fn run(self, on_lost: Option<OnLost>, on_wanted: Option<OnWanted>) {
        let span = self.handle.hold.span();
        span.within(self.keep(on_lost, on_wanted)).await;
    }

    async fn keep(self, on_lost: Option<OnLost>, on_wanted: Option<OnWanted>) {
        let Some(loss) = self.renew_until_lost(on_wanted).await else { return };
        let loss = self.shared.lock().lost.get_or_insert(loss).clone();
        self.shared.changed.notify(usize::MAX);
        if loss != LostReason::MaxHold {
            self.handle.tell_loss();
        }
        tracing::warn!(key = &*self.handle.key, "lock lost: {loss}");
        if let Some(on_lost) = on_lost {
            on_lost(&loss);
        }
    }

    /// Answers the loss, or none if it was told to stop.
    async fn renew_until_lost(&self, mut on_wanted: Option<OnWanted>) -> Option<LostReason> {
        loop {
            if !self.sleep(self.pause()).await {
                return None;
            }
            if let Some(loss) = self.shared.lost() {
                return Some(loss);
            }
            if self.end.is_some_and(|end| end <= self.shared.clock.now()) {
                return Some(LostReason::MaxHold);
            }
            let is_stopped = || self.shared.lock().stop;
            let renewed = self.handle.renew_unless(is_stopped, None).await;
            if is_stopped() {
                // What it answered may come of the release.
                return None;
            }
            let is_renewed = renewed.is_ok();
            match renewed {
                Ok(()) => self.shared.lock().failure = None,
                // An expired grant is lost too, by nobody's doing.
                Err(GrantError::Lost { holder: None, .. }) if self.shared.lost().is_some() => {}
                Err(GrantError::Lost { key, holder }) => {
                    self.shared.lock().lost_key = Some(key);
                    return Some(LostReason::Gone(holder));
                }
                Err(GrantError::AlreadyReleased { .. }) => return Some(LostReason::Gone(None)),
                Err(GrantError::Store { error, .. }) => self.shared.lock().failure = Some(error),
                Err(GrantError::Component { error, .. }) => return Some(LostReason::Component(error)),
                Err(GrantError::Invalid { reason, .. }) => {
                    return Some(LostReason::Component(ComponentError::Failed(reason)));
                }
            }
            self.shared.note_validity(&self.handle).await;
            if is_renewed {
                self.hear(&mut on_wanted).await;
            }
        }
    }

    /// Looks whether somebody asks for the lock, and tells of an ask that is new. A look that fails is made again after
    /// the next renewal.
    async fn hear(&self, on_wanted: &mut Option<OnWanted>) {
        let Ok(wanted) = self.handle.wanted().await else { return };
        let Some(ask) = self.shared.note_wanted(wanted) else { return };
        tracing::info!(key = &*self.handle.key, "{ask}");
        if let Some(on_wanted) = on_wanted {
            on_wanted(&ask);
        }
    }

    /// Returns how long to pause before the next renewal.
    fn pause(&self) -> Duration {
        let state = self.shared.lock();
        let (shortest, longest) = RETRY_PAUSE;
        match (state.until, &state.failure) {
            (Until::Released, _) => LOOK_EVERY,
            (Until::Unconfirmed, None) => Duration::ZERO,
            (Until::Unconfirmed, Some(_)) => longest,
            (Until::At(deadline), failure) => {
                let left = deadline.saturating_sub(self.shared.clock.now());
                match failure {
                    None => left / RENEWALS_PER_LEASE,
                    // Not beyond the end, so that it is told in time.
                    Some(_) => (left / RETRIES_PER_VALIDITY).clamp(shortest, longest).min(left),
                }
            }
        }
    }

    /// Sleeps, but not beyond the end of the hold or when the loss is told; false if told to stop.
    async fn sleep(&self, pause: Duration) -> bool {
        let now = self.shared.clock.now();
        let pause = self.end.map_or(pause, |end| pause.min(end.saturating_sub(now)));
        let until = Instant::now().checked_add(pause);
        loop {
            let changed = self.shared.changed.listen();
            let (stop, is_lost) = self.shared.with(|state| (state.stop, state.lost.is_some()));
            let left = until.map_or(pause, |until| until.saturating_duration_since(Instant::now()));
            if stop || is_lost || left.is_zero() {
                return !stop;
            }
            match self.handle.owner.callers() {
                Callers::Threads => _ = changed.wait_timeout(left),
                Callers::Tasks => future::or(changed, async { _ = Timer::after(left).await }).await,
            }
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid = self.valid_for().map_or_else(|| "for ever".to_string(), seconds);
        write!(f, "LockGuard({} valid {valid})", self.key())
    }
}
