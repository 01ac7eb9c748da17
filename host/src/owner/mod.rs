//! The core of a session.

pub(crate) mod validation;
