//! The subcommands, one a file.

pub(crate) mod acquire;
pub(crate) mod ask;
pub(crate) mod break_lock;
pub(crate) mod component;
pub(crate) mod doctor;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod release;
pub(crate) mod renew;
mod resumed;
pub(crate) mod run;
pub(crate) mod semaphore;
pub(crate) mod status;
