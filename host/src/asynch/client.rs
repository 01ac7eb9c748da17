//! The way in for tasks.

use std::sync::Arc;

use crate::debug::debug_fields;
use crate::environment::Environment;
use crate::error::{ConnectError, StatusError};
use crate::listing::{ListFilter, Listing};
use crate::owner::{ClientCore, Owner, OwnerOptions, Tasks};
use crate::runner::Runner;
use crate::store::KvStore;

use super::conflict_retry::ConflictRetry;
use super::lock::{Lock, Owners};
use super::semaphore::Semaphore;
use super::session::SessionBuilder;

/// A store to lock in, for tasks: see [`crate::Client`]. Cheap to clone.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
/// let client = kvlock::asynch::Client::connect("memory:")?;
/// let held = client.lock("report").acquire().await?;
/// // Another acquire is another owner:
/// assert!(client.lock("report").try_acquire().await?.is_none());
/// held.release().await?;
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct Client {
    core: ClientCore,
    tasks: Arc<Tasks>,
}

debug_fields!(Client, |_|);

impl Client {
    /// Takes a store by its URL: see [`crate::Client::connect`]. Nothing is sent, and no name is looked up.
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub fn connect(url: &str) -> Result<Self, ConnectError> {
        crate::Client::connect(url).map(Client::from)
    }

    /// Takes the store that the environment names: see [`crate::Client::from_env`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub fn from_env() -> Result<Self, ConnectError> {
        crate::Client::from_env().map(Client::from)
    }

    /// Takes a store of your own. Threads of the client call it, eight at most.
    pub fn with_store(store: impl KvStore) -> Self {
        crate::Client::with_store(store).into()
    }

    /// Gives the metrics of what is waited for and held the label `key`, or takes it from them: see
    /// [`crate::Client::metrics_key_label`].
    #[cfg(feature = "metrics")]
    pub fn metrics_key_label(mut self, is_wanted: bool) -> Self {
        self.core.environment.events = self.core.environment.events.with_key_label(is_wanted);
        self
    }

    /// Returns a lock of a key: any string of 1 to 65,536 bytes. Each acquire is an owner of its own.
    pub fn lock(&self, key: impl AsRef<str>) -> Lock {
        Lock::of_each_acquire(self.tasks.clone(), crate::Lock::new(self.any_owner(), key.as_ref().into()))
    }

    /// Returns a lock of several keys at once: see [`crate::Client::lock_all`]. Each acquire is an owner of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
    /// let client = kvlock::asynch::Client::connect("memory:")?;
    /// let held = client.lock_all(["b", "a"]).acquire().await?;
    /// assert!(client.lock("a").try_acquire().await?.is_none());
    /// assert_eq!(held.tokens().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "a"]);
    /// held.release().await?;
    /// # Ok(()) }) }
    /// ```
    pub fn lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Lock {
        Lock::of_each_acquire(self.tasks.clone(), crate::Lock::of_all(self.any_owner(), keys))
    }

    /// Returns a semaphore, whether or not it is there. Each acquire is an owner of its own.
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore {
        Semaphore::new(self.tasks.clone(), crate::Semaphore::new(self.any_owner(), name.into()), Owners::OfEachAcquire)
    }

    /// Begins to try work that may run into a conflict. Each run is an owner of its own.
    pub fn conflict_retry(&self, key: impl AsRef<str>) -> ConflictRetry {
        let retry = crate::ConflictRetry::new(self.any_owner(), key.as_ref().into());
        ConflictRetry::new(self.tasks.clone(), retry, Owners::OfEachAcquire)
    }

    /// Begins to open a session: an owner of its own, with a name, a namespace and a quarantine.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder(crate::SessionBuilder::new(self.core.clone()), self.tasks.clone())
    }

    /// Lists what is taken in the namespace: see [`crate::Session::list`].
    ///
    /// # Errors
    ///
    /// As the blocking call.
    pub async fn list(&self, filter: &ListFilter) -> Result<Listing, StatusError> {
        let (owner, filter) = (self.any_owner(), filter.clone());
        self.tasks.runner().run(Box::pin(async move { owner.list(&filter).await })).await
    }

    pub(super) fn of(mut core: ClientCore, tasks: Tasks) -> Self {
        let tasks = Arc::new(tasks);
        core.tasks = Some(tasks.clone());
        Client { core, tasks }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.core.environment
    }

    /// Returns an owner as each acquire has one. It gets an instance only if it is used.
    fn any_owner(&self) -> Owner {
        Owner::open_unchecked(self.core.clone(), self.tasks.options().clone())
    }
}

impl SessionBuilder {
    /// Returns a client whose acquires have these options, and are an owner each. An option that is not legal is refused
    /// by each of them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
    /// let client = kvlock::asynch::Client::connect("memory:")?.session().namespace("reports").for_each_acquire();
    /// let held = client.lock("july").acquire().await?;
    /// assert!(client.lock("july").try_acquire().await?.is_none());
    /// held.release().await?;
    /// # Ok(()) }) }
    /// ```
    pub fn for_each_acquire(self) -> Client {
        let SessionBuilder(builder, tasks) = self;
        let (core, options) = builder.into_parts();
        Client::of(core, Tasks::new(tasks.runner().clone(), options))
    }
}

impl From<crate::Client> for Client {
    /// Takes the store and the clock of a client of threads. Its threads and the tasks wait in the same queues, and hand
    /// locks over to each other.
    fn from(client: crate::Client) -> Self {
        let mut core = client.core;
        let runner = Arc::<Runner>::default();
        core.environment = core.environment.for_tasks(&runner);
        Client::of(core, Tasks::new(runner, OwnerOptions::default()))
    }
}
