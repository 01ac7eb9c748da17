//! The state machines of kvlock: what it means to hold a lock, and nothing else.
//!
//! A machine is a value that is fed [`Event`]s and answers with the next [`Step`]: make this call, sleep this long, or
//! done. It has no I/O, no clock and no randomness: whoever drives it supplies all three, be it the component, a test
//! on a virtual clock, or a model checker that tries every order of events. [`Machine`] shows the whole driver.
//!
//! A [`Session`] is an owner and what it holds. [`Acquire`] makes a [`Grant`], [`Renew`] and [`Release`] use it,
//! [`Release`] may hand it over by a [`Claim`], [`Status`] and [`Break`] look at anybody's. A [`Retry`] is work that may conflict, tried under a lock: [`BeginTry`]
//! makes a [`Try`], [`Report`] tells what it came to.
//!
//! # Invariants
//!
//! Each holds whatever the store answers and however late; the tests named show it, and `tests/random.rs` looks for
//! a schedule that breaks one.
//!
//! - **No read-then-write.** A record is made by `add`, and changed or removed only under the version it is known to
//!   have: `tests/acquire.rs`, `tests/grant.rs`.
//! - **A grant is valid for less than its lease**, counted from before the request left:
//!   `a_grant_is_valid_from_before_its_request_left_and_less_a_margin`.
//! - **Success is what the store confirmed**, or what was read back after an answer was lost: `tests/doubt.rs`.
//! - **Nothing is granted in an era younger than the quarantine**: `tests/era.rs`.
//! - **A value that is not ours is never written over**: `a_foreign_value_is_corrupt_and_left_alone`.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod acquire;
mod break_grant;
mod conflict_retry;
mod discard;
mod error;
mod leave;
mod machine;
mod records;
mod release;
mod renew;
mod semaphore;
mod session;
mod status;
mod turn;
mod values;
mod wait;
mod write;

pub use acquire::Acquire;
pub use break_grant::{Break, Broken};
pub use conflict_retry::{
    BeginTry, MAX_RESERVE, MAX_TRIES, NextTry, Report, Retry, RetryOptions, Try, Unreported, WorkOutcome,
};
pub use discard::Discard;
pub use error::{AcquireError, GrantError, KeyError, WaitingFor};
pub use leave::Leave;
pub use machine::{Event, Machine, Step};
pub use records::holder::Holder;
pub use records::permit_set::MAX_PERMITS;
pub use records::record::{Nonce, Record};
pub use release::{Release, Released};
pub use renew::Renew;
pub use semaphore::{AcquirePermit, List, Resize, ResizeError, SemaphoreStatus, Size};
pub use session::grant::{Grant, Validity};
pub use session::hand_over::{Claim, HandedOver, MAX_CHAIN_LENGTH};
pub use session::nonces::Nonces;
pub use session::{Session, SessionOptions};
pub use status::{KeyState, KeyStatus, Status};
pub use values::invalid::Invalid;
pub use values::kv::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Ttl, Version, WriteOutcome};
pub use values::name::{Key, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_STORE_KEY_BYTES, MAX_TEXT_BYTES, Namespace, Text};
pub use values::options::{
    DEFAULT_QUARANTINE, Lease, LockOptions, MAX_INTERVAL, MAX_LEASE, MAX_WAIT, MIN_DURATION, Mode,
};
pub use values::time::{Time, nanos};
