//! The state machines of kvlock: what it means to hold a lock, and nothing else.
//!
//! A machine is a value that is fed [`Event`]s and answers with the next [`Step`]: make this call, sleep this long, or
//! done. It has no I/O, no clock and no randomness. Its driver supplies all three: the component, a test on a virtual
//! clock, or a model checker that tries every order of events. [`Machine`] shows the whole driver.
//!
//! # The order of calls
//!
//! - [`Session::open`] makes an owner. It holds what the owner holds, and goes into every step.
//! - [`Acquire`] waits for a lock and makes a [`Grant`]. [`Renew`] begins the grant's lease again, [`Release`] ends it.
//!   [`Leave`] takes back what a dropped wait left in the store; [`Discard`] gives a dropped grant back.
//! - [`AcquireShared`] waits for a share of a lock that readers have together; [`Downgrade`] makes the holder of a lock
//!   its first reader. The grant of a reader is renewed and released like any other.
//! - [`AcquireAll`] waits for several keys at once, and has all of them or none. [`RenewAll`] and [`ReleaseAll`] are for
//!   what it got.
//! - A waiter's [`Acquire::claim`] lets the holder of the same process end its grant with [`Release::to`]: the lock is
//!   handed over, and the waiter goes on with [`Event::HandedOver`].
//! - [`Session::write_out`] and [`Session::resume`] carry a grant to another process.
//! - [`Resize`] makes, resizes or destroys a semaphore, [`AcquirePermit`] waits for one of its permits, [`List`] tells
//!   how semaphores stand. The grant of a permit is renewed and released like that of a lock.
//! - A [`Retry`] is work that may conflict. [`Retry::begin`] makes it a [`Try`] that runs under the lock, and
//!   [`Try::report`] makes it a `Retry` again, or ends it.
//! - [`AskFor`] asks a holder to give a lock back, who learns it by [`Hear`]; [`FollowAsk`] tells what became of that.
//! - [`Status`] tells how keys stand, [`Break`] ends somebody's grant by force. [`Inspect`] tells what stands under keys
//!   of the store.
//!
//! # The rooms
//!
//! Each uses only those below it.
//!
//! ```text
//! several                                          several keys at once
//! conflict_retry   semaphore   shared              machines that are made of machines
//! acquire   discard                                a lock is waited for, a dropped grant given back
//! release   renew   break_grant   inspect          one operation each
//! ask   hear                                       the same: asking for a lock, and being asked
//! write   leave   turn   status                    conditional writes; the wait list; when a waiter tries; who has a key
//! machine                                          Machine, Step, Event
//! session                                          an owner and what it holds
//! error   wait                                     errors; limited waits and their pauses
//! records                                          what stands in the store
//! values                                           keys, options, times, requests and replies
//! ```
//!
//! # Invariants
//!
//! Each holds whatever the store answers and however late. The tests named show it. `tests/random.rs`,
//! `tests/semaphore_random.rs` and `tests/conflict_retry_random.rs` look for a schedule that breaks one.
//!
//! - **No read-then-write.** A record is made by `add`, and changed or removed only under the version that it is known
//!   to have: `tests/acquire.rs`, `tests/grant.rs`.
//! - **A grant is valid for less than its lease**, counted from before the request left:
//!   `a_grant_is_valid_from_before_its_request_left_and_less_a_margin`.
//! - **Success is what the store confirmed**, or what was read back after an answer was lost: `tests/doubt.rs`.
//! - **Nothing is granted in an era younger than the quarantine**: `tests/era.rs`.
//! - **A value that is not ours is never written over**: `a_foreign_value_is_corrupt_and_left_alone`.
//! - **A lock that is handed over is never free in between**: `a_lock_is_handed_over_by_one_write_and_is_never_free`.
//! - **A semaphore never has more holders than its size**: `as_many_permits_as_the_size_are_granted_and_no_more`,
//!   `a_permit_added_while_the_semaphore_shrinks_is_not_granted`.
//! - **Waiters get the lock in order, within a bound**, and those that crashed delay the others only briefly:
//!   `tests/fairness.rs`, `tests/line.rs`, `waiters_that_crash_do_not_hold_up_the_others`.
//! - **After a conflict the lock stays reserved for the next try, and no longer than it was to**:
//!   `after_a_conflict_the_next_try_goes_first_while_others_wait`,
//!   `a_reservation_nobody_takes_up_ends_when_it_was_to_although_the_store_keeps_it_longer`.
//! - **Several keys are had all at once or not at all, and no order of naming them ends in a deadlock**:
//!   `tests/several`, and `tests/proof`, which searches it.
//! - **A try that somebody else may have overtaken says so**:
//!   `a_try_is_overtaken_if_somebody_had_the_lock_while_it_waited_or_while_its_reservation_was_gone`.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod acquire;
mod ask;
mod break_grant;
mod conflict_retry;
mod discard;
mod error;
mod hear;
mod inspect;
mod leave;
mod machine;
mod records;
mod release;
mod renew;
mod semaphore;
mod session;
mod several;
mod shared;
mod status;
mod turn;
mod values;
mod wait;
mod write;

pub use acquire::Acquire;
pub use ask::{AskFor, AskState, Asked, FollowAsk, PlacedAsk};
pub use break_grant::{Break, Broken};
pub use conflict_retry::{
    BeginTry, MAX_RESERVE, MAX_TRIES, NextTry, Report, Retry, RetryOptions, Try, Unreported, WorkOutcome,
};
pub use discard::Discard;
pub use error::{AcquireError, GrantError, KeyError, WaitingFor};
pub use hear::Hear;
pub use inspect::{Inspect, Standing};
pub use leave::Leave;
pub use machine::{Event, Machine, Step};
pub use records::MAX_READERS;
pub use records::ask::Ask;
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
pub use several::{Abandon, AcquireAll, DiscardAll, MAX_KEYS, ReleaseAll, RenewAll, Unreleased};
pub use shared::{AcquireShared, Downgrade};
pub use status::{KeyState, KeyStatus, Status};
pub use values::invalid::Invalid;
pub use values::kv::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Ttl, Version, WriteOutcome};
pub use values::name::{Key, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_STORE_KEY_BYTES, MAX_TEXT_BYTES, Namespace, Text};
pub use values::options::{
    DEFAULT_QUARANTINE, Lease, LockOptions, MAX_INTERVAL, MAX_LEASE, MAX_WAIT, MIN_DURATION, Mode,
};
pub use values::time::{Time, nanos};
