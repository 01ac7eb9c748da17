//! The built component over the mock store, through the library `kvlock`: what a lock means, seen from outside.
//!
//! Time is virtual, so an hour of waiting takes no time; only [`keep`], [`hand_over`] and parts of
//! [`in_doubt`] and [`line`], where threads sleep, run in real time.

mod asked;
mod composed;
mod conflict_retry;
mod contract;
mod corrupt;
mod decorators;
mod eras;
mod expiry;
mod force;
mod hand_over;
mod in_doubt;
mod input;
mod keep;
mod line;
mod nesting;
mod odd_ends;
mod outage;
mod peers;
mod raii;
mod resume;
mod retried;
mod round_trips;
mod secret;
mod semaphore;
mod several;
mod shared;
mod soft;
mod traps;
mod unknown;
mod waiting;
mod wanted_by_many;
mod world;
