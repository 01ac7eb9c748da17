//! What kvlock says to memcached, and what the answers mean: the store `memcached://` without sockets, clocks and
//! random numbers. The native host drives it over its own sockets, and the component `kvlock-memcached` over
//! `wasi:sockets`.
//!
//! # How the contract maps to memcached
//!
//! | contract | on the wire |
//! |---|---|
//! | `get`, `get-many` | `mg <key> v c t`, for several keys in one request |
//! | `add` | `add`, then `mg <key> c f` in the same request for the version it got ([`Talk`] says why not `ms`) |
//! | `replace` | `cas` likewise |
//! | `delete` | `md <key> C<cas>` |
//! | `era` | `mg kvlock:epoch c`; on a new connection with `v`, and `stats` ([`Epoch`] has the reasoning) |
//!
//! `touch`, quiet commands and UDP are not used: a touch is seen by no holder of a CAS value, and the others have no
//! answer to rely on.
//!
//! # How it is driven
//!
//! An operation of [`Talk`] is a future that does one thing only: it asks its [`Transport`] for exchanges. An exchange is
//! a [`Request`]: bytes to send, and a [`Frame`] that finds out how many of the bytes that arrive are its replies. What
//! the replies mean is decided in the operation. So a transport needs no knowledge of an operation:
//!
//! - One that waits itself, as a socket of the standard library does, is always ready. [`finish`] polls such a future
//!   to its end, without an executor.
//! - One that shares a connection sends the requests of several operations one behind the other, and gives each the
//!   bytes that its frame takes, in the order in which they were sent. An operation that is dropped leaves its frame
//!   behind, and the frame still takes its replies. Each operation has a [`Talk`] of its own, made from the epoch that
//!   the connection showed last.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
extern crate alloc;

mod address;
mod codec;
mod contract;
mod epoch;
mod expiry;
mod failure;
mod greeting;
mod known;
mod mark;
mod number;
mod placement;
mod refusal;
mod replies;
mod reply;
mod request;
mod stats;
mod talk;
mod transport;
mod url;

pub use address::{Address, parse_list};
pub use codec::{Code, Codec, Plain};
pub use contract::{
    DeleteOutcome, Entry, EraInfo, Error, MAX_KEY, MAX_VALUE, Ttl, Version, WriteOutcome, check_key, check_value, shown,
};
pub use epoch::{Epoch, OLDEST, Sight};
pub use failure::{Failure, unsent};
pub use greeting::Greeting;
pub use known::Known;
pub use mark::{Identity, Mark};
pub use number::number;
pub use placement::{choose, requests};
pub use refusal::{meaning_for_a_read, meaning_for_a_write, two_servers};
pub use replies::{Frame, Replies};
pub use reply::MetaReply;
pub use request::Request;
pub use stats::{LOSSES, ServerClock, ServerVersion, Stats};
pub use talk::{Likeness, Talk, check_memcached_key};
pub use transport::{Transport, finish};
pub use url::{Login, Parameters, Secret, StoreUrl, wrong_parameter};

/// The port that IANA gave memcached.
pub const DEFAULT_PORT: u16 = 11211;
