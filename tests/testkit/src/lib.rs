//! What tests of a program that uses [kvlock] need, and what kvlock's own tests use.
//!
//! | to test | use |
//! |---|---|
//! | what your code does while it holds a lock or waits for one | [`Memory`] and a [`VirtualClock`]: no server, no pause |
//! | what it does if the store fails | [`Memory::script`], with a [`Fault`] for each call |
//! | what it does if somebody else acts between two calls | [`Hooked`] |
//! | that it works with memcached, over restarts and stops | [`MemcachedServer`] |
//! | the same with Redis | [`RedisServer`] |
//! | that it works with etcd, while members are killed | [`EtcdCluster`] |
//! | that it works with PostgreSQL, over crashes and promotions | [`PostgresServer`] |
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use kvlock::{error::AcquireError, Client};
//! use kvlock_testkit::{Memory, VirtualClock};
//!
//! let clock = Arc::new(VirtualClock::new());
//! let client = Client::with_store(Memory::new(clock.clone())).with_clock(clock.clone());
//! let [one, two] = ["one", "two"].map(|owner| client.session().owner(owner).open().unwrap());
//!
//! let held = one.lock("k").lease(Duration::from_secs(30)).acquire()?;
//! // Two waits for a minute, in no time: the lease of one is over after half of it.
//! let next = two.lock("k").wait(Duration::from_secs(60)).acquire()?;
//! assert!(next.token() > held.token());
//! # Ok::<(), AcquireError>(())
//! ```

mod etcd;
mod hooked;
mod memcached;
mod port;
mod postgres;
pub mod process;
mod redis;

pub use etcd::EtcdCluster;
pub use hooked::{Hook, Hooked};
pub use kvlock::clock::VirtualClock;
pub use kvlock::store::{Fault, Memory, Op};
pub use memcached::MemcachedServer;
pub use port::free_port;
pub use postgres::{BaseBackup, PostgresServer};
pub use redis::RedisServer;
