//! Support for the tests: servers to start and to mistreat.
#![warn(missing_docs)]

pub mod memcached;
pub mod proxy;

pub use memcached::MemcachedServer;
pub use proxy::{Mode, Proxy};
