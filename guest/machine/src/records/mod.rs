//! What stands in the store, as text that a person at a terminal understands.

pub(crate) mod ask;
pub(crate) mod holder;
pub(crate) mod permit_set;
pub(crate) mod portable_grant;
pub(crate) mod readers;
pub(crate) mod record;
pub(crate) mod semaphore_definition;
pub(crate) mod semaphore_list;
pub(crate) mod wait_list;

pub(crate) use ask::{Ask, AskRecord, kept_for as asks_kept_for};
pub(crate) use holder::Holder;
pub(crate) use permit_set::PermitSet;
pub(crate) use portable_grant::{Minimum, PortableGrant};
pub use readers::MAX_READERS;
pub(crate) use readers::{LockRecord, ReaderWatch, Readers, WRITER_WAITS};
pub(crate) use record::{Nonce, Record, Reserved};
pub(crate) use semaphore_definition::VersionedDefinition;
pub(crate) use semaphore_list::SemaphoreList;
pub(crate) use wait_list::{KEPT_FOR, LONGEST_TURN, ListedTicket, Ticket, WaitList, corrected, rounded};
