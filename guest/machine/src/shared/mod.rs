//! Locks that readers share: waiting for one, and giving down to readers what one has alone.
//!
//! Readers stand in the lock's own record, which conditional writes change: see `records/readers.rs`. So whoever wants
//! the lock alone is refused by the same one call as by a single holder, and gets the lock by the same call once the
//! last reader has left. Exclusion is decided under one key.
//!
//! A reader looks first: at the record and at the wait list, by one call. Then it writes, by another. If the lock is
//! free or has another holder, it stands in the wait list like any waiter. If readers have it, the list does not count:
//! readers come in unless the record says that a writer waits. Such a sign is good for a few seconds, and the writer
//! repeats it.

mod downgrade;
mod enter;
mod look;
mod machine;
mod state;

pub use downgrade::Downgrade;
pub use state::AcquireShared;
