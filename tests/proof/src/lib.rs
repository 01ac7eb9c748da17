//! The proof of kvlock's locks.
//!
//! Two halves. [`search`] explores the real machines of `guest/machine` exhaustively, with stateright, in small worlds
//! ([`scenarios`]), and [`queue`] does so with the queues of one process. The explorer of the shipped component, with the feature `component`, drives the built binary
//! through its imports in long random schedules. Both look from outside, at what a user can see, and hold it against
//! what really happened in the store: [`Promise`] lists what must never be broken.
//!
//! How a world works: an owner's machine makes a step and sends a request; the store executes it some time later; the
//! answer is heard some time after that. Between any two of these anything else may happen, and for each of them
//! something else may happen instead: the answer is lost, the request is late, the owner crashes. Time goes on in
//! ticks.

mod act;
mod ask;
#[cfg(feature = "component")]
pub mod component;
pub mod crowd;
mod explore;
mod fair;
mod judge;
mod line;
mod model;
mod news;
mod owner;
mod plan;
mod promise;
pub mod queue;
pub mod readers;
pub mod scenarios;
pub mod several;
mod shared;
mod start;
mod steps;
mod story;
mod truth;
pub mod turns;
mod world;

pub use model::{Effort, Findings, search};
pub use plan::Scenario;
pub use promise::Promise;
