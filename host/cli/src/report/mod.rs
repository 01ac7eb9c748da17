//! Results: lines on stdout and stderr, errors and exit codes.

pub(crate) mod error;
pub(crate) mod exit;
pub(crate) mod log;
pub(crate) mod output;
pub(crate) mod stderr;
pub(crate) mod table;
