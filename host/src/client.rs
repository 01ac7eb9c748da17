//! The way in: a store, and sessions on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::clock::Clock;
use crate::environment::Environment;
use crate::error::ConnectError;
use crate::owner::ClientCore;
use crate::session::SessionBuilder;
use crate::store::{KvStore, Memory};

/// The server that is meant where none is named.
const DEFAULT_SERVER: &str = "127.0.0.1:11211";

/// A store to lock in, and a clock. Cheap to clone; open a [`Session`](crate::Session) for each thread or task that
/// locks. Its sessions, and those of its clones, stand in one line where they wait for the same key.
#[derive(Clone)]
pub struct Client {
    pub(crate) core: ClientCore,
}

impl Client {
    /// Takes a store by its URL: `memcached://host:port[,host:port…]`, `local:PATH` or `memory:`. The first takes
    /// parameters, `?connect-timeout=2s&timeout=500ms`: see [`Memcached::connect`](crate::store::Memcached::connect).
    ///
    /// Nothing is sent yet: whether a server answers is found out by the first call.
    pub fn connect(url: &str) -> Result<Self, ConnectError> {
        let bad = |reason: &str| ConnectError::BadUrl { url: url.to_string(), reason: reason.to_string() };
        let forms = "give memcached://host:port[,host:port…], local:PATH or memory:";
        let (scheme, rest) = url.split_once(':').ok_or_else(|| bad(forms))?;
        match scheme {
            "memcached" => memcached(url, rest.strip_prefix("//").unwrap_or(rest)),
            "local" if rest.is_empty() => Err(bad("no path; give local:PATH")),
            "local" => local(url, PathBuf::from(rest)),
            "memory" if rest.is_empty() => Ok(Client::with_store(Memory::default())),
            "memory" => Err(bad("memory: takes nothing more")),
            _ => Err(bad(forms)),
        }
    }

    /// Takes the store that the environment names: `KVLOCK_STORE`, a URL; else `MEMCACHEDLOCK_SERVERS`,
    /// `host:port[,host:port…]`; else memcached on 127.0.0.1:11211.
    pub fn from_env() -> Result<Self, ConnectError> {
        let servers = || std::env::var("MEMCACHEDLOCK_SERVERS").map(|servers| format!("memcached://{servers}"));
        let url = std::env::var("KVLOCK_STORE").or_else(|_| servers());
        Client::connect(&url.unwrap_or_else(|_| format!("memcached://{DEFAULT_SERVER}")))
    }

    /// Takes a store of your own. [`crate::store::conformance`] tests whether it is fit.
    pub fn with_store(store: impl KvStore) -> Self {
        Client { core: ClientCore { environment: Environment::of(store), queues: Arc::default() } }
    }

    /// Replaces the clock, for tests: see [`VirtualClock`](crate::clock::VirtualClock).
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.core.environment.clock = clock;
        // All waiters of a queue count by one clock.
        self.core.queues = Arc::default();
        self
    }

    /// Replaces the system's random numbers, so that a test repeats to the nanosecond. Never elsewhere: a nonce that can
    /// be guessed, or comes twice, is none.
    pub fn with_random(mut self, random: impl FnMut() -> u64 + Send + 'static) -> Self {
        self.core.environment.random = Some(Arc::new(Mutex::new(random)));
        self
    }

    /// The store, to look at what is in it or whether it is fit to lock on.
    pub fn store(&self) -> &dyn KvStore {
        self.core.environment.store.as_ref()
    }

    /// Begins to open a session.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder::new(self.core.clone())
    }
}

#[cfg(feature = "memcached")]
fn memcached(url: &str, servers: &str) -> Result<Client, ConnectError> {
    let none_is_named = servers.is_empty() || servers.starts_with('?');
    let store = match none_is_named {
        true => crate::store::Memcached::connect(&format!("{DEFAULT_SERVER}{servers}")),
        false => crate::store::Memcached::connect(servers),
    };
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: url.to_string(), error })
}

#[cfg(not(feature = "memcached"))]
fn memcached(url: &str, _: &str) -> Result<Client, ConnectError> {
    Err(ConnectError::BadUrl { url: url.to_string(), reason: "built without the feature `memcached`".to_string() })
}

#[cfg(feature = "local")]
fn local(url: &str, path: PathBuf) -> Result<Client, ConnectError> {
    let store = crate::store::Local::open(path);
    store.map(Client::with_store).map_err(|error| ConnectError::Store { url: url.to_string(), error })
}

#[cfg(not(feature = "local"))]
fn local(url: &str, _: PathBuf) -> Result<Client, ConnectError> {
    Err(ConnectError::BadUrl { url: url.to_string(), reason: "built without the feature `local`".to_string() })
}
