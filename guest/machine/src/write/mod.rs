//! Writes of an entry that is expected to have a version of ours.

pub(crate) mod conditional;
pub(crate) mod rewrite;
