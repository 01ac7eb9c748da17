//! Writes of an entry that is expected to have a version of ours.

pub(crate) mod conditional;
pub(crate) mod hold_write;
pub(crate) mod readers_write;
pub(crate) mod rewrite;

pub(crate) use conditional::{Action, ConditionalWrite, WriteEnd};
pub(crate) use hold_write::HoldWrite;
pub(crate) use readers_write::ReadersWrite;
pub(crate) use rewrite::{HoldSnapshot, RecordRewrite, holder};
