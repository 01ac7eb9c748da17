//! What a key is the key of.

use crate::component::{Target, What};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Lock,
    Permit,
}

impl Target {
    /// Returns the kind of what is waited for.
    pub(crate) fn kind(&self) -> Kind {
        match self.what {
            What::Lock(_) | What::Try(_) => Kind::Lock,
            What::Permit => Kind::Permit,
        }
    }
}
