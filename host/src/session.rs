//! Sessions: owners of locks.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use wasmtime::component::ResourceAny;

use crate::client::Client;
use crate::clock::Clock;
use crate::conflict_retry::ConflictRetry;
use crate::engine::bindings::exports::kvlock::lock::conflict_retry::RetryOptions;
use crate::engine::bindings::exports::kvlock::lock::mutex as wit;
use crate::engine::{Instance, convert};
use crate::error::{KeyError, SessionError, trap};
use crate::grant::Grant;
use crate::holder::Holder;
use crate::lock::Lock;
use crate::process::Process;
use crate::semaphore::{self, Semaphore, SemaphoreStatus};

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
/// Two sessions never hold one lock together, whatever their owner's names. Clones are the same session.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Shared,
}

/// A session's instance, entered by one thread at a time. A call keeps it for as long as the store takes; waiting for
/// a lock does not keep it.
#[derive(Clone)]
pub(crate) struct Shared {
    guest: Arc<Mutex<Guest>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The owner's name.
    pub(crate) owner: Arc<str>,
    /// The process that opened the session: a forked child must not release what its parent holds.
    process: Process,
}

pub(crate) struct Guest {
    pub(crate) instance: Instance,
    pub(crate) session: ResourceAny,
}

/// How a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nobody has it.
    Free,
    /// Somebody has it, or had it and it is kept for its minimum time.
    Held(Box<Holder>),
    /// Its value is not a kvlock record; its beginning.
    Corrupt(String),
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
    /// lease that anyone uses there; the default is 30 s, or the lease asked for if that is longer. Zero turns it off.
    pub fn quarantine(mut self, quarantine: Duration) -> Self {
        self.quarantine = Some(quarantine);
        self
    }

    /// Opens the session. Nothing is sent.
    pub fn open(self) -> Result<Session, SessionError> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let process = std::process::id();
        let options = wit::SessionOptions {
            owner: self.owner.unwrap_or_else(|| format!("{host}-{process}-{}", thread_name())),
            label: self.label.unwrap_or_else(|| format!("{host} pid {process}")),
            namespace: self.namespace,
            quarantine: self.quarantine.map(convert::nanos),
            unix_time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(convert::nanos),
        };
        let component = |error: wasmtime::Error| SessionError::Component(trap(&error));
        let mut instance = Instance::new(&self.client).map_err(component)?;
        let resource = instance.exports.kvlock_lock_mutex().session();
        let session = resource.call_open(&mut instance.store, &options).map_err(component)?;
        let session = session.map_err(SessionError::Invalid)?;
        let guest = Arc::new(Mutex::new(Guest { instance, session }));
        Ok(Session {
            shared: Shared {
                guest,
                clock: self.client.clock,
                owner: options.owner.into(),
                process: Process::current(),
            },
        })
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
        let mut guest = self.shared.enter();
        let Guest { instance, session } = &mut *guest;
        let resource = instance.exports.kvlock_lock_mutex().session();
        let resumed = resource.call_resume(&mut instance.store, *session, written);
        let grant = resumed.map_err(|error| SessionError::Component(trap(&error)))?.map_err(SessionError::Invalid)?;
        Grant::asked(&self.shared, &mut guest, grant).map_err(|error| SessionError::Component(trap(&error)))
    }

    /// Tells how a key stands.
    pub fn status(&self, key: &str) -> Result<Status, KeyError> {
        let missing = || KeyError::Component("no answer about the key".to_string());
        self.statuses(&[key])?.pop().ok_or_else(missing)
    }

    /// Tells how several keys stand, in their order and in one call.
    pub fn statuses(&self, keys: &[&str]) -> Result<Vec<Status>, KeyError> {
        let mut guest = self.shared.enter();
        let Guest { instance, session } = &mut *guest;
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        let resource = instance.exports.kvlock_lock_mutex().session();
        let statuses = resource.call_status(&mut instance.store, *session, &keys);
        let statuses = statuses.map_err(|error| KeyError::Component(trap(&error)))?;
        let statuses = statuses.map_err(|error| KeyError::of(keys.first().map_or("", String::as_str), error))?;
        Ok(statuses.into_iter().map(Status::from).collect())
    }

    /// Ends somebody's grant by force and tells whose; none if the key was free. The holder learns that it lost the
    /// lock at its next renewal or release, and may be at work until then.
    pub fn break_lock(&self, key: &str) -> Result<Option<Holder>, KeyError> {
        let mut guest = self.shared.enter();
        let Guest { instance, session } = &mut *guest;
        let resource = instance.exports.kvlock_lock_mutex().session();
        let broken = resource.call_break(&mut instance.store, *session, key);
        let broken = broken.map_err(|error| KeyError::Component(trap(&error)))?;
        let broken = broken.map_err(|error| KeyError::of(key, error))?.map(Holder::from);
        if let Some(holder) = &broken {
            tracing::info!(key, token = holder.token, "broken by force; it was {holder}");
        }
        Ok(broken)
    }
}

impl Shared {
    pub(crate) fn enter(&self) -> MutexGuard<'_, Guest> {
        // A panic of another thread left the instance between two calls at worst: it is still whole.
        let mut guest = self.guest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        guest.instance.begin_call();
        guest
    }

    /// Whether this is the process that opened the session, and not a fork of it.
    pub(crate) fn is_own_process(&self) -> bool {
        self.process.is_current()
    }
}

impl Guest {
    pub(crate) fn begin(
        &mut self,
        key: &str,
        options: wit::LockOptions,
    ) -> wasmtime::Result<Result<ResourceAny, wit::AcquireError>> {
        let resource = self.instance.exports.kvlock_lock_mutex().session();
        resource.call_lock(&mut self.instance.store, self.session, key, options)
    }

    pub(crate) fn try_lock(
        &mut self,
        key: &str,
        options: wit::LockOptions,
    ) -> wasmtime::Result<Result<wit::Tried, wit::AcquireError>> {
        let resource = self.instance.exports.kvlock_lock_mutex().session();
        resource.call_try_lock(&mut self.instance.store, self.session, key, options)
    }

    pub(crate) fn begin_retry(
        &mut self,
        key: &str,
        options: RetryOptions,
    ) -> wasmtime::Result<Result<ResourceAny, String>> {
        let retrying = self.instance.exports.kvlock_lock_conflict_retry();
        retrying.call_begin(&mut self.instance.store, self.session, key, options)
    }
}

impl From<wit::Status> for Status {
    fn from(status: wit::Status) -> Self {
        match status {
            wit::Status::Free => Status::Free,
            wit::Status::Held(holder) => Status::Held(Box::new(holder.into())),
            wit::Status::Corrupt(excerpt) => Status::Corrupt(excerpt),
        }
    }
}

fn thread_name() -> String {
    let thread = std::thread::current();
    thread.name().map_or_else(|| format!("{:?}", thread.id()), String::from)
}
