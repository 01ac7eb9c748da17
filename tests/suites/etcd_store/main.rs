//! The store `etcd://` on real clusters that are killed, frozen, filled and restored, and on peers that are not etcd.
//!
//! Each test starts its own cluster, on free loopback ports.

mod cluster;
mod command;
mod conformance;
mod failures;
mod hostile;
mod leases;
mod losses;
mod refusals;
mod support;
mod tls;
mod waking;
