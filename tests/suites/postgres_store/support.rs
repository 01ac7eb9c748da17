//! What the tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use kvlock::store::{Entry, KvStore, Postgres, StoreError, Ttl, Version, WriteOutcome};
use kvlock_testkit::PostgresServer;

pub(crate) const TTL: Ttl = Ttl::After(Duration::from_secs(60));
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What all servers here have: commits are flushed, and many stores connect.
pub(crate) const SETTINGS: [&str; 2] = ["max_connections=300", "shared_buffers=16MB"];

/// A database of its own on the server that tests share. The server ends with its last user.
pub(crate) struct World {
    pub(crate) server: Arc<PostgresServer>,
    pub(crate) database: String,
}

impl World {
    pub(crate) fn new() -> World {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(PostgresServer::start_with(&SETTINGS)));
        *shared = Arc::downgrade(&server);
        let database = format!("world_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.sql(&format!("CREATE DATABASE {database}"));
        World { server, database }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url_of(&self.database)
    }

    pub(crate) fn store(&self) -> Postgres {
        store(&self.url())
    }

    pub(crate) fn sql(&self, statements: &str) -> String {
        self.server.sql_in(&self.database, statements)
    }
}

/// A server that a test has for itself.
pub(crate) fn server() -> PostgresServer {
    PostgresServer::start_with(&SETTINGS)
}

/// A store that waits for answers for as long as a busy machine needs.
#[track_caller]
pub(crate) fn store(url: &str) -> Postgres {
    let more = if url.contains('?') { '&' } else { '?' };
    Postgres::connect(&format!("{url}{more}timeout=20s&connect_timeout=20s")).unwrap()
}

#[track_caller]
pub(crate) fn add(store: &Postgres, key: &str, value: &str) -> Version {
    match store.add(key, value.as_bytes(), TTL).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("add `{key}`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn replace(store: &Postgres, key: &str, value: &str, version: Version) -> Version {
    match store.replace(key, value.as_bytes(), TTL, version).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("replace `{key}`: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn get(store: &Postgres, key: &str) -> Entry {
    store.get(key).unwrap().unwrap_or_else(|| panic!("`{key}` is gone"))
}

pub(crate) fn token(version: Version) -> u64 {
    version.era + version.number
}

macro_rules! assert_is {
    ($name:ident, $case:ident) => {
        #[track_caller]
        pub(crate) fn $name<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
            match answer {
                Err(StoreError::$case(text)) if text.lines().count() == 1 => text,
                other => panic!(concat!("not `", stringify!($case), "` in one line: {:?}"), other),
            }
        }
    };
}

assert_is!(assert_unavailable, Unavailable);
assert_is!(assert_unknown, UnknownOutcome);
assert_is!(assert_rejected, Rejected);
assert_is!(assert_invalid, Invalid);
