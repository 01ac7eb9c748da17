//! What the tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kvlock::store::Postgres;
use kvlock_testkit::PostgresServer;
pub(crate) use kvlock_tests::calls::{
    SECOND, TTL, add, assert_invalid, assert_rejected, assert_unavailable, assert_unknown, get, replace, token,
};

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
