//! A command that runs under a lock or a permit, and ends before the lease does.

mod child;
mod group;
pub(crate) mod notes;
pub(crate) mod runner;
pub(crate) mod soft;
mod supervisor;
mod terminal;
