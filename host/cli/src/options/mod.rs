//! The command line: the arguments, their variables, and advice on mistakes.

pub(crate) mod args;
pub(crate) mod command;
pub(crate) mod duration;
pub(crate) mod global;
pub(crate) mod tips;
pub(crate) mod variables;
