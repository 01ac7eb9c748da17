//! Support for the tests: servers to start and to mistreat.
#![warn(missing_docs)]

pub mod kvlock;
pub mod memcached;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod terminal;
pub mod watch;

pub use kvlock::Kvlock;
pub use memcached::MemcachedServer;
pub use postgres::PostgresServer;
pub use proxy::{Mode, Proxy};
pub use terminal::Terminal;
pub use watch::Watch;
