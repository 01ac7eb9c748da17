//! Functions behind a lock: wrapped once, locked at every call.

use std::sync::Arc;
use std::time::Duration;

use self::name::Name;
use crate::acquire::{WaitOptions, wait_setters};
use crate::debug::debug_fields;
use crate::error::{SessionError, WithLockError};
use crate::lock::Lock;
use crate::session::SessionBuilder;
use crate::sessions::Sessions;
use crate::soft::SoftGuard;

mod error;
mod name;
mod retried;

pub use error::{CallError, RetryCallError};
pub use name::CallKey;
pub use retried::RetriedFn;

/// Puts functions behind locks: their calls wait for each other where their keys are equal, in all threads, processes
/// and machines that have the store.
///
/// ```
/// use std::time::Duration;
/// use kvlock::{functions::CallKey, Client, FnLocks};
///
/// struct Entry { catalogue: String, text: String, draft: bool }
///
/// fn index(entry: Entry) -> usize {
///     // Read the catalogue, add the entry, write the catalogue.
///     entry.text.len()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("memory:")?;
/// let locks = FnLocks::new(client.session()).lease(Duration::from_secs(10)).wait(Duration::from_secs(60));
///
/// let index = locks.lock(
///     |entry: &Entry| if entry.draft { CallKey::Skip } else { CallKey::Lock(entry.catalogue.clone()) },
///     index,
/// );
/// let entry = Entry { catalogue: "books".into(), text: "On Locks".into(), draft: false };
/// assert_eq!(index.call(entry)?, 8);
///
/// // Several arguments are a tuple. A closure needs a name.
/// let add = locks.rlock(|(a, _): &(u32, u32)| a.to_string(), |(a, b)| a + b).named("add");
/// assert_eq!(add.call((1, 2))?, 3);
/// # Ok(())
/// # }
/// ```
///
/// **Keys.** A call locks the key `function:key`, so equal keys of two functions are two locks. The function is named
/// by [`std::any::type_name`], such as `shop::index`: its path, which tells functions apart but may change with the
/// compiler. If programs of several versions share a store, give the function a name of your own with
/// [`LockedFn::named`]. A closure or a function pointer has no path, and gets no lock without a name:
/// [`CallError::Unnamed`].
///
/// **Owners.** Each thread that calls is an owner of its own. Its session ends with these `FnLocks` and all functions
/// that they made. A process after a fork does not go on with the sessions of its parent. So two threads never hold a
/// lock together, and calls within calls of one thread meet as [`lock`](Self::lock) and [`rlock`](Self::rlock) say.
///
/// **While the function runs** the lease is renewed in the background. The lock is released whatever the function
/// answers, and if it panics.
#[derive(Clone)]
pub struct FnLocks {
    sessions: Arc<Sessions>,
    options: WaitOptions,
    at_least: Duration,
    soft: bool,
}

/// A function behind a lock: see [`FnLocks`].
pub struct LockedFn<G, F> {
    locks: FnLocks,
    reentrant: bool,
    name: Name,
    get_key: G,
    work: F,
}

debug_fields!(FnLocks, |it| soft = it.soft);
debug_fields!(LockedFn<G, F>, |it| name = it.name);

impl FnLocks {
    /// Locks of an owner in each thread; `client.session()` has the options of owners: name, namespace, quarantine.
    ///
    /// Without a name, which then is that of all threads, owners are named after host, process and thread.
    pub fn new(session: SessionBuilder) -> Self {
        let sessions = Arc::new(Sessions::new(session));
        FnLocks { sessions, options: WaitOptions::default(), at_least: Duration::ZERO, soft: false }
    }

    wait_setters! {
        /// Sets how long a lock lasts unless renewed: see [`Lock::lease`].
        lease
        /// Sets how long to wait for a lock at most: see [`Lock::wait`].
        wait
        /// Sets the longest pause between two tries: see [`Lock::interval`].
        interval
        /// Sets what the locks are held for: see [`Lock::note`].
        note
    }

    /// Sets how long a key stays taken at least: see [`Lock::at_least`]. Conflict retry does without.
    pub fn at_least(mut self, at_least: Duration) -> Self {
        self.at_least = at_least;
        self
    }

    /// Runs functions without a lock when the store is down: see [`SoftLock`](crate::soft::SoftLock).
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// Puts a function behind a plain lock. A call within a call of the same key is refused at once, as
    /// [`AlreadyHeld`](crate::error::AcquireError::AlreadyHeld).
    pub fn lock<A, K: Into<CallKey>, R, G: Fn(&A) -> K, F: Fn(A) -> R>(&self, get_key: G, work: F) -> LockedFn<G, F> {
        self.wrap(false, get_key, work)
    }

    /// Puts a function behind a re-entrant lock. Calls within calls of the same key go on, and the outermost frees it.
    pub fn rlock<A, K: Into<CallKey>, R, G: Fn(&A) -> K, F: Fn(A) -> R>(&self, get_key: G, work: F) -> LockedFn<G, F> {
        self.wrap(true, get_key, work)
    }

    /// Does the same as [`lock`](Self::lock) for a function that is to know what it runs under: its fencing token,
    /// whether the lock has been lost, whether there is one. It is called by [`LockedFn::call_guarded`].
    pub fn lock_guarded<A, K, R, G, F>(&self, get_key: G, work: F) -> LockedFn<G, F>
    where
        K: Into<CallKey>,
        G: Fn(&A) -> K,
        F: Fn(&SoftGuard, A) -> R,
    {
        self.wrap(false, get_key, work)
    }

    /// Does the same as [`rlock`](Self::rlock) for a function that is to know what it runs under.
    pub fn rlock_guarded<A, K, R, G, F>(&self, get_key: G, work: F) -> LockedFn<G, F>
    where
        K: Into<CallKey>,
        G: Fn(&A) -> K,
        F: Fn(&SoftGuard, A) -> R,
    {
        self.wrap(true, get_key, work)
    }

    /// Returns a function from a key, as it is, to a lock of the calling thread with these options. The caller says
    /// what an outage means.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = kvlock::Client::connect("memory:")?;
    /// let lock_of = kvlock::FnLocks::new(client.session()).wait(std::time::Duration::ZERO).lock_getter();
    /// let grant = lock_of("report")?.acquire()?;
    /// assert!(std::thread::scope(|scope| {
    ///     scope.spawn(|| lock_of("report").unwrap().acquire().is_err()).join().unwrap()
    /// }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock_getter(&self) -> impl Fn(&str) -> Result<Lock, SessionError> + Clone + Send + Sync + use<> {
        self.getter(false)
    }

    /// Returns the same for re-entrant locks.
    pub fn rlock_getter(&self) -> impl Fn(&str) -> Result<Lock, SessionError> + Clone + Send + Sync + use<> {
        self.getter(true)
    }

    fn getter(&self, reentrant: bool) -> impl Fn(&str) -> Result<Lock, SessionError> + Clone + Send + Sync + use<> {
        let locks = self.clone();
        move |key| locks.get(key.to_string(), reentrant)
    }

    fn wrap<G, F>(&self, reentrant: bool, get_key: G, work: F) -> LockedFn<G, F> {
        LockedFn { locks: self.clone(), reentrant, name: Name::of::<F>(), get_key, work }
    }

    /// Returns a lock of the calling thread.
    fn get(&self, key: String, reentrant: bool) -> Result<Lock, SessionError> {
        Ok(self.sessions.of_this_thread()?.lock(key).with(self.options.clone()).at_least(self.at_least).mode(reentrant))
    }

    fn run<R>(&self, lock: Lock, work: impl FnOnce(&SoftGuard) -> R) -> Result<R, WithLockError<R>> {
        if self.soft {
            return lock.soft().with_lock(work);
        }
        let grant = lock.acquire().map_err(WithLockError::Acquire)?;
        SoftGuard::of(grant).run(work, |_, _| false)
    }
}

impl<G, F> LockedFn<G, F> {
    /// Names the function, before its keys in the store. All functions of one name have the same keys.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Name::Own(name.into());
        self
    }

    /// Calls the function under the lock of its arguments' key.
    pub fn call<A, K: Into<CallKey>, R>(&self, args: A) -> Result<R, CallError<R>>
    where
        G: Fn(&A) -> K,
        F: Fn(A) -> R,
    {
        self.run((self.get_key)(&args).into(), |_| (self.work)(args))
    }

    /// Calls the function of [`FnLocks::lock_guarded`] under the lock of its arguments' key.
    pub fn call_guarded<A, K: Into<CallKey>, R>(&self, args: A) -> Result<R, CallError<R>>
    where
        G: Fn(&A) -> K,
        F: Fn(&SoftGuard, A) -> R,
    {
        self.run((self.get_key)(&args).into(), |guard| (self.work)(guard, args))
    }

    fn run<R>(&self, key: CallKey, work: impl FnOnce(&SoftGuard) -> R) -> Result<R, CallError<R>> {
        let Some(key) = self.name.key(key).map_err(CallError::Unnamed)? else { return Ok(work(&SoftGuard::Skipped)) };
        let lock = self.locks.get(key, self.reentrant).map_err(CallError::Session)?;
        self.locks.run(lock, work).map_err(CallError::from)
    }
}
