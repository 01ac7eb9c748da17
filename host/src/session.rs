//! Sessions: owners of locks.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::{Duration, SystemTime};

use wasmtime::component::ResourceAny;

use crate::client::Client;
use crate::clock::Clock;
use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::component::{Instance, convert};
use crate::conflict_retry::ConflictRetry;
use crate::error::{KeyError, SessionError, trap};
use crate::fork::Process;
use crate::grant::Grant;
use crate::holder::Holder;
use crate::holds::Holds;
use crate::line::Lines;
use crate::lock::Lock;
use crate::owner::validation;
use crate::semaphore::{self, Semaphore, SemaphoreStatus};
use crate::status::{Broken, KeyStatus};
use crate::tries::Tries;

/// How to open a session. Each option has a default that serves.
#[derive(Clone)]
pub struct SessionBuilder {
    client: Client,
    owner: Option<String>,
    label: Option<String>,
    namespace: String,
    quarantine: Option<Duration>,
}

/// An owner of locks: one unit of work at a time, such as a thread or a task.
///
/// Two sessions never hold one lock together, whatever their owner's names. Clones are the same session. In the child of
/// a fork it is another one: its parent's grants are lost there, what its parent waits for is to be begun anew, and it
/// stays the parent's who holds what the parent held.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Shared,
}

/// A session that is opened so fast knows what time it is. Others look by that when to expect to have a lock.
const PUNCTUAL: Duration = Duration::from_micros(30);
/// So often is that tried.
const TIMES_TO_OPEN: u32 = 5;

/// What the clones of a session share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<State>);

struct State {
    /// The session's instance, entered by one thread at a time. A call keeps it for as long as the store takes; waiting
    /// for a lock does not keep it. None until it is entered for the first time: until then the session costs next to
    /// nothing, however long it stands in line.
    guest: Mutex<Option<Guest>>,
    builder: SessionBuilder,
    /// The owner's name.
    owner: Arc<str>,
    label: String,
    holds: Holds,
    tries: Tries,
    /// The process whose session it is.
    process: Process,
    /// What it is in a fork, which is another owner.
    of_fork: OnceLock<Shared>,
}

pub(crate) struct Guest {
    pub(crate) instance: Instance,
    pub(crate) session: ResourceAny,
    unreleased: Vec<Unreleased>,
}

/// A lock that could not be given back when its grant was.
struct Unreleased {
    key: String,
    grant: ResourceAny,
}

impl SessionBuilder {
    pub(crate) fn new(client: Client) -> Self {
        SessionBuilder { client, owner: None, label: None, namespace: "kvlock".to_string(), quarantine: None }
    }

    /// A name for people, shown to whoever waits; default: host, process and thread.
    pub fn owner(mut self, name: impl Into<String>) -> Self {
        self.owner = Some(name.into());
        self
    }

    /// Where the session runs, for people; default: host and process.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// First part of all store keys; default `kvlock`. Sessions see each other's locks within one namespace only.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a store's contents must have existed before anything is granted on them. It should be the longest
    /// lease that anyone uses there; the default is the longest of 30 s, the lease and the minimum hold
    /// asked for. Zero turns it off.
    pub fn quarantine(mut self, quarantine: Duration) -> Self {
        self.quarantine = Some(quarantine);
        self
    }

    /// Opens the session. Nothing is sent.
    pub fn open(self) -> Result<Session, SessionError> {
        let mut state = State::new(self);
        let guest = if validation::is_worth_while() {
            validation::check_session(&state.options())?;
            None
        } else {
            let opened = Guest::open(&state.builder.client, || state.options());
            Some(opened.map_err(|error| SessionError::of(&error))?.map_err(SessionError::Invalid)?)
        };
        state.guest = Mutex::new(guest);
        Ok(Session { shared: Shared(Arc::new(state)) })
    }
}

impl Session {
    /// Begins to lock a key: any string of 1 to 65,536 bytes.
    pub fn lock(&self, key: impl Into<String>) -> Lock {
        Lock::new(self.shared.clone(), key.into())
    }

    /// Begins to try work that may run into a conflict, under the lock of a key.
    pub fn conflict_retry(&self, key: impl Into<String>) -> ConflictRetry {
        ConflictRetry::new(self.shared.clone(), key.into())
    }

    /// A semaphore, whether or not it is there: a name of 1 to 255 bytes.
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore {
        Semaphore::new(self.shared.clone(), name.into())
    }

    /// Tells of all semaphores of the session's namespace, by name.
    pub fn semaphores(&self) -> Result<Vec<SemaphoreStatus>, KeyError> {
        semaphore::list(&self.shared)
    }

    /// Takes up a grant that was written out, by this process or another. Nothing is sent: renew the grant to learn
    /// whether it still stands.
    pub fn resume(&self, written: &str) -> Result<Grant, SessionError> {
        let shared = self.shared.here();
        let resumed = shared.call(|guest| {
            let Guest { instance, session, .. } = &mut *guest;
            let resource = instance.exports.kvlock_lock_mutex().session();
            match resource.call_resume(&mut instance.store, *session, written)? {
                Ok(grant) => Grant::asked(shared, guest, grant).map(Ok),
                Err(text) => Ok(Err(text)),
            }
        });
        resumed.map_err(|error| SessionError::of(&error))?.map_err(SessionError::Invalid)
    }

    /// Tells how a key stands.
    pub fn status(&self, key: &str) -> Result<KeyStatus, KeyError> {
        let missing = || KeyError::Component("no answer about the key".to_string());
        self.statuses(&[key])?.pop().ok_or_else(missing)
    }

    /// Tells how several keys stand, in their order. One call of the store reads them all.
    pub fn statuses(&self, keys: &[&str]) -> Result<Vec<KeyStatus>, KeyError> {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        let statuses = self.shared.here().call(|Guest { instance, session, .. }| {
            let resource = instance.exports.kvlock_lock_mutex().session();
            resource.call_status(&mut instance.store, *session, &keys)
        });
        let statuses = statuses.map_err(|error| KeyError::Component(trap(&error)))?;
        let statuses = statuses.map_err(|error| KeyError::of(keys.first().map_or("", String::as_str), error))?;
        Ok(statuses.into_iter().map(KeyStatus::from).collect())
    }

    /// Ends somebody's grant by force and tells whose; none if the key was free. The holder learns that it lost the
    /// lock at its next renewal or release, and [may be at work](Holder::at_work_until) until then.
    pub fn break_lock(&self, key: &str) -> Result<Option<Holder>, KeyError> {
        Ok(self.break_by_force(key, None)?.ended())
    }

    /// Does the same to the grant with this fencing token, as [`status`](Self::status) tells it, and to no other.
    pub fn break_lock_if(&self, key: &str, token: u64) -> Result<Broken, KeyError> {
        self.break_by_force(key, Some(token))
    }

    fn break_by_force(&self, key: &str, if_token: Option<u64>) -> Result<Broken, KeyError> {
        let broken = self.shared.here().call(|Guest { instance, session, .. }| {
            let resource = instance.exports.kvlock_lock_mutex().session();
            resource.call_break(&mut instance.store, *session, key, if_token)
        });
        let broken = broken.map_err(|error| KeyError::Component(trap(&error)))?;
        let broken = broken.map_err(|error| KeyError::of(key, error))?.into();
        if let Broken::Ended(holder) = &broken {
            tracing::info!(key, token = holder.token, "broken by force; it was {}", holder.who());
        }
        Ok(broken)
    }
}

impl State {
    fn new(builder: SessionBuilder) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = std::process::id();
        let owner = builder.owner.clone().unwrap_or_else(|| format!("{host}-{process}-{}", thread_name()));
        State {
            guest: Mutex::new(None),
            owner: owner.into(),
            label: builder.label.clone().unwrap_or_else(|| format!("{host} pid {process}")),
            builder,
            holds: Holds::default(),
            tries: Tries::default(),
            process: Process::current(),
            of_fork: OnceLock::new(),
        }
    }

    fn options(&self) -> wit::SessionOptions {
        wit::SessionOptions {
            owner: self.owner.to_string(),
            label: self.label.clone(),
            namespace: self.builder.namespace.clone(),
            quarantine: self.builder.quarantine.map(convert::nanos),
            unix_time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(convert::nanos),
        }
    }
}

impl Shared {
    /// The session as it is in this process. A fork has another one, which holds nothing, and whose instance no thread
    /// of the parent was in.
    pub(crate) fn here(&self) -> &Shared {
        if self.is_own_process() {
            return self;
        }
        let fresh = || Shared(Arc::new(State::new(self.0.builder.clone())));
        self.0.of_fork.get_or_init(fresh).here()
    }

    /// Enters the session's instance, which is made by the first who does. In a fork nobody enters that of the parent.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut Guest) -> wasmtime::Result<T>) -> wasmtime::Result<T> {
        self.check_process()?;
        // A panic of another thread left the instance between two calls at worst: it is still whole.
        self.enter(self.0.guest.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), call)
    }

    /// The same, unless somebody is in it.
    pub(crate) fn try_call<T>(
        &self,
        call: impl FnOnce(&mut Guest) -> wasmtime::Result<T>,
    ) -> Option<wasmtime::Result<T>> {
        if let Err(error) = self.check_process() {
            return Some(Err(error));
        }
        match self.0.guest.try_lock() {
            Ok(place) => Some(self.enter(place, call)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.enter(poisoned.into_inner(), call)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The same, if there is an instance yet.
    pub(crate) fn call_at_hand<T>(
        &self,
        call: impl FnOnce(&mut Guest) -> wasmtime::Result<T>,
    ) -> Option<wasmtime::Result<T>> {
        self.check_process().ok()?;
        let mut place = self.0.guest.try_lock().ok()?;
        let guest = place.as_mut()?;
        guest.instance.begin_call();
        Some(call(guest))
    }

    fn enter<T>(
        &self,
        mut place: MutexGuard<'_, Option<Guest>>,
        call: impl FnOnce(&mut Guest) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        let guest = match &mut *place {
            Some(guest) => guest,
            // The options are legal, or the session would not have been opened.
            none => {
                none.insert(Guest::open(&self.0.builder.client, || self.0.options())?.map_err(wasmtime::Error::msg)?)
            }
        };
        guest.instance.begin_call();
        call(guest)
    }

    fn check_process(&self) -> wasmtime::Result<()> {
        match self.is_own_process() {
            true => Ok(()),
            false => Err(wasmtime::Error::msg("it is of the process that this one was forked from")),
        }
    }

    /// Releases once more what of this key could not be given back. The session takes it for held until then, although
    /// nobody has a grant of it: what is nested in it would never be free.
    pub(crate) fn release_again(&self, guest: &mut Guest, key: &str) -> wasmtime::Result<()> {
        (0..guest.release_again(key)?).for_each(|_| self.holds().given_back());
        Ok(())
    }

    /// Drops a resource of the session's instance.
    pub(crate) fn drop_resource(&self, resource: ResourceAny) {
        // One of an instance that trapped cannot be dropped, and need not be.
        let _ = self.call(|guest| resource.resource_drop(&mut guest.instance.store));
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.builder.client.clock
    }

    pub(crate) fn lines(&self) -> &Arc<Lines> {
        &self.0.builder.client.lines
    }

    pub(crate) fn owner(&self) -> &Arc<str> {
        &self.0.owner
    }

    pub(crate) fn label(&self) -> &str {
        &self.0.label
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.0.builder.namespace
    }

    pub(crate) fn quarantine(&self) -> Option<Duration> {
        self.0.builder.quarantine
    }

    pub(crate) fn holds(&self) -> &Holds {
        &self.0.holds
    }

    /// The tries that run.
    pub(crate) fn tries(&self) -> &Tries {
        &self.0.tries
    }

    /// Whether this is the process whose session it is, and not a fork of that.
    pub(crate) fn is_own_process(&self) -> bool {
        self.0.process.is_current()
    }
}

impl Guest {
    /// Makes an instance and opens a session in it; the text tells which option is not legal.
    pub(crate) fn open(
        client: &Client,
        options: impl Fn() -> wit::SessionOptions,
    ) -> wasmtime::Result<Result<Self, String>> {
        let mut instance = Instance::new(client)?;
        let mut times_left = TIMES_TO_OPEN;
        loop {
            let began = client.clock.now();
            let resource = instance.exports.kvlock_lock_mutex().session();
            let session = match resource.call_open(&mut instance.store, &options())? {
                Ok(session) => session,
                Err(text) => return Ok(Err(text)),
            };
            // The options told what time it was. The first call of an instance takes a while, and any may be interrupted.
            times_left -= 1;
            if client.clock.now().saturating_sub(began) <= PUNCTUAL || times_left == 0 {
                return Ok(Ok(Guest { instance, session, unreleased: Vec::new() }));
            }
            session.resource_drop(&mut instance.store)?;
        }
    }
}

impl Guest {
    /// Remembers a lock that could not be given back, because the store failed.
    pub(crate) fn leave_unreleased(&mut self, key: String, grant: ResourceAny) {
        self.unreleased.push(Unreleased { key, grant });
    }

    /// See [`Shared::release_again`]; tells how many are settled by now.
    fn release_again(&mut self, key: &str) -> wasmtime::Result<usize> {
        let mut done = 0;
        if self.unreleased.is_empty() {
            return Ok(done);
        }
        let of_key = |unreleased: &Unreleased| unreleased.key == key;
        let (again, others): (Vec<_>, _) = std::mem::take(&mut self.unreleased).into_iter().partition(of_key);
        self.unreleased = others;
        for unreleased in again {
            let exports = self.instance.exports.kvlock_lock_mutex().grant();
            match exports.call_release(&mut self.instance.store, unreleased.grant)? {
                Err(wit::GrantError::Store(_)) => self.unreleased.push(unreleased),
                Ok(_) | Err(_) => {
                    unreleased.grant.resource_drop(&mut self.instance.store)?;
                    done += 1;
                }
            }
        }
        Ok(done)
    }
}

fn thread_name() -> String {
    let thread = std::thread::current();
    thread.name().map_or_else(|| format!("{:?}", thread.id()), String::from)
}
