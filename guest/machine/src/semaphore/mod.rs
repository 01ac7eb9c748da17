//! Semaphores: at most so many holders at a time.
//!
//! A permit is a record of its own, with the lease of its holder, so that the permit of a crashed holder comes back
//! by itself; a [`Grant`](crate::Grant) of it is renewed and released like that of a lock. Beside the permits stands
//! the [`Definition`]: the size, and which permit numbers there are. It has no lease.
//!
//! # Why there are never more holders than the size
//!
//! A definition is *settled* when it has as many numbers as the size says. Whoever acquires adds the record of a
//! number and **then** reads the definition: it is a grant only if the definition is settled and has the number.
//! Whoever shrinks first writes the smaller size, which unsettles the definition, and **then** reads the permits:
//! numbers found free are taken out, by a write under the version at which the definition was read. So a permit was
//! either granted before the shrinking began, and is seen as held, or it is not granted. Anybody may take out the free
//! ones: a process that shrinks and dies leaves nothing half done.
//!
//! # Why a large one costs no more than a small one
//!
//! Nothing of that asks how whoever acquires came by the number. It may be the one that the session gave back last, or
//! any: most often it is free, and a try is cheaper than a search. Only where it is held the permits are read, a few
//! first, and all of them only before it is said that none is free. Whoever waits from then on reads a few at a time,
//! in turn.

mod acquire;
mod definition;
mod list;
mod memory;
mod numbers;
mod registry;
mod resize;
mod survey;
mod watch;

pub use acquire::AcquirePermit;
pub use definition::MAX_PERMITS;
pub use list::List;
pub(crate) use memory::Memory;
pub use resize::{Resize, ResizeError, Size};

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::holder::Holder;

/// How a semaphore stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SemaphoreStatus {
    /// Its name as its user wrote it.
    pub name: String,
    /// How many permits it has; 0 while it is being destroyed.
    pub size: u32,
    /// Who holds permits, by number: more than the size while it shrinks.
    pub holders: Vec<Holder>,
    /// How much longer no permit is granted, by the session's own rules; none if the store's contents are old enough,
    /// and while the size changes.
    pub quarantine: Option<Duration>,
}
