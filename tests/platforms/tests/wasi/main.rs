//! The store as a component on the platform of the wasmtime command, over a real memcached.

mod conformance;
mod failures;
mod job;
mod together;
