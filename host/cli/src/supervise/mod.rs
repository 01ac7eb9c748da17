//! A command that runs under a lock or a permit, and ends before the lease does.

pub(crate) mod child;
pub(crate) mod group;
pub(crate) mod runner;
pub(crate) mod soft;
pub(crate) mod supervisor;
mod terminal;
