//! Connections to servers: over TCP, over a UNIX socket, and over TLS. What is said on them is up to each store.

pub(super) mod dial;
mod spin;
pub(super) mod stream;
pub(super) mod wire;
