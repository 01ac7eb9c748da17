//! Conflict retry: work that has its own optimistic concurrency control, tried under a lock until it commits.
//!
//! A [`Retry`] stands between two tries. [`BeginTry`] makes it a [`Try`], which runs, and [`Report`] makes that a
//! `Retry` again, or ends it: nobody can report what does not run, or begin while a try runs. Both machines are made
//! of [`Acquire`], [`Renew`] and [`Release`].
//!
//! A reservation is a hold that nobody relies on. Its record says so, and for how long. A waiter that has seen it for
//! that long takes it over; the next try finds out by one write under its version if it still stands. It belongs to the
//! session that made it, or to every session that knows the name of the work.
//!
//! Work that ran into a conflict has changed nothing, by its own concurrency control. So no loss of the lock is an
//! error then: the next try finds out, and acquires the lock again if it must.

mod begin;
mod options;
mod report;
mod retry;

pub use begin::BeginTry;
pub use options::{MAX_RESERVE, MAX_TRIES, RetryOptions};
pub use report::Report;
pub use retry::{NextTry, Retry, Try, Unreported, WorkOutcome};
