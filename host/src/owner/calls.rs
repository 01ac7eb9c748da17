//! Calls of a session that wait for nothing but the store.

use super::{Owner, Tasks};
use crate::error::{CallError, ComponentError, StatusError};
use crate::listing::{Collecting, ListFilter, Listing};
use crate::runner::Work;
use crate::status::{Broken, KeyStatus, SemaphoreStatus};
use crate::store::Keys;

/// How many keys are looked at by one call of the component: locks come with their wait lists, and a request stays far
/// below what a socket buffers.
const KEYS_PER_LOOK: usize = 128;

impl Owner {
    /// Runs work for a task. An owner that is of a single wait works where that is awaited: two threads less have to wake.
    /// A session that is shared does not, since a future that is not polled would keep its instance from all others.
    pub(crate) async fn run<T: Send + 'static>(&self, tasks: &Tasks, work: Work<T>) -> T {
        if self.is_of_one_wait() { tasks.runner().run_here(work).await } else { tasks.runner().run(work).await }
    }

    /// Tells how a key stands.
    pub(crate) async fn status(&self, key: &str) -> Result<KeyStatus, StatusError> {
        let missing = || StatusError::component(key, ComponentError::Failed("no answer about the key".to_string()));
        self.statuses(&[key]).await?.pop().ok_or_else(missing)
    }

    /// Tells how several keys stand, in their order.
    pub(crate) async fn statuses(&self, keys: &[impl AsRef<str>]) -> Result<Vec<KeyStatus>, StatusError> {
        let keys: Vec<String> = keys.iter().map(|key| key.as_ref().to_string()).collect();
        self.enter::<StatusError>("").await?.status(&keys).await
    }

    /// Lists what is taken in the namespace.
    pub(crate) async fn list(&self, filter: &ListFilter) -> Result<Listing, StatusError> {
        let prefix = format!("{}:", self.namespace());
        let keys = match &self.environment().awaited {
            None => self.environment().store.keys(&prefix),
            Some(store) => store.keys(prefix).await,
        };
        let Keys { mut keys, is_exact } = keys.map_err(|error| StatusError::Store { key: String::new(), error })?;
        keys.retain(|key| filter.may_want(self.namespace(), key));
        let mut collecting = Collecting::new(filter);
        for some in keys.chunks(KEYS_PER_LOOK) {
            // The session is free for its locks in between.
            let found = self.enter::<StatusError>("").await?.inspect(some).await?;
            for (key, standing) in some.iter().zip(found) {
                standing.into_iter().for_each(|standing| collecting.take(key, standing));
            }
        }
        Ok(collecting.finish(is_exact))
    }

    /// Ends the present holder's grant by force: of any, or the one with this token.
    pub(crate) async fn break_lock(&self, key: &str, if_token: Option<u64>) -> Result<Broken, StatusError> {
        let broken = self.enter::<StatusError>(key).await?.break_key(key, if_token).await?;
        if let Broken::Ended(holder) = &broken {
            tracing::info!(key, token = holder.token, "broken by force; it was {}", holder.who());
        }
        Ok(broken)
    }

    /// Tells of all semaphores.
    pub(crate) async fn semaphores(&self) -> Result<Vec<SemaphoreStatus>, StatusError> {
        self.enter::<StatusError>("").await?.semaphores().await
    }

    /// Tells how a semaphore stands.
    pub(crate) async fn semaphore_status(&self, name: &str) -> Result<Option<SemaphoreStatus>, StatusError> {
        self.enter::<StatusError>(name).await?.semaphore_status(name).await
    }

    /// Ends the grant of a permit by force: of any holder, or the one with this token.
    pub(crate) async fn break_permit(
        &self,
        name: &str,
        permit: u32,
        if_token: Option<u64>,
    ) -> Result<Broken, StatusError> {
        let broken = self.enter::<StatusError>(name).await?.break_permit(name, permit, if_token).await?;
        if let Broken::Ended(holder) = &broken {
            let token = holder.token;
            tracing::info!(semaphore = name, permit, token, "broken by force; it was {}", holder.who());
        }
        Ok(broken)
    }
}
