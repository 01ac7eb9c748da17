//! Arguments that are not legal.

use alloc::string::String;

/// An argument that is not legal; nothing was sent. The text names the argument and its legal values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Invalid(text.into())
    }
}
