//! What stands in the store, as text that a person at a terminal understands.

pub(crate) mod holder;
pub(crate) mod permit_set;
pub(crate) mod portable_grant;
pub(crate) mod record;
pub(crate) mod semaphore_definition;
pub(crate) mod semaphore_list;
pub(crate) mod wait_list;
