//! The core of a session: one owner of locks, its instance of the component, and what it counts.
//!
//! Every handle (a lock, a wait, a grant) holds the [`Owner`]; [`Session`](crate::Session) is the face that makes them.

mod validation;

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use crate::clock::Clock;
use crate::component::{Guest, Resource, SessionOptions, Target};
use crate::environment::Environment;
use crate::error::{AcquireError, CallError, ComponentError, SessionError};
use crate::fork::Origin;
use crate::held_count::HeldCount;
use crate::queue::LocalQueues;
use crate::store::KvStore;
use crate::tries::Tries;

/// An owner of locks, shared by the clones of a session and by all that they made.
#[derive(Clone)]
pub(crate) struct Owner(Arc<OwnerState>);

struct OwnerState {
    /// One thread at a time enters the instance. A call keeps it for as long as the store takes; waiting for a lock does
    /// not keep it. None until the first call: until then the session costs next to nothing, however long it queues.
    guest: Mutex<Option<Guest>>,
    core: ClientCore,
    given: OwnerOptions,
    name: Arc<str>,
    label: String,
    held_count: HeldCount,
    tries: Tries,
    /// The owner that stands for this one in a fork.
    origin: Origin<Owner>,
}

/// What the sessions of a client share.
#[derive(Clone)]
pub(crate) struct ClientCore {
    pub(crate) environment: Environment,
    pub(crate) queues: Arc<LocalQueues>,
}

/// How to open a session, as its user says.
#[derive(Clone)]
pub(crate) struct OwnerOptions {
    pub(crate) name: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) namespace: String,
    pub(crate) quarantine: Option<Duration>,
}

impl Default for OwnerOptions {
    fn default() -> Self {
        OwnerOptions { name: None, label: None, namespace: "kvlock".to_string(), quarantine: None }
    }
}

impl OwnerState {
    fn new(core: ClientCore, given: OwnerOptions) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = std::process::id();
        let name = given.name.clone().unwrap_or_else(|| format!("{host}-{process}-{}", thread_name()));
        OwnerState {
            guest: Mutex::new(None),
            core,
            name: name.into(),
            label: given.label.clone().unwrap_or_else(|| format!("{host} pid {process}")),
            given,
            held_count: HeldCount::default(),
            tries: Tries::default(),
            origin: Origin::here(),
        }
    }

    fn options(&self) -> SessionOptions<'_> {
        let OwnerOptions { namespace, quarantine, .. } = &self.given;
        SessionOptions { owner: &self.name, label: &self.label, namespace, quarantine: *quarantine }
    }
}

impl Owner {
    /// Opens a session, or finds only that its options are legal. Sends nothing.
    pub(crate) fn open(core: ClientCore, options: OwnerOptions) -> Result<Self, SessionError> {
        let mut state = OwnerState::new(core, options);
        if validation::is_separate() {
            validation::check_session(&state.options())?;
        } else {
            let guest = Guest::open(&state.core.environment, &state.options())?;
            state.guest = Mutex::new(Some(guest));
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

    /// Enters the instance for a call about a key or a name; the first to enter makes it. In a fork nobody enters that
    /// of the parent.
    pub(crate) fn call<T, E: CallError>(
        &self,
        about: &str,
        call: impl FnOnce(&mut Guest) -> Result<T, E>,
    ) -> Result<T, E> {
        self.check_process(about)?;
        // A panic of another thread left the instance between two calls at worst: it is still whole.
        self.enter(about, self.0.guest.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), call)
    }

    /// Does the same, unless somebody is in it.
    pub(crate) fn try_call<T, E: CallError>(
        &self,
        about: &str,
        call: impl FnOnce(&mut Guest) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        if let Err(error) = self.check_process(about) {
            return Some(Err(error));
        }
        match self.0.guest.try_lock() {
            Ok(place) => Some(self.enter(about, place, call)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.enter(about, poisoned.into_inner(), call)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Does the same, if there is an instance already.
    fn call_at_hand<T, E>(&self, call: impl FnOnce(&mut Guest) -> Result<T, E>) -> Option<Result<T, E>> {
        if !self.is_own_process() {
            return None;
        }
        let mut place = self.0.guest.try_lock().ok()?;
        let guest = place.as_mut()?;
        guest.begin_call();
        Some(call(guest))
    }

    /// Refuses to begin a wait so, if an option is not legal.
    pub(crate) fn check_target(&self, target: &Target, key: &str) -> Result<(), AcquireError> {
        let check = |guest: &mut Guest| {
            let begun = guest.begin(key, target, Duration::ZERO)?;
            guest.drop_resource(begun);
            Ok(())
        };
        self.call_at_hand(check).unwrap_or_else(|| validation::with(key, check))
    }

    fn enter<T, E: CallError>(
        &self,
        about: &str,
        mut place: MutexGuard<'_, Option<Guest>>,
        call: impl FnOnce(&mut Guest) -> Result<T, E>,
    ) -> Result<T, E> {
        let guest = match &mut *place {
            Some(guest) => guest,
            none => {
                let opened = Guest::open(&self.0.core.environment, &self.0.options());
                // The options are legal, or the session would not have been opened.
                none.insert(opened.map_err(|error| E::unopened(about, error))?)
            }
        };
        guest.begin_call();
        call(guest)
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
    pub(crate) fn release_again<E: CallError>(&self, guest: &mut Guest, key: &str) -> Result<(), E> {
        (0..guest.release_again(key)?).for_each(|_| self.held_count().given_back());
        Ok(())
    }

    /// Drops a resource of the instance. One of an instance that trapped cannot be dropped, and need not be.
    pub(crate) fn drop_resource(&self, resource: impl Resource) {
        let _ = self.call("", |guest| {
            guest.drop_resource(resource);
            Ok::<_, SessionError>(())
        });
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.core.environment.clock
    }

    pub(crate) fn store(&self) -> &dyn KvStore {
        self.0.core.environment.store.as_ref()
    }

    pub(crate) fn queues(&self) -> &Arc<LocalQueues> {
        &self.0.core.queues
    }

    /// Returns the owner's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn label(&self) -> &str {
        &self.0.label
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
            && match self.0.guest.try_lock() {
                Ok(guest) => !guest.as_ref().is_some_and(Guest::has_trapped),
                Err(TryLockError::Poisoned(_)) => false,
                // A call of another thread finds out.
                Err(TryLockError::WouldBlock) => true,
            }
    }

    /// Tells if the owner is of this process, and not of one that this was forked from.
    pub(crate) fn is_own_process(&self) -> bool {
        self.0.origin.is_here()
    }
}

fn thread_name() -> String {
    let thread = std::thread::current();
    thread.name().map_or_else(|| format!("{:?}", thread.id()), String::from)
}
