//! Writes of an entry that is expected to have a version of ours.

pub(crate) mod conditional;
pub(crate) mod rewrite;

pub(crate) use conditional::{Action, ConditionalWrite, WriteEnd};
pub(crate) use rewrite::{HoldSnapshot, RecordRewrite, holder};
