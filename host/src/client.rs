//! The way in: a store, and sessions on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::clock::Clock;
use crate::conflict_retry::ConflictRetry;
use crate::debug::debug_fields;
use crate::environment::Environment;
use crate::error::{ConnectError, StatusError};
use crate::listing::{ListFilter, Listing};
use crate::lock::Lock;
use crate::owner::ClientCore;
use crate::semaphore::Semaphore;
use crate::session::{Session, SessionBuilder};
use crate::sessions::Sessions;
use crate::store::{KvStore, Memory};
use crate::text::without_secrets;

/// The server of a URL that names none.
#[cfg(feature = "memcached")]
const DEFAULT_SERVER: &str = "127.0.0.1:11211";

/// A store to lock in, and a clock. Cheap to clone.
///
/// [`lock`](Self::lock), [`semaphore`](Self::semaphore) and [`conflict_retry`](Self::conflict_retry) lock for the
/// calling thread, which is an owner of its own: threads wait for each other. For another kind of owner, such as a
/// task, open a [`session`](Self::session). All sessions of a client and its clones that wait for one key stand in one
/// queue.
#[derive(Clone)]
pub struct Client {
    pub(crate) core: ClientCore,
    /// A session for each thread that locks without one of its own.
    of_threads: Arc<Sessions>,
}

debug_fields!(Client, |_|);

impl Client {
    /// Takes a store by its URL, such as `memcached://host:port`, `redis://host`, `etcd://host`,
    /// `postgres://host/database`, `local:PATH` or `memory:`: see the table in [`store`](crate::store).
    ///
    /// Nothing is sent: the first call finds out if a server answers.
    pub fn connect(url: &str) -> Result<Self, ConnectError> {
        let bad = |reason: &str| ConnectError::BadUrl { url: without_secrets(url), reason: reason.to_string() };
        let forms = "give memcached://host:port[,host:port…], redis://host:port, etcd://host:port[,host:port…], \
                     postgres://host/database, local:PATH or memory:";
        let (scheme, rest) = url.split_once(':').ok_or_else(|| bad(forms))?;
        match scheme {
            "memcached" | "memcacheds" => memcached(url, scheme, rest.strip_prefix("//").unwrap_or(rest)),
            "etcd" | "etcds" => etcd(url),
            "postgres" | "postgresql" => postgres(url),
            "unix" => redis(url),
            scheme if is_of(scheme, &["redis", "rediss", "valkey", "valkeys"]) => redis(url),
            "local" if rest.is_empty() => Err(bad("no path; give local:PATH")),
            "local" => local(url, PathBuf::from(rest)),
            "memory" if rest.is_empty() => Ok(Client::with_store(Memory::default())),
            "memory" => Err(bad("memory: takes nothing more")),
            _ => Err(bad(forms)),
        }
    }

    /// Takes the store that the environment names: `KVLOCK_STORE`, a URL; else `MEMCACHEDLOCK_SERVERS`,
    /// `host:port[,host:port…]`. If neither is set it takes the user's file on this machine, as the command `kvlock`
    /// does: see [`Local::default_path`](crate::store::Local::default_path).
    ///
    /// # Errors
    /// [`ConnectError::NotConfigured`] if nothing is set and there is no such file: the user has no home directory, or
    /// the library was built without the feature `local`.
    pub fn from_env() -> Result<Self, ConnectError> {
        let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let servers = || named("MEMCACHEDLOCK_SERVERS").map(|servers| format!("memcached://{servers}"));
        match named("KVLOCK_STORE").or_else(servers) {
            Some(url) => Client::connect(&url),
            None => default_store(),
        }
    }

    /// Takes a store of your own. [`crate::store::conformance`] tests whether it is fit.
    pub fn with_store(store: impl KvStore) -> Self {
        Client::of(ClientCore { environment: Environment::of(store), queues: Arc::default(), tasks: None })
    }

    /// Replaces the clock, for tests: see [`VirtualClock`](crate::clock::VirtualClock).
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.core.environment.clock = clock;
        // All waiters of a queue count by one clock.
        self.core.queues = Arc::default();
        Client::of(self.core)
    }

    /// Replaces the system's random numbers, so that a test repeats to the nanosecond. Never elsewhere: a nonce that can
    /// be guessed, or comes twice, is none.
    pub fn with_random(mut self, random: impl FnMut() -> u64 + Send + 'static) -> Self {
        self.core.environment.random = Some(Arc::new(Mutex::new(random)));
        Client::of(self.core)
    }

    /// Gives the metrics of what is waited for and held the label `key`, or takes it from them. Without this they have
    /// none: each value of a label costs a monitoring system memory. For few keys, whose names are no secrets.
    #[cfg(feature = "metrics")]
    pub fn metrics_key_label(mut self, is_wanted: bool) -> Self {
        self.core.environment.events = self.core.environment.events.with_key_label(is_wanted);
        Client::of(self.core)
    }

    /// Returns the store, to look at what is in it or whether it is fit to lock on.
    pub fn store(&self) -> &dyn KvStore {
        self.core.environment.store.as_ref()
    }

    /// Returns a lock of a key, for the calling thread: any string of 1 to 65,536 bytes.
    ///
    /// The thread's session has the defaults of [`session`](Self::session), is opened on first use, and is kept. A key
    /// that is not legal is refused when the lock is acquired.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = kvlock::Client::connect("memory:")?;
    /// let lock = client.lock("report");
    /// let grant = lock.acquire()?;
    /// println!("fencing token {}", grant.token());
    /// grant.release()?;
    /// lock.acquire()?.release()?; // the same lock again
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, key: impl AsRef<str>) -> Lock {
        self.of_this_thread().lock(key)
    }

    /// Returns a lock of several keys at once, for the calling thread: all or none. It has one limit of the wait, and is
    /// renewed, lost and released as one. Sessions that want some of the same keys do not end in a deadlock, whatever the
    /// order in which they name them. A wait for one of the keys holds those before it, in the order of their bytes.
    ///
    /// At most 100 keys are possible; one that is named twice is one key. Whoever holds one of them already gets the
    /// error of a single lock.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = kvlock::Client::connect("memory:")?;
    /// let moved = client.lock_all(["account:7", "account:3"]).with_lock(|held| {
    ///     assert!(held.token_of("account:3").is_some());
    ///     50
    /// })?;
    /// # assert_eq!(moved, 50);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Lock {
        self.of_this_thread().lock_all(keys)
    }

    /// Returns a semaphore, whether or not it is there, for the calling thread: see [`lock`](Self::lock).
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore {
        self.of_this_thread().semaphore(name)
    }

    /// Begins to try work that may run into a conflict, for the calling thread: see [`lock`](Self::lock).
    pub fn conflict_retry(&self, key: impl AsRef<str>) -> ConflictRetry {
        self.of_this_thread().conflict_retry(key)
    }

    /// Lists what is taken in the usual namespace: see [`Session::list`].
    ///
    /// # Errors
    ///
    /// As [`Session::list`].
    pub fn list(&self, filter: &ListFilter) -> Result<Listing, StatusError> {
        self.of_this_thread().list(filter)
    }

    fn of_this_thread(&self) -> Session {
        self.of_threads.of_defaults()
    }

    fn of(core: ClientCore) -> Self {
        Client { of_threads: Arc::new(Sessions::new(SessionBuilder::new(core.clone()))), core }
    }

    /// Begins to open a session: an owner of its own, with a name, a namespace and a quarantine.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder::new(self.core.clone())
    }
}

/// Whether a scheme is one of these, or one of them with something behind a `+`, as in `redis+unix`.
fn is_of(scheme: &str, schemes: &[&str]) -> bool {
    schemes.contains(&scheme.split('+').next().unwrap_or_default())
}

#[cfg(feature = "redis")]
fn redis(url: &str) -> Result<Client, ConnectError> {
    let store = crate::store::Redis::connect(url);
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: without_secrets(url), error })
}

#[cfg(not(feature = "redis"))]
fn redis(url: &str) -> Result<Client, ConnectError> {
    Err(ConnectError::BadUrl { url: without_secrets(url), reason: "built without the feature `redis`".to_string() })
}

#[cfg(feature = "memcached")]
fn memcached(url: &str, scheme: &str, servers: &str) -> Result<Client, ConnectError> {
    let none_is_named = servers.is_empty() || servers.starts_with('?');
    let server = if none_is_named { DEFAULT_SERVER } else { "" };
    let store = crate::store::Memcached::connect(&format!("{scheme}://{server}{servers}"));
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: without_secrets(url), error })
}

#[cfg(not(feature = "memcached"))]
fn memcached(url: &str, _: &str, _: &str) -> Result<Client, ConnectError> {
    Err(ConnectError::BadUrl { url: without_secrets(url), reason: "built without the feature `memcached`".to_string() })
}

#[cfg(feature = "etcd")]
fn etcd(url: &str) -> Result<Client, ConnectError> {
    let store = crate::store::Etcd::connect(url);
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: without_secrets(url), error })
}

#[cfg(not(feature = "etcd"))]
fn etcd(url: &str) -> Result<Client, ConnectError> {
    Err(ConnectError::BadUrl { url: without_secrets(url), reason: "built without the feature `etcd`".to_string() })
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> Result<Client, ConnectError> {
    let store = crate::store::Postgres::connect(url);
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: without_secrets(url), error })
}

#[cfg(not(feature = "postgres"))]
fn postgres(url: &str) -> Result<Client, ConnectError> {
    let reason = "built without the feature `postgres`".to_string();
    Err(ConnectError::BadUrl { url: without_secrets(url), reason })
}

#[cfg(feature = "local")]
fn local(url: &str, path: PathBuf) -> Result<Client, ConnectError> {
    let store = crate::store::Local::open(path);
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: url.to_string(), error })
}

#[cfg(feature = "local")]
fn default_store() -> Result<Client, ConnectError> {
    let path = crate::store::Local::default_path();
    let path = path.map_err(|error| ConnectError::NotConfigured { reason: error.to_string() })?;
    local(&format!("local:{}", path.display()), path)
}

#[cfg(not(feature = "local"))]
fn default_store() -> Result<Client, ConnectError> {
    let reason = "the local store is not built in (feature `local`)".to_string();
    Err(ConnectError::NotConfigured { reason })
}

#[cfg(not(feature = "local"))]
fn local(url: &str, _: PathBuf) -> Result<Client, ConnectError> {
    Err(ConnectError::BadUrl { url: url.to_string(), reason: "built without the feature `local`".to_string() })
}
