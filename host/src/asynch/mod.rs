//! Locks for async code: the names, options and errors of the blocking API, awaited.
//!
//! ```
//! use std::time::Duration;
//! use kvlock::asynch::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
//! let client = Client::connect("memory:")?;
//! let lock = client.lock("report").wait(Duration::from_secs(10));
//! let grant = lock.acquire().await?;
//! println!("fencing token {}", grant.token());
//! grant.release().await?;
//!
//! // Scoped, with the lease renewed in the background:
//! let sum = lock.with_lock(async |guard| guard.token().min(1) + 1).await?;
//! # assert_eq!(sum, 2);
//! # Ok(()) }) }
//! ```
//!
//! **No call blocks a thread of your executor**, whatever executor that is: calls of a store, waits and renewals run on
//! a few threads of the client. A task that waits behind others of its client costs some kilobytes, and no call of the
//! store.
//!
//! # Dropping a future
//!
//! The future of a wait that is dropped ends the wait: it leaves the queue, and a grant that comes too late is given
//! back. Any other call goes on to its end when its future is dropped. A release still releases, and what failed is in
//! the log.
//!
//! A grant or a guard that is dropped is released in the background. A program that ends at once may end before that:
//! await [`release`](Grant::release) last.
//!
//! # Owners
//!
//! Each acquire through a [`Client`] is an owner of its own, so that tasks exclude each other. A [`Session`] is one owner
//! for all that is acquired in it.
//!
//! # Forks
//!
//! The child of a fork has none of the threads. It locks by the blocking API, or executes another program.

mod asking;
mod client;
mod conflict_retry;
mod grant;
mod guard;
mod lock;
mod semaphore;
mod session;
mod wait;

pub use asking::AskRequest;
pub use client::Client;
pub use conflict_retry::{ConflictRetry, Try};
pub use grant::Grant;
pub use guard::LockGuard;
pub use lock::Lock;
pub use semaphore::{PermitRequest, Resize, Semaphore};
pub use session::{Session, SessionBuilder};

/// Makes setters that set what those of the blocking builder in the first field set.
macro_rules! same_setters {
    ($of:literal: $($name:ident($($argument:ident: $type:ty)?))*) => {$(
        #[doc = concat!("Does what [`", $of, "::", stringify!($name), "`](crate::", $of, "::", stringify!($name), ") does.")]
        pub fn $name(mut self $(, $argument: $type)?) -> Self {
            self.0 = self.0.$name($($argument)?);
            self
        }
    )*};
}
use same_setters;
