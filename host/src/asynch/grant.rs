//! Locks held by tasks.

use std::sync::Arc;

use crate::debug::debug_fields;
use crate::error::GrantError;
use crate::grant::{Handle, Released};
use crate::outcome::Validity;
use crate::owner::Tasks;
use crate::status::Ask;
use crate::store::Ttl;

/// A held lock: see [`crate::Grant`]. It is released in the background when it is dropped; await
/// [`release`](Self::release) to learn whether it was held to the end.
#[must_use = "a grant that is dropped is released"]
pub struct Grant {
    grant: crate::Grant,
    tasks: Arc<Tasks>,
}

debug_fields!(Grant, |it| grant = it.grant);

impl Grant {
    pub(super) fn new(tasks: Arc<Tasks>, grant: crate::Grant) -> Self {
        Grant { grant, tasks }
    }

    /// Returns the key.
    pub fn key(&self) -> &str {
        self.grant.key()
    }

    /// Returns which permit it is: see [`crate::Grant::permit`].
    pub fn permit(&self) -> Option<u32> {
        self.grant.permit()
    }

    /// Returns the owner's name.
    pub fn owner(&self) -> &str {
        self.grant.owner()
    }

    /// Returns all keys with their fencing tokens: see [`crate::Grant::tokens`].
    pub fn tokens(&self) -> impl Iterator<Item = (&str, u64)> {
        self.grant.tokens()
    }

    /// Returns the fencing token of one of its keys: see [`crate::Grant::token_of`].
    pub fn token_of(&self, key: &str) -> Option<u64> {
        self.grant.token_of(key)
    }

    /// Returns the fencing token: see [`crate::Grant::token`].
    pub fn token(&self) -> u64 {
        self.grant.token()
    }

    /// Returns how often the session holds the lock: see [`crate::Grant::depth`].
    ///
    /// # Errors
    ///
    /// If the component failed.
    pub async fn depth(&self) -> Result<u32, GrantError> {
        let handle = self.handle();
        handle.owner.clone().run(&self.tasks, Box::pin(async move { handle.depth().await })).await
    }

    /// Returns how long the grant is surely valid. Asks the clock, not the store.
    ///
    /// # Errors
    ///
    /// If the component failed.
    pub async fn validity(&self) -> Result<Validity, GrantError> {
        let handle = self.handle();
        handle.owner.clone().run(&self.tasks, Box::pin(async move { handle.validity().await })).await
    }

    /// Begins the lease again.
    ///
    /// # Errors
    ///
    /// As [`crate::Grant::renew`].
    pub async fn renew(&mut self) -> Result<(), GrantError> {
        self.renew_as(None).await
    }

    /// Begins a lease of another length.
    ///
    /// # Errors
    ///
    /// As [`crate::Grant::renew_for`].
    pub async fn renew_for(&mut self, lease: impl Into<Ttl>) -> Result<(), GrantError> {
        self.renew_as(Some(lease.into())).await
    }

    async fn renew_as(&self, lease: Option<Ttl>) -> Result<(), GrantError> {
        let handle = self.handle();
        handle.owner.clone().run(&self.tasks, Box::pin(async move { handle.renew(lease).await })).await
    }

    /// Returns who asks for the lock, if somebody does: see [`crate::Grant::wanted`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn wanted(&mut self) -> Result<Option<Ask>, GrantError> {
        let handle = self.handle();
        handle.owner.clone().run(&self.tasks, Box::pin(async move { handle.wanted().await })).await
    }

    /// Gives the lock back, and tells if it had been lost. It is given back even if the future is dropped, once that was
    /// polled.
    ///
    /// # Errors
    ///
    /// As [`crate::Grant::release`].
    pub async fn release(self) -> Result<Released, GrantError> {
        let Grant { grant, tasks } = self;
        let owner = grant.handle().owner.clone();
        owner.run(&tasks, Box::pin(grant.give_back())).await
    }

    /// Shares the lock with readers from now on: see [`crate::Grant::downgrade`].
    ///
    /// # Errors
    ///
    /// As [`crate::Grant::downgrade`].
    pub async fn downgrade(&mut self) -> Result<(), GrantError> {
        let handle = self.handle();
        self.tasks.runner().run(Box::pin(async move { handle.downgrade().await })).await
    }

    /// Gives up the minimum hold of the lock: see [`crate::Grant::waive_minimum`].
    ///
    /// # Errors
    ///
    /// If the component failed.
    pub async fn waive_minimum(&self) -> Result<(), GrantError> {
        let handle = self.handle();
        handle.owner.clone().run(&self.tasks, Box::pin(async move { handle.waive_minimum().await })).await
    }

    /// Writes the grant out as one word: see [`crate::Grant::write_out`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn write_out(self) -> Result<String, GrantError> {
        let Grant { grant, tasks } = self;
        let owner = grant.handle().owner.clone();
        owner.run(&tasks, Box::pin(grant.written_out())).await
    }

    /// Gives up the duty to release the grant: it ends with its lease.
    pub fn forget(self) {
        self.grant.forget();
    }

    /// Takes it apart.
    pub(super) fn into_parts(self) -> (crate::Grant, Arc<Tasks>) {
        (self.grant, self.tasks)
    }

    fn handle(&self) -> Handle {
        self.grant.handle().clone()
    }
}
