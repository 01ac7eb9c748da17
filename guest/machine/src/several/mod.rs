//! Several keys at once: all or none, held, renewed and lost as one.
//!
//! # In order, and holding what it has
//!
//! Keys are taken in the order of their bytes, whatever the order in which they were named. Whoever waits for a key
//! holds smaller ones only, so that no circle of waiters can close. A waiter keeps what it has, and renews it. Giving
//! everything back at each obstacle would make others wait for less, but it starves whoever wants many busy keys: they
//! would all have to be free at one moment. With an order each wait is a wait for one key, in that key's line.
//!
//! # What goes together
//!
//! [`Together`](together::Together) steps machines of one key side by side. What they write leaves as one
//! [`Request::All`](crate::Request::All), what they read as one [`Request::GetMany`](crate::Request::GetMany). A round
//! tries all keys that are left at once. If one of them is busy, those behind it are given back before the wait for it
//! begins. So free keys take one call, however many they are.

mod candidate;
mod dropped;
mod grants;
mod machine;
mod one_key;
mod rounds;
mod state;
mod together;
mod waiting;
mod written;

pub use dropped::Abandon;
pub use grants::{DiscardAll, ReleaseAll, RenewAll, Unreleased};
pub use state::{AcquireAll, MAX_KEYS};
