//! Sessions: owners of locks.

use std::time::Duration;

use crate::asking::AskRequest;
use crate::component::AskPlace;
use crate::conflict_retry::ConflictRetry;
use crate::debug::debug_fields;
use crate::error::{SessionError, StatusError};
use crate::grant::Grant;
use crate::listing::{ListFilter, Listing};
use crate::lock::Lock;
use crate::now::now;
use crate::owner::{ClientCore, Owner, OwnerOptions};
use crate::semaphore::Semaphore;
use crate::status::{Broken, KeyStatus, SemaphoreStatus};

/// How to open a session. Each option has a default that serves.
#[derive(Clone)]
pub struct SessionBuilder {
    core: ClientCore,
    options: OwnerOptions,
}

/// An owner of locks: one unit of work at a time, such as a thread or a task.
///
/// Two sessions never hold one lock together, whatever their owner's names. Clones are the same session. In the child
/// of a fork it is another owner. The parent's grants are lost there, and remain the parent's; its waits are to be
/// begun again.
#[derive(Clone)]
pub struct Session {
    pub(crate) owner: Owner,
}

debug_fields!(
    SessionBuilder,
    |it| owner = it.options.name,
    label = it.options.label,
    namespace = it.options.namespace,
    quarantine = it.options.quarantine
);
debug_fields!(Session, |it| owner = it.owner.name(), namespace = it.owner.namespace());

impl SessionBuilder {
    pub(crate) fn new(core: ClientCore) -> Self {
        SessionBuilder { core, options: OwnerOptions::default() }
    }

    /// Sets a name for people, shown to waiters; default: host, process and thread.
    pub fn owner(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Sets where the session runs, for people; default: host and process.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.options.label = Some(label.into());
        self
    }

    /// Sets the first part of all store keys; default `kvlock`. Sessions see each other's locks within one namespace
    /// only.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.options.namespace = namespace.into();
        self
    }

    /// Sets how long a store's contents must have existed before anything is granted on them. It should be the longest
    /// lease that anyone uses there; the default is the longest of 30 s, the lease and the minimum hold
    /// asked for. Zero turns it off.
    pub fn quarantine(mut self, quarantine: Duration) -> Self {
        self.options.quarantine = Some(quarantine);
        self
    }

    /// Opens the session. Nothing is sent.
    pub fn open(self) -> Result<Session, SessionError> {
        now(self.opened())
    }

    /// Takes it apart.
    pub(crate) fn into_parts(self) -> (ClientCore, OwnerOptions) {
        (self.core, self.options)
    }

    /// Does what [`open`](Self::open) does.
    pub(crate) async fn opened(self) -> Result<Session, SessionError> {
        Ok(Session { owner: Owner::open(self.core, self.options).await? })
    }

    /// Opens the session by options that are known to be legal. It gets its instance when it is used.
    pub(crate) fn open_unchecked(self) -> Session {
        Session { owner: Owner::open_unchecked(self.core, self.options) }
    }
}

impl Session {
    /// Begins to lock a key: any string of 1 to 65,536 bytes.
    pub fn lock(&self, key: impl AsRef<str>) -> Lock {
        Lock::new(self.owner.clone(), key.as_ref().into())
    }

    /// Begins to lock several keys at once: see [`Client::lock_all`](crate::Client::lock_all).
    pub fn lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Lock {
        Lock::of_all(self.owner.clone(), keys)
    }

    /// Begins to try work that may run into a conflict, under the lock of a key.
    pub fn conflict_retry(&self, key: impl AsRef<str>) -> ConflictRetry {
        ConflictRetry::new(self.owner.clone(), key.as_ref().into())
    }

    /// Returns a semaphore, whether or not it is there: a name of 1 to 255 bytes.
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore {
        Semaphore::new(self.owner.clone(), name.into())
    }

    /// Tells of all semaphores of the session's namespace, by name.
    pub fn semaphores(&self) -> Result<Vec<SemaphoreStatus>, StatusError> {
        now(self.owner.here().semaphores())
    }

    /// Takes up a grant that was written out, by this process or another. Nothing is sent: renew the grant to learn
    /// whether it still stands.
    pub fn resume(&self, written: &str) -> Result<Grant, SessionError> {
        now(self.resumed(written))
    }

    /// Does what [`resume`](Self::resume) does.
    pub(crate) async fn resumed(&self, written: &str) -> Result<Grant, SessionError> {
        let owner = self.owner.here();
        let facts = owner.enter::<SessionError>("").await?.resume(written).await?;
        Ok(Grant::of(owner, facts))
    }

    /// Tells how a key stands.
    pub fn status(&self, key: &str) -> Result<KeyStatus, StatusError> {
        now(self.owner.here().status(key))
    }

    /// Tells how several keys stand, in their order. One call of the store reads them all.
    pub fn statuses(&self, keys: &[&str]) -> Result<Vec<KeyStatus>, StatusError> {
        now(self.owner.here().statuses(keys))
    }

    /// Begins to ask the present holder to give a key back: see [`asking`](crate::asking).
    pub fn ask(&self, key: impl AsRef<str>) -> AskRequest {
        AskRequest::new(self.owner.clone(), AskPlace::Lock(key.as_ref().into()))
    }

    /// Lists what is taken in the session's namespace: locks, semaphores and their permits, reservations. The store lists
    /// its keys, and a few calls for each hundred of them read what stands there.
    ///
    /// # Errors
    ///
    /// [`StatusError::Store`] if the store cannot list, or does not answer.
    pub fn list(&self, filter: &ListFilter) -> Result<Listing, StatusError> {
        now(self.owner.here().list(filter))
    }

    /// Ends the present holder's grant by force, and tells whose it was. The holder learns that it lost the lock at its
    /// next renewal or release, and [may be at work](crate::Holder::at_work_until) until then. If that grant ends by itself
    /// meanwhile, its successor keeps the lock.
    pub fn break_lock(&self, key: &str) -> Result<Broken, StatusError> {
        now(self.owner.here().break_lock(key, None))
    }

    /// Does the same to the grant with this fencing token, as [`status`](Self::status) tells it, and to no other.
    pub fn break_lock_if(&self, key: &str, token: u64) -> Result<Broken, StatusError> {
        now(self.owner.here().break_lock(key, Some(token)))
    }
}
