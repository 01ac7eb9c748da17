//! Sessions of tasks.

use std::sync::Arc;
use std::time::Duration;

use crate::debug::debug_fields;
use crate::error::{SessionError, StatusError};
use crate::listing::{ListFilter, Listing};
use crate::owner::{Owner, Tasks};
use crate::status::{Broken, KeyStatus, SemaphoreStatus};

use super::asking::AskRequest;
use super::conflict_retry::ConflictRetry;
use super::grant::Grant;
use super::lock::{Lock, Owners};
use super::same_setters;
use super::semaphore::Semaphore;

/// How to open a session: see [`crate::SessionBuilder`].
#[derive(Clone)]
pub struct SessionBuilder(pub(super) crate::SessionBuilder, pub(super) Arc<Tasks>);

/// An owner of locks: see [`crate::Session`]. Clones are the same session.
#[derive(Clone)]
pub struct Session {
    session: crate::Session,
    tasks: Arc<Tasks>,
}

debug_fields!(SessionBuilder, |it| builder = it.0);
debug_fields!(Session, |it| session = it.session);

impl SessionBuilder {
    same_setters! { "SessionBuilder":
        owner(name: impl Into<String>)
        label(label: impl Into<String>)
        namespace(namespace: impl Into<String>)
        quarantine(quarantine: Duration)
    }

    /// Opens the session. Nothing is sent.
    ///
    /// # Errors
    ///
    /// If an option is not legal, or the component failed.
    pub async fn open(self) -> Result<Session, SessionError> {
        let SessionBuilder(builder, tasks) = self;
        let session = tasks.runner().run(Box::pin(builder.opened())).await?;
        Ok(Session { session, tasks })
    }
}

impl Session {
    /// Begins to lock a key: any string of 1 to 65,536 bytes.
    pub fn lock(&self, key: impl AsRef<str>) -> Lock {
        Lock::of_session(self.tasks.clone(), self.session.lock(key))
    }

    /// Begins to lock several keys at once: see [`crate::Client::lock_all`].
    pub fn lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Lock {
        Lock::of_session(self.tasks.clone(), self.session.lock_all(keys))
    }

    /// Begins to try work that may run into a conflict, under the lock of a key.
    pub fn conflict_retry(&self, key: impl AsRef<str>) -> ConflictRetry {
        ConflictRetry::new(self.tasks.clone(), self.session.conflict_retry(key), Owners::Session)
    }

    /// Returns a semaphore, whether or not it is there: a name of 1 to 255 bytes.
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore {
        Semaphore::new(self.tasks.clone(), self.session.semaphore(name), Owners::Session)
    }

    /// Tells of all semaphores of the session's namespace, by name.
    ///
    /// # Errors
    ///
    /// As [`crate::Session::semaphores`].
    pub async fn semaphores(&self) -> Result<Vec<SemaphoreStatus>, StatusError> {
        let owner = self.owner();
        self.tasks.runner().run(Box::pin(async move { owner.semaphores().await })).await
    }

    /// Takes up a grant that was written out: see [`crate::Session::resume`]. Nothing is sent.
    ///
    /// # Errors
    ///
    /// If the word is no grant, or the component failed.
    pub async fn resume(&self, written: &str) -> Result<Grant, SessionError> {
        let (session, written) = (self.session.clone(), written.to_string());
        let grant = self.tasks.runner().run(Box::pin(async move { session.resumed(&written).await })).await?;
        Ok(Grant::new(self.tasks.clone(), grant))
    }

    /// Tells how a key stands.
    ///
    /// # Errors
    ///
    /// As [`crate::Session::status`].
    pub async fn status(&self, key: &str) -> Result<KeyStatus, StatusError> {
        let (owner, key) = (self.owner(), key.to_string());
        self.tasks.runner().run(Box::pin(async move { owner.status(&key).await })).await
    }

    /// Tells how several keys stand, in their order. One call of the store reads them all.
    ///
    /// # Errors
    ///
    /// As [`crate::Session::statuses`].
    pub async fn statuses(&self, keys: &[&str]) -> Result<Vec<KeyStatus>, StatusError> {
        let owner = self.owner();
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        self.tasks.runner().run(Box::pin(async move { owner.statuses(&keys).await })).await
    }

    /// Begins to ask the present holder to give a key back: see [`crate::Session::ask`].
    pub fn ask(&self, key: impl AsRef<str>) -> AskRequest {
        AskRequest::new(self.tasks.clone(), self.session.ask(key))
    }

    /// Lists what is taken in the session's namespace: see [`crate::Session::list`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn list(&self, filter: &ListFilter) -> Result<Listing, StatusError> {
        let (owner, filter) = (self.owner(), filter.clone());
        self.tasks.runner().run(Box::pin(async move { owner.list(&filter).await })).await
    }

    /// Ends the present holder's grant by force: see [`crate::Session::break_lock`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn break_lock(&self, key: &str) -> Result<Broken, StatusError> {
        self.break_by_force(key, None).await
    }

    /// Does the same to the grant with this fencing token, and to no other.
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn break_lock_if(&self, key: &str, token: u64) -> Result<Broken, StatusError> {
        self.break_by_force(key, Some(token)).await
    }

    async fn break_by_force(&self, key: &str, if_token: Option<u64>) -> Result<Broken, StatusError> {
        let (owner, key) = (self.owner(), key.to_string());
        self.tasks.runner().run(Box::pin(async move { owner.break_lock(&key, if_token).await })).await
    }

    fn owner(&self) -> Owner {
        self.session.owner.here().clone()
    }
}
