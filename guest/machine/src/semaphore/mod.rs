//! Semaphores: a limited number of holders at a time.
//!
//! A permit is a record of its own, with the lease of its holder, so that the permit of a crashed holder comes back by
//! itself. A [`Grant`](crate::Grant) of it is renewed and released like that of a lock. Beside the permits stands the
//! [`Definition`](crate::records::semaphore_definition::Definition): the size, and which permit numbers there are. It
//! has no lease.
//!
//! # Why there are never more holders than the size
//!
//! A definition is *settled* when it has as many numbers as the size says. A waiter adds the record of a number and
//! **then** reads the definition: the record is a grant only if the definition is settled and has the number. A process
//! that shrinks the semaphore first writes the smaller size, which unsettles the definition, and **then** reads the
//! permits. It takes out the numbers that it finds free, by a write under the version at which it read the definition.
//! So a permit was either granted before the shrinking began, and is seen as held, or it is not granted. Any process
//! may take out the free ones: one that shrinks and dies leaves nothing half done.
//!
//! # Why a large one costs no more than a small one
//!
//! For all this it does not matter how a waiter came by its number. It may be the one that the session gave back last,
//! or any: most often it is free, and a try is cheaper than a search. If it is held, the waiter reads the permits: a
//! few first, and all of them only before it reports that none is free. From then on it reads a few at a time, in turn.

mod acquire;
mod list;
mod permit_scan;
mod resize;
mod status;
mod survey;

pub use acquire::AcquirePermit;
pub use list::List;
pub use resize::{Resize, ResizeError, Size};
pub use status::SemaphoreStatus;
