//! The core of a session: one owner of locks, its instance of the component, and what it counts.
//!
//! Every handle (a lock, a wait, a grant) holds the [`Owner`]; [`Session`](crate::Session) is the face that makes them.

mod calls;
mod options;
mod slots;
mod tasks;
mod validation;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_lock::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::component::{Guest, Resource, SessionOptions, Target};
use crate::environment::{Callers, Environment};
use crate::error::{AcquireError, CallError, ComponentError, SessionError};
use crate::events::Events;
use crate::fork::Origin;
use crate::held_count::HeldCount;
use crate::now::now;
use crate::queue::LocalQueues;
use crate::tries::Tries;

pub(crate) use options::OwnerOptions;
use slots::Slot;
pub(crate) use tasks::Tasks;

/// An owner of locks, shared by the clones of a session and by all that they made.
#[derive(Clone)]
pub(crate) struct Owner(Arc<OwnerState>);

struct OwnerState {
    /// One thread or task at a time enters the instance. A call keeps it for as long as the store takes; waiting for a lock does
    /// not keep it. None until the first call: until then the session costs next to nothing, however long it queues.
    guest: Mutex<Option<Box<Guest>>>,
    core: ClientCore,
    given: OwnerOptions,
    /// Known once it is asked for, or once there is an instance.
    name: OnceLock<Arc<str>>,
    /// Known once it is asked for.
    label: OnceLock<String>,
    held_count: HeldCount,
    tries: Tries,
    /// It was made for a single wait of a task.
    of_one_wait: bool,
    /// The owner that stands for this one in a fork.
    origin: Origin<Owner>,
}

/// What the sessions of a client share.
#[derive(Clone)]
pub(crate) struct ClientCore {
    pub(crate) environment: Environment,
    pub(crate) queues: Arc<LocalQueues>,
    /// None where threads call.
    pub(crate) tasks: Option<Arc<Tasks>>,
}

/// A session's instance, entered. Nobody else is in it.
pub(crate) struct Entered<'a> {
    place: MutexGuard<'a, Option<Box<Guest>>>,
    /// Of a task that had no instance before.
    _slot: Option<Slot>,
}

impl OwnerState {
    fn new(core: ClientCore, given: OwnerOptions) -> Self {
        let name = match (&given.name, &core.tasks) {
            (Some(name), _) => OnceLock::from(Arc::from(name.as_str())),
            // While it waits behind others it needs none.
            (None, Some(_)) => OnceLock::new(),
            (None, None) => OnceLock::from(default_name(&thread_name())),
        };
        OwnerState {
            guest: Mutex::new(None),
            core,
            name,
            label: OnceLock::new(),
            given,
            held_count: HeldCount::default(),
            tries: Tries::default(),
            of_one_wait: false,
            origin: Origin::here(),
        }
    }

    fn options(&self) -> SessionOptions<'_> {
        let OwnerOptions { namespace, quarantine, .. } = &self.given;
        SessionOptions { owner: self.name(), label: self.label(), namespace, quarantine: *quarantine }
    }

    fn name(&self) -> &Arc<str> {
        self.name.get_or_init(|| default_name(&tasks::next_name()))
    }

    fn label(&self) -> &str {
        let default = || format!("{} pid {}", host(), std::process::id());
        self.label.get_or_init(|| self.given.label.clone().unwrap_or_else(default))
    }

    /// Takes an instance that another owner has left.
    fn take(&self) -> Option<Box<Guest>> {
        let tasks = self.core.tasks.as_ref().filter(|tasks| self.given == *tasks.options())?;
        if self.given.name.is_none() && self.name.get().is_some() {
            return None;
        }
        let (name, guest) = tasks.take()?;
        (*self.name.get_or_init(|| name.clone()) == name).then_some(guest)
    }

    /// Makes its instance.
    async fn make(&self) -> Result<Box<Guest>, SessionError> {
        Guest::open(&self.core.environment, &self.options()).await.map(Box::new)
    }
}

impl Drop for OwnerState {
    fn drop(&mut self) {
        // What a fork has of its parent's is not touched.
        if self.origin.is_here()
            && let Some(tasks) = &self.core.tasks
            && self.given == *tasks.options()
            && !self.held_count.is_any()
            && let Some(guest) = self.guest.get_mut().take().filter(|guest| guest.is_clean())
            && let Some(name) = self.name.get()
        {
            tasks.keep(name.clone(), guest);
        }
    }
}

impl Owner {
    /// Opens a session, or finds only that its options are legal. Sends nothing.
    pub(crate) async fn open(core: ClientCore, options: OwnerOptions) -> Result<Self, SessionError> {
        let mut state = OwnerState::new(core, options);
        if validation::is_separate() {
            validation::check_session(&state.options())?;
        } else {
            state.guest = Mutex::new(Some(state.make().await?));
        }
        Ok(Owner(Arc::new(state)))
    }

    /// Opens a session by options that are known to be legal. It gets its instance by its first call.
    pub(crate) fn open_unchecked(core: ClientCore, options: OwnerOptions) -> Self {
        Owner(Arc::new(OwnerState::new(core, options)))
    }

    /// Returns the owner in this process. A fork has another one, which holds nothing, and whose instance no thread of
    /// the parent was in.
    pub(crate) fn here(&self) -> &Owner {
        if self.is_own_process() {
            return self;
        }
        let fresh = || Owner(Arc::new(OwnerState::new(self.0.core.clone(), self.0.given.clone())));
        self.0.origin.in_fork(fresh).here()
    }

    /// Returns another owner with the same options, which holds nothing.
    pub(crate) fn another(&self) -> Owner {
        let mut state = OwnerState::new(self.0.core.clone(), self.0.given.clone());
        state.of_one_wait = true;
        Owner(Arc::new(state))
    }

    /// Tells if it was made for a single wait, and what that acquires.
    pub(crate) fn is_of_one_wait(&self) -> bool {
        self.0.of_one_wait
    }

    /// Enters the instance for a call about a key or a name; the first to enter makes it. In a fork nobody enters that
    /// of the parent.
    pub(crate) async fn enter<E: CallError>(&self, about: &str) -> Result<Entered<'_>, E> {
        self.check_process(about)?;
        let place = match (self.0.guest.try_lock(), self.callers()) {
            (Some(place), _) => place,
            (None, Callers::Threads) => self.0.guest.lock_blocking(),
            (None, Callers::Tasks) => self.0.guest.lock().await,
        };
        let slot = match self.tasks() {
            Some(tasks) if place.is_none() => Some(tasks.slot().await),
            _ => None,
        };
        self.begin_call(about, place, slot).await
    }

    /// Does the same, unless somebody is in it.
    pub(crate) async fn try_enter<E: CallError>(&self, about: &str) -> Option<Result<Entered<'_>, E>> {
        if let Err(error) = self.check_process(about) {
            return Some(Err(error));
        }
        Some(self.begin_call(about, self.0.guest.try_lock()?, None).await)
    }

    /// Does the same, if there is an instance already.
    fn enter_at_hand(&self) -> Option<Entered<'_>> {
        if !self.is_own_process() {
            return None;
        }
        let mut place = self.0.guest.try_lock()?;
        place.as_mut()?.begin_call();
        Some(Entered { place, _slot: None })
    }

    async fn begin_call<'a, E: CallError>(
        &'a self,
        about: &str,
        mut place: MutexGuard<'a, Option<Box<Guest>>>,
        slot: Option<Slot>,
    ) -> Result<Entered<'a>, E> {
        let guest = match &mut *place {
            Some(guest) => guest,
            // The options are legal, or the session would not have been opened.
            none => none.insert(self.open_guest(slot.is_some()).await.map_err(|error| E::unopened(about, error))?),
        };
        guest.begin_call();
        Ok(Entered { place, _slot: slot })
    }

    /// Takes an instance that another owner has left, or makes one. To make one takes as long as some acquires: a task
    /// that may wait lets the client's own threads do it, so that a crowd does not hold up its executor.
    async fn open_guest(&self, may_wait: bool) -> Result<Box<Guest>, SessionError> {
        if let Some(guest) = self.0.take() {
            return Ok(guest);
        }
        match self.tasks().filter(|_| may_wait) {
            Some(tasks) => {
                let owner = self.clone();
                tasks.runner().run(Box::pin(async move { owner.0.make().await })).await
            }
            None => self.0.make().await,
        }
    }

    /// Refuses to begin a wait so, if an option is not legal.
    pub(crate) fn check_target(&self, target: &Target, key: &str) -> Result<(), AcquireError> {
        // Nothing is sent, so that nobody waits.
        let check = |guest: &mut Guest| {
            now(async {
                let begun = guest.begin(key, target, Duration::ZERO).await?;
                guest.drop_resource(begun).await;
                Ok(())
            })
        };
        match self.enter_at_hand() {
            Some(mut guest) => check(&mut guest),
            None => validation::with(key, check),
        }
    }

    fn check_process<E: CallError>(&self, about: &str) -> Result<(), E> {
        if self.is_own_process() {
            return Ok(());
        }
        let text = "it is of the process that this one was forked from".to_string();
        Err(E::component(about, ComponentError::Failed(text)))
    }

    /// Releases again what of this key could not be given back. The session takes it for held until then, although
    /// nobody has a grant of it: what is nested in it would never be free.
    pub(crate) async fn release_again<E: CallError>(&self, guest: &mut Guest, key: &str) -> Result<(), E> {
        (0..guest.release_again(key).await?).for_each(|_| self.held_count().given_back());
        Ok(())
    }

    /// Drops a resource of the instance. One of an instance that trapped cannot be dropped, and need not be.
    pub(crate) async fn drop_resource(&self, resource: impl Resource) {
        if let Ok(mut guest) = self.enter::<SessionError>("").await {
            guest.drop_resource(resource).await;
        }
    }

    /// Drops a resource, and waits for it in a thread only.
    pub(crate) fn discard(&self, resource: impl Resource + Send + 'static) {
        match &self.0.core.tasks {
            None => now(self.drop_resource(resource)),
            Some(_) => {
                let owner = self.clone();
                self.carry_out(async move { owner.drop_resource(resource).await });
            }
        }
    }

    /// Does what is to be done whoever waits for it: in a thread at once, for a task on the client's own threads.
    pub(crate) fn carry_out(&self, work: impl Future<Output = ()> + Send + 'static) {
        match &self.0.core.tasks {
            None => now(work),
            Some(tasks) => tasks.runner().spawn(work),
        }
    }

    /// Tells who calls.
    pub(crate) fn callers(&self) -> Callers {
        self.0.core.environment.callers()
    }

    /// Returns what runs the calls of tasks; none where threads call.
    pub(crate) fn tasks(&self) -> Option<&Arc<Tasks>> {
        self.0.core.tasks.as_ref()
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.core.environment
    }

    /// Returns who is told of what happens.
    pub(crate) fn events(&self) -> &Events {
        &self.0.core.environment.events
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.core.environment.clock
    }

    pub(crate) fn queues(&self) -> &Arc<LocalQueues> {
        &self.0.core.queues
    }

    /// Returns the owner's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    /// Returns the owner's name, if it has been asked for one.
    pub(crate) fn name_so_far(&self) -> Option<&str> {
        self.0.name.get().map(|name| &**name)
    }

    pub(crate) fn label(&self) -> &str {
        self.0.label()
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.0.given.namespace
    }

    pub(crate) fn quarantine(&self) -> Option<Duration> {
        self.0.given.quarantine
    }

    pub(crate) fn held_count(&self) -> &HeldCount {
        &self.0.held_count
    }

    /// Returns the tries that run.
    pub(crate) fn tries(&self) -> &Tries {
        &self.0.tries
    }

    /// Tells if calls can succeed: the owner is of this process, and its instance has not trapped, nor did a call panic.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_own_process()
            // If somebody is in it, that call finds out.
            && self.0.guest.try_lock().is_none_or(|guest| !guest.as_ref().is_some_and(|guest| guest.has_trapped()))
    }

    /// Tells if the owner is of this process, and not of one that this was forked from.
    pub(crate) fn is_own_process(&self) -> bool {
        self.0.origin.is_here()
    }
}

impl Deref for Entered<'_> {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        // INVARIANT: who enters makes the instance first.
        self.place.as_ref().expect("an instance that was entered")
    }
}

impl DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Guest {
        // INVARIANT: as above.
        self.place.as_mut().expect("an instance that was entered")
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A panic of the store went through the instance.
            self.abandon();
        }
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn default_name(who: &str) -> Arc<str> {
    format!("{}-{}-{who}", host(), std::process::id()).into()
}

fn thread_name() -> String {
    let thread = std::thread::current();
    thread.name().map_or_else(|| format!("{:?}", thread.id()), String::from)
}
