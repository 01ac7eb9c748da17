//! Waiting for a lock: an `add` of a record with our nonce, tried until it succeeds or the wait is over.
//!
//! On the way the session may turn out to hold the lock itself. The record there may be a late write of ours, or one to
//! adopt. The store's contents may be too young to grant anything (quarantine), or the store does not answer. Each is a
//! state; the limit of the wait counts through all of them.

mod confirm;
mod leave;
mod look;
mod machine;
mod readers;
mod respected;
mod state;
mod try_once;
mod waiting;

pub(crate) use respected::Respected;
pub use state::Acquire;
pub(crate) use waiting::Waiting;
