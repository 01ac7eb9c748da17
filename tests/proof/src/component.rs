//! The explorer of the shipped component: seeded schedules through its imports.
//!
//! Sessions of the built binary run over a store, a clock and random numbers that are ours. A schedule is decided by
//! its seed alone: who moves, what goes wrong with a call, what others do while a call is under way, how far the clock
//! goes. The same seed is the same schedule, to the nanosecond.

mod board;
mod chaos;
mod dice;
mod player;

pub use board::{Played, Violation, play, play_on_an_unfit_store};
