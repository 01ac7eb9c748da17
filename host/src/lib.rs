//! kvlock: a distributed lock whose logic is a WebAssembly component.
//!
//! ```
//! use std::time::Duration;
//! use kvlock::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `memcached://host:port`, `local:/path/to/file`, or, for tests, a store in memory:
//! let client = Client::connect("memory:")?;
//!
//! let lock = client.lock("report").lease(Duration::from_secs(30)).wait(Duration::from_secs(10));
//! let grant = lock.acquire()?;
//! println!("fencing token {}", grant.token());
//! grant.release()?;
//!
//! // Scoped, with the lease renewed in the background:
//! let sum = lock.with_lock(|guard| {
//!     assert!(guard.lost().is_none());
//!     1 + 1
//! })?;
//! # assert_eq!(sum, 2);
//! # Ok(())
//! # }
//! ```
//!
//! | type | what it is |
//! |---|---|
//! | [`Client`] | a store to lock in |
//! | [`Session`] | an owner of locks: a thread or a task |
//! | [`Lock`] | a key, and how to acquire it |
//! | [`Grant`] | a lock that is held, with its fencing token |
//! | [`LockGuard`] | a lock that is held and renewed in the background: see [`renewal`] |
//! | [`Semaphore`] | at most n holders: see [`semaphore`] |
//! | [`ConflictRetry`] | work that is tried until it commits: see [`conflict_retry`] |
//! | [`Listing`](listing::Listing) | who holds what: see [`listing`] |
//! | [`FnLocks`] | functions behind a lock: see [`functions`] |
//! | [`asynch::Client`] | the same for async code: see [`asynch`] |
//!
//! The rules of a lock are in one place, the component ([`COMPONENT`]). Any host with a WebAssembly component runtime
//! can run it over a `kv-store` of its own: see [`embed`].
//!
//! **Calls block.** In async code use [`asynch`], which has the same names. [`Lock::begin`] is for threads that wait for
//! several things at once.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `memcached` | yes | the store `memcached://`: [`store::Memcached`] |
//! | `redis` | no | the store `redis://`, for Redis and Valkey: [`store::Redis`] |
//! | `local` | yes | the store `local:`, a file of this machine: [`store::Local`]; compiles SQLite |
//! | `postgres` | no | the store `postgres://`: [`store::Postgres`] |
//! | `tls` | no | TLS, by rustls, for the stores on a network |
//! | `metrics` | no | counts and times for the crate `metrics`: see [`metrics`] |
//! | `tracing` | no | spans around waits and holds: see [Logging](#logging) |
//!
//! Without features there is the store in memory, for tests, and [`Client::with_store`] for a store of your own.
//!
//! # Testing with a mock
//!
//! The real component, a store in memory and a clock that moves when it is told to: an hour of waiting takes no time.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use kvlock::{clock::{Clock, VirtualClock}, store::Memory, Client};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(VirtualClock::new());
//! let store = Memory::new(clock.clone());
//! let client = Client::with_store(store.clone()).with_clock(clock.clone());
//! let (one, two) = (client.session().open()?, client.session().open()?);
//!
//! let held = one.lock("k").lease(Duration::from_secs(3600)).acquire()?;
//! let before = clock.now();
//! let next = two.lock("k").acquire()?; // waits until the first lease has ended
//! assert!(clock.now() - before >= Duration::from_secs(3600));
//! assert!(next.token() > held.token());
//! assert!(held.release().is_err()); // it was lost, and is told so
//! # Ok(())
//! # }
//! ```
//!
//! # Logging
//!
//! The library logs by events of the crate [`tracing`](https://docs.rs/tracing), each with the field `key`. An
//! application sees them once it has a subscriber, for example by the crate `tracing-subscriber`:
//! `tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init()`. The `kvlock` command has one with `-v`
//! (debug) and `-vv` (trace).
//!
//! | level | event |
//! |---|---|
//! | warn | a lock is lost; a renewal or a release failed; the lock that we waited for was not released before its lease ended; soft mode goes on without a lock |
//! | info | a lock is broken by force, or asked for: by this process, or of it |
//! | debug | what a wait waits for, whenever that changes; granted, after how long and after whom; not granted; released or handed over |
//! | trace | renewed |
//!
//! With the feature `tracing`, each event is inside a span: `kvlock.wait` from the first try to the end of a wait, or
//! `kvlock.hold` from a grant to its end. Both have the target `kvlock`, the level info and the fields `key`, `kind`,
//! `owner`, `token` and `outcome`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations, clippy::exhaustive_enums, clippy::exhaustive_structs)]

pub mod asking;
pub mod asynch;
pub mod clock;
pub mod conflict_retry;
pub mod embed;
pub mod error;
pub mod functions;
pub mod listing;
pub mod lock;
pub mod renewal;
pub mod semaphore;
pub mod soft;
pub mod status;
pub mod store;

mod acquire;
mod client;
mod component;
mod debug;
mod environment;
mod events;
mod fork;
mod grant;
mod held_count;
mod holder;
mod kind;
mod now;
mod outcome;
mod owner;
mod queue;
mod ride_out;
mod runner;
mod session;
mod sessions;
mod signal;
mod text;
mod tries;

#[cfg(feature = "metrics")]
pub mod metrics {
    //! What the library counts and measures, by the crate [`metrics`](https://docs.rs/metrics): names, labels, units.
    //!
    //! Whatever recorder the program installs is told, such as that of `metrics-exporter-prometheus`. Install it before
    //! the first client is made, or call [`describe`] later: the descriptions come with a client. The label `store` is
    //! how the store's URL begins, or `other`. No label has the key: see
    //! [`Client::metrics_key_label`](crate::Client::metrics_key_label).

    pub use crate::events::{Instrument, METRICS, Metric, describe};
}

pub use client::Client;
pub use conflict_retry::ConflictRetry;
pub use functions::FnLocks;
pub use grant::{Grant, Released};
pub use holder::{Holder, WaitingFor};
pub use lock::{AcquirePoll, Acquisition, Lock};
pub use outcome::Validity;
pub use renewal::LockGuard;
pub use semaphore::Semaphore;
pub use session::{Session, SessionBuilder};

/// The component: a WebAssembly binary that imports `kvlock:lock/kv-store` and three interfaces of WASI 0.2, and
/// exports `kvlock:lock/mutex` and `kvlock:lock/conflict-retry`.
pub const COMPONENT: &[u8] = component::COMPONENT;

/// The examples on the pages compile.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/rust.md")]
    struct Rust;
    #[doc = include_str!("../../docs/metrics.md")]
    struct Metrics;
    #[doc = include_str!("../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../docs/implementing-a-host.md")]
    struct ImplementingAHost;
}
