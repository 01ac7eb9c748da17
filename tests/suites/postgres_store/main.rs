//! The store `postgres://` on real servers, and on peers that misbehave.
//!
//! Tests that leave the server as it is share one, each in a database of its own.

mod basics;
mod command;
mod conformance;
mod eras;
mod failures;
mod hostile;
mod pooler;
mod rights;
mod speed;
mod support;
mod tls;
mod waking;
