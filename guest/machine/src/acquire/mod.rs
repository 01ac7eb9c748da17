//! Acquire: an `add` of a record with our nonce, tried until it succeeds or the wait is over.
//!
//! What else may happen on the way: the lock is nested in one that the session holds; the record there is a late
//! write of ours, or one to adopt; the store's contents are too young to grant anything on (quarantine); the store
//! does not answer. Each is a state; the wait limit counts through all of them.

mod confirm;
mod leave;
mod look;
mod machine;
mod state;
mod try_once;

pub use state::Acquire;
