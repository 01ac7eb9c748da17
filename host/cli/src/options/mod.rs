//! The command line: what its words mean, and what to say if they mean nothing.

pub(crate) mod args;
pub(crate) mod command;
pub(crate) mod duration;
pub(crate) mod global;
pub(crate) mod tips;
pub(crate) mod variables;
