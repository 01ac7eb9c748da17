//! kvlock: a distributed lock whose logic is a WebAssembly component.
//!
//! ```
//! use std::time::Duration;
//! use kvlock::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `memcached://host:port`, `local:/path/to/file`, or, for tests, a store in memory:
//! let client = Client::connect("memory:")?;
//! let session = client.session().owner("nightly").open()?;
//!
//! let grant = session.lock("report").lease(Duration::from_secs(30)).wait(Duration::from_secs(10)).acquire()?;
//! println!("fencing token {}", grant.token());
//! grant.release()?;
//!
//! // Scoped, with the lease renewed in the background:
//! let sum = session.lock("report").with_lock(|lock| {
//!     assert!(lock.lost().is_none());
//!     1 + 1
//! })?;
//! # assert_eq!(sum, 2);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] has a store, a [`Session`] is an owner, a [`Lock`] says how to acquire, a [`Grant`] is the held lock;
//! [`Grant::auto_renew`] renews it in the background, [`ConflictRetry`] tries work that may run into a conflict, and
//! [`FnLocks`] put functions behind either. What a lock means is decided in one place, the component ([`COMPONENT`]),
//! which any host with a WebAssembly component runtime can run over a `kv-store` of its own.
//!
//! # Testing with a mock
//!
//! The real component, a store in memory and a clock that moves when it is told to: an hour of waiting takes no time.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use kvlock::{Client, clock::{Clock, VirtualClock}, store::Memory};
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
//! What happens is told by events of the crate [`tracing`](https://docs.rs/tracing), each with the field `key`. An
//! application sees them once it has a subscriber, for example by the crate `tracing-subscriber`:
//! `tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init()`. The `kvlock` command has one with `-v`
//! (debug) and `-vv` (trace).
//!
//! | level | event |
//! |---|---|
//! | warn | a lock is lost; a renewal or a release failed; the lock that we waited for was not released before its lease ended; soft mode goes on without a lock |
//! | info | a lock is broken by force |
//! | debug | what a wait waits for, whenever that changes; granted, after how long and after whom; not granted; released or handed over |
//! | trace | renewed |

pub mod clock;
pub mod embed;
pub mod store;

mod acquire;
mod client;
mod component;
mod conflict_retry;
mod environment;
mod error;
mod fork;
mod functions;
mod grant;
mod holder;
mod holds;
mod lock;
mod outcome;
mod owner;
mod queue;
mod renewal;
mod ride_out;
mod semaphore;
mod session;
mod soft;
mod status;
mod text;
mod tries;

pub use client::Client;
pub use conflict_retry::{
    ConflictRetry, ConflictRetryError, DEFAULT_RESERVE, DEFAULT_TRIES, RetrySteps, Try, WorkOutcome,
};
pub use error::{AcquireError, ConnectError, GrantError, SessionError, StatusError, WithLockError};
pub use functions::{CallError, CallKey, FnLocks, LockedFn, RetriedFn, RetryCallError};
pub use grant::{Grant, Released};
pub use holder::{Holder, WaitingFor};
pub use lock::{AcquirePoll, Acquisition, DEFAULT_INTERVAL, DEFAULT_LEASE, Lock};
pub use outcome::{NextTry, Validity};
pub use renewal::{AutoRenew, LockGuard, LostReason};
pub use semaphore::{PermitRequest, Resize, ResizeError, ResizePoll, Resizing, Semaphore};
pub use session::{Session, SessionBuilder};
pub use soft::{SOFT_PATIENCE, SoftGuard, SoftLock};
pub use status::{Broken, KeyState, KeyStatus, SemaphoreStatus};

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
    #[doc = include_str!("../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../docs/implementing-a-host.md")]
    struct ImplementingAHost;
}
