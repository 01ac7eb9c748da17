//! The store `memcached://` on real servers, and on servers that misbehave.
//!
//! Each test starts its own server. A server that is a moment old costs the first call a second: eras begin when it
//! has settled.

mod basics;
mod conformance;
mod deployed;
mod eras;
mod failures;
mod functions;
mod hostile;
mod limits;
mod names;
mod peers;
mod strangers;
mod support;
mod wire;
