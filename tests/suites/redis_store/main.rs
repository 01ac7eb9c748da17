//! The store `redis://` on real servers, and on servers that misbehave.
//!
//! Each test starts its own servers.

mod basics;
mod cluster;
mod command;
mod conformance;
mod diagnosis;
mod eras;
mod failures;
mod hostile;
mod limits;
mod names;
mod replicas;
mod sentinels;
mod support;
mod tls;
mod waking;
